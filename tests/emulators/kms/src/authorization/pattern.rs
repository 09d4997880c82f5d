//! Wildcards: `*` is any run of characters, `?` is one.

/// Whether a pattern matches the whole text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how far the text had been read when it was met: the only place to go back to.
    let mut back: Option<(usize, usize)> = None;
    while let Some(character) = text.get(read) {
        match pattern.get(at) {
            Some('*') => {
                back = Some((at, read));
                at += 1;
            }
            Some(wanted) if wanted == character || *wanted == '?' => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                at = star + 1;
                read = from + 1;
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

/// The same without regard to ASCII case: names of actions and of condition keys.
pub(crate) fn matches_ignoring_case(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// ARNs are compared part by part: a star does not reach over a colon, except in the last part.
pub(crate) fn matches_arn(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.splitn(6, ':').zip(text.splitn(6, ':'));
    let whole = |text: &str| text.splitn(6, ':').count() == 6;
    pattern == "*" || (whole(pattern) && whole(text) && parts.all(|(pattern, text)| matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("kms:*", "kms:Decrypt", true),
            ("kms:Generate*Plaintext", "kms:GenerateDataKeyWithoutPlaintext", true),
            ("kms:Generate*Plaintext", "kms:GenerateDataKey", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_star_does_not_reach_over_the_parts_of_an_arn() {
        let role = "arn:aws:iam::111122223333:role/web";
        assert!(matches_arn("arn:aws:iam::*:role/*", role));
        assert!(matches_arn("*", role));
        assert!(!matches_arn("arn:aws:*:role/web", role));
    }
}
