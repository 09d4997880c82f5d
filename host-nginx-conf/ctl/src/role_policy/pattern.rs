//! Patterns of IAM, one against the other: `*` is anything, `?` one character.

use crate::kms_policy::fits;

/// Whether some text fits both.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    // Row by row: whether the first characters of the one and so many of the other leave something that fits both.
    let mut row = vec![false; other.len().saturating_add(1)];
    for (at, character) in std::iter::once(None).chain(one.iter().map(Some)).enumerate() {
        let above = row.clone();
        for place in 0..row.len() {
            let get = |row: &[bool], place: usize| row.get(place).copied().unwrap_or_default();
            let before = place.checked_sub(1);
            let counterpart = before.and_then(|before| other.get(before));
            let left = before.is_some_and(|before| get(&row, before));
            let up = at > 0 && get(&above, place);
            let both = at > 0 && before.is_some_and(|before| get(&above, before));
            let reaches = match (character, counterpart) {
                (None, None) => true,
                (None, Some(&c)) => c == '*' && left,
                (Some(&c), None) => c == '*' && up,
                (Some(&a), Some(&b)) => {
                    let same = a == b || a == '?' || b == '?';
                    (a == '*' || b == '*') && (left || up || both) || same && a != '*' && b != '*' && both
                }
            };
            if let Some(cell) = row.get_mut(place) {
                *cell = reaches;
            }
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Whether whatever fits `inner` certainly fits `outer`. It may say no where it is so: then a Deny counts for less than it does.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    // A `*` of the inner one is taken by a `*` of the outer one alone, and a `?` by either.
    fits(inner, outer, |wanted, there| {
        wanted == there || (wanted == '?' && there != '*')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_overlap_where_some_text_fits_both() {
        for (one, other, wanted) in [
            ("acm:*", "acm:*acme*", true),
            ("acm:createacmeendpoint", "acm:*acme*", true),
            ("acm:create*", "acm:*acme*", true),
            ("acm:listcertificates", "acm:*acme*", false),
            ("*", "acm:*acme*", true),
            ("a*c", "*b", false),
            ("a?c", "abc", true),
            ("a?", "a", false),
            ("a*", "", false),
            ("*", "", true),
            ("", "", true),
            ("s3:*", "acm:*acme*", false),
        ] {
            assert_eq!(overlap(one, other), wanted, "{one} {other}");
            assert_eq!(overlap(other, one), wanted, "{other} {one}");
        }
    }

    #[test]
    fn a_pattern_covers_only_what_certainly_fits() {
        for (outer, inner, wanted) in [
            ("*", "acm:*acme*", true),
            ("acm:*", "acm:*acme*", true),
            ("acm:*acme*", "acm:*acme*", true),
            ("acm:create*", "acm:*acme*", false),
            ("acm:?acme?", "acm:*acme*", false),
            ("acm:*acme*", "acm:createacmeendpoint", true),
            ("?", "*", false),
            ("*", "", true),
            ("a?", "ab", true),
        ] {
            assert_eq!(covers(outer, inner), wanted, "{outer} {inner}");
        }
    }

    proptest! {
        #[test]
        fn what_covers_overlaps_and_takes_every_text_of_the_other(outer in "[ab*?]{0,6}", inner in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            use crate::kms_policy::is_like;
            if covers(&outer, &inner) {
                prop_assert!(overlap(&outer, &inner));
                prop_assert!(!is_like(&text, &inner) || is_like(&text, &outer));
            }
            if is_like(&text, &outer) && is_like(&text, &inner) {
                prop_assert!(overlap(&outer, &inner));
            }
        }
    }
}
