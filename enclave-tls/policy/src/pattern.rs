//! A pattern of certificate names: a literal, or text with one `*`.

use enclave_wire::Name;
use enclave_wire::identity::MAX_NAME;

/// A pattern. `*` stands for any text, none included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    head: String,
    /// What follows the `*`, if there is one.
    tail: Option<String>,
}

impl Pattern {
    /// Whether `name` fits.
    #[must_use]
    pub fn matches(&self, name: &Name) -> bool {
        self.matches_text(name.as_str())
    }

    /// Patterns that together match exactly the names that both match.
    ///
    /// Two stars make one: the longer head, the longer tail. Names in which head and tail overlap fit no such
    /// pattern, and are listed one by one.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Vec<Self> {
        let (Some(tail), Some(other_tail)) = (&self.tail, &other.tail) else {
            let (literal, pattern) = if self.tail.is_none() {
                (self, other)
            } else {
                (other, self)
            };
            let both = pattern.matches_text(&literal.head);
            return if both { vec![literal.clone()] } else { Vec::new() };
        };
        let Some(head) = longer(&self.head, &other.head, |long, short| long.starts_with(short)) else {
            return Vec::new();
        };
        let Some(tail) = longer(tail, other_tail, |long, short| long.ends_with(short)) else {
            return Vec::new();
        };
        let joined = Self::try_from(format!("{head}*{tail}").as_str()).ok();
        let overlapping = (1..=head.len().min(tail.len()))
            .filter_map(|shared| tail.split_at_checked(shared))
            .filter(|(shared, _)| head.ends_with(shared))
            .filter_map(|(_, rest)| Self::try_from(format!("{head}{rest}").as_str()).ok())
            .filter(|literal| self.matches_text(&literal.head) && other.matches_text(&literal.head));
        joined.into_iter().chain(overlapping).collect()
    }

    fn matches_text(&self, text: &str) -> bool {
        match &self.tail {
            None => text == self.head,
            Some(tail) => text
                .strip_prefix(self.head.as_str())
                .is_some_and(|rest| rest.ends_with(tail)),
        }
    }
}

/// Why a pattern was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidPattern;

impl std::fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "a pattern is a certificate's name, 1 to {MAX_NAME} of A-Z a-z 0-9 - _ . with at most one *"
        )
    }
}

impl TryFrom<&str> for Pattern {
    type Error = InvalidPattern;

    fn try_from(text: &str) -> Result<Self, InvalidPattern> {
        let Some((head, tail)) = text.split_once('*') else {
            Name::try_from(text).map_err(|_| InvalidPattern)?;
            return Ok(Self {
                head: text.to_owned(),
                tail: None,
            });
        };
        // The shortest name that it could match must be a name; a star in front stands for at least one letter there.
        let front = if head.is_empty() { "a" } else { head };
        Name::try_from(format!("{front}{tail}").as_str()).map_err(|_| InvalidPattern)?;
        Ok(Self {
            head: head.to_owned(),
            tail: Some(tail.to_owned()),
        })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tail {
            None => f.write_str(&self.head),
            Some(tail) => write!(f, "{}*{tail}", self.head),
        }
    }
}

/// The longer of two texts, if `covers` says that it goes with the shorter.
fn longer<'a>(a: &'a str, b: &'a str, covers: impl Fn(&str, &str) -> bool) -> Option<&'a str> {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    covers(long, short).then_some(long)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text).unwrap()
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (text, name, fits) in [
            ("lab-*", "lab-", true),
            ("lab-*", "lab-1", true),
            ("lab-*", "la", false),
            ("*", "anything", true),
            ("*.example.com", "a.example.com", true),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("www", "www", true),
            ("www", "www2", false),
        ] {
            assert_eq!(
                pattern(text).matches(&Name::try_from(name).unwrap()),
                fits,
                "{text} {name}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let long = "a".repeat(65);
        for text in [
            "",
            "a*b*",
            "**",
            "a b",
            "-a*",
            "ä*",
            "a/*",
            long.as_str(),
            &format!("*{long}"),
        ] {
            assert_eq!(Pattern::try_from(text), Err(InvalidPattern), "{text:?}");
        }
        for text in ["*", "*-", "a*", &"a".repeat(64), &format!("{}*", "a".repeat(64))] {
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn two_stars_make_one_and_the_names_in_between() {
        let texts = |a, b| -> Vec<_> {
            pattern(a)
                .intersect(&pattern(b))
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(texts("a*", "*b"), ["a*b"]);
        assert_eq!(texts("ab*", "*ba"), ["ab*ba", "aba"]);
        assert_eq!(texts("aa*", "*aa"), ["aa*aa", "aaa", "aa"]);
        assert_eq!(texts("a*", "b*"), [""; 0]);
        assert_eq!(texts("lab-1", "lab-*"), ["lab-1"]);
        assert_eq!(texts("lab-*", "prod"), [""; 0]);
        assert_eq!(texts("*", "lab-*x"), ["lab-*x"]);
    }
}
