//! Conditions of policies, judged without knowing all of a request: what is not known is neither true nor false.

use super::document::{Statement, Values};

/// Three-valued: a lint that took the unknown for either would be wrong about Allow or about Deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    No,
    Unknown,
    Yes,
}

/// What a request has under a condition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Absent,
    Is(&'a str),
    Unknown,
}

impl Truth {
    pub(crate) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
        }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        !((!self).and(!other))
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

/// Judges every condition of a statement (all must hold) with what `request` says of each key, in lower case.
pub(crate) fn judge<'v>(statement: &Statement, request: impl Fn(&str) -> Value<'v>) -> Truth {
    conditions(statement)
        .map(|(operator, key, values)| one(operator, request(&key), values))
        .fold(Truth::Yes, Truth::and)
}

/// The condition keys that could not be judged, for a person to look at.
pub(crate) fn unjudged<'v>(statement: &Statement, request: impl Fn(&str) -> Value<'v>) -> Vec<String> {
    conditions(statement)
        .filter(|(operator, key, values)| one(operator, request(key), values) == Truth::Unknown)
        .map(|(_, key, _)| key)
        .collect()
}

/// Operator, key in lower case, values.
fn conditions(statement: &Statement) -> impl Iterator<Item = (&str, String, &Values)> {
    statement.condition.iter().flat_map(|(operator, keys)| {
        keys.iter()
            .map(move |(key, values)| (operator.as_str(), key.to_ascii_lowercase(), values))
    })
}

fn one(operator: &str, value: Value<'_>, values: &Values) -> Truth {
    let (set, operator) = match operator.split_once(':') {
        Some((set, rest)) => (Some(set), rest),
        None => (None, operator),
    };
    let (operator, if_exists) = match operator.strip_suffix("IfExists") {
        Some(rest) => (rest, true),
        None => (operator, false),
    };
    if operator == "Null" {
        return null(value, values);
    }
    let Some(comparison) = Comparison::named(operator) else {
        return Truth::Unknown;
    };
    match (value, set) {
        (Value::Unknown, _) => Truth::Unknown,
        (Value::Absent, _) if if_exists => Truth::Yes,
        // Over no value at all, `ForAllValues` holds. It is the commonest way to let in who is not attested.
        (Value::Absent, Some("ForAllValues")) => Truth::Yes,
        (Value::Absent, Some("ForAnyValue")) => Truth::No,
        (Value::Absent, _) => comparison.negated.into(),
        (Value::Is(value), None | Some("ForAllValues" | "ForAnyValue")) => comparison.judge(value, values),
        (Value::Is(_), Some(_)) => Truth::Unknown,
    }
}

/// `Null: true` holds where the key is absent.
fn null(value: Value<'_>, values: &Values) -> Truth {
    let absent = match value {
        Value::Absent => Truth::Yes,
        Value::Is(_) => Truth::No,
        Value::Unknown => Truth::Unknown,
    };
    match values.0.as_slice() {
        [text] if text == "true" => absent,
        [text] if text == "false" => !absent,
        _ => Truth::Unknown,
    }
}

struct Comparison {
    negated: bool,
    ignores_case: bool,
    patterns: bool,
}

impl Comparison {
    fn named(operator: &str) -> Option<Self> {
        let (negated, ignores_case, patterns) = match operator {
            "StringEquals" => (false, false, false),
            "StringNotEquals" => (true, false, false),
            "StringEqualsIgnoreCase" => (false, true, false),
            "StringNotEqualsIgnoreCase" => (true, true, false),
            "StringLike" | "ArnLike" | "ArnEquals" => (false, false, true),
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => (true, false, true),
            "Bool" => (false, true, false),
            _ => return None,
        };
        Some(Self {
            negated,
            ignores_case,
            patterns,
        })
    }

    fn judge(&self, value: &str, values: &Values) -> Truth {
        let any = values
            .0
            .iter()
            .map(|wanted| self.matches(value, wanted))
            .fold(Truth::No, Truth::or);
        if self.negated { !any } else { any }
    }

    fn matches(&self, value: &str, wanted: &str) -> Truth {
        if wanted.contains("${") {
            return Truth::Unknown; // a policy variable
        }
        let equal = if self.patterns {
            is_like(value, wanted)
        } else if self.ignores_case {
            value.eq_ignore_ascii_case(wanted)
        } else {
            value == wanted
        };
        equal.into()
    }
}

/// Whether `text` fits a pattern in which `*` is anything and `?` one character.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    fits(text, pattern, |wanted, there| wanted == '?' || wanted == there)
}

/// Whether `text` fits a pattern in which `*` is anything, and `takes` says whether another of its characters takes one of the text's.
pub(crate) fn fits(text: &str, pattern: &str, takes: impl Fn(char, char) -> bool) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut place) = (0_usize, 0_usize);
    // Where the last `*` stands, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&character) = text.get(at) {
        match pattern.get(place) {
            Some('*') => {
                star = Some((place, at));
                place = place.saturating_add(1);
            }
            Some(&wanted) if takes(wanted, character) => {
                at = at.saturating_add(1);
                place = place.saturating_add(1);
            }
            Some(_) | None => match star.as_mut() {
                Some((before, taken)) => {
                    *taken = taken.saturating_add(1);
                    at = *taken;
                    place = before.saturating_add(1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(place).all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use Truth::{No, Unknown, Yes};

    fn holds(operator: &str, value: Value<'_>, wanted: &[&str]) -> Truth {
        one(
            operator,
            value,
            &Values(wanted.iter().map(|text| (*text).to_owned()).collect()),
        )
    }

    #[test]
    fn an_absent_key_is_as_aws_takes_it() {
        for (operator, truth) in [
            ("StringEquals", No),
            ("StringEqualsIgnoreCase", No),
            ("StringNotEquals", Yes),
            ("StringNotEqualsIgnoreCase", Yes),
            ("StringEqualsIgnoreCaseIfExists", Yes),
            ("StringNotEqualsIgnoreCaseIfExists", Yes),
            ("ForAllValues:StringEqualsIgnoreCase", Yes),
            ("ForAnyValue:StringEqualsIgnoreCase", No),
            ("ForAnyValue:StringNotEquals", No),
            ("NumericEquals", Unknown),
        ] {
            assert_eq!(holds(operator, Value::Absent, &["a"]), truth, "{operator}");
        }
        assert_eq!(holds("Null", Value::Absent, &["true"]), Yes);
        assert_eq!(holds("Null", Value::Is("a"), &["true"]), No);
        assert_eq!(holds("Null", Value::Absent, &["false"]), No);
    }

    #[test]
    fn values_are_alternatives_and_a_negation_denies_them_all() {
        assert_eq!(holds("StringEquals", Value::Is("b"), &["a", "b"]), Yes);
        assert_eq!(holds("StringNotEquals", Value::Is("b"), &["a", "b"]), No);
        assert_eq!(holds("StringNotEquals", Value::Is("c"), &["a", "b"]), Yes);
        assert_eq!(holds("StringEquals", Value::Is("A"), &["a"]), No);
        assert_eq!(holds("StringEqualsIgnoreCase", Value::Is("A"), &["a"]), Yes);
        assert_eq!(holds("StringEquals", Value::Is("b"), &[]), No);
    }

    #[test]
    fn the_unknown_stays_unknown() {
        assert_eq!(holds("StringEquals", Value::Unknown, &["a"]), Unknown);
        assert_eq!(holds("StringEquals", Value::Is("a"), &["${aws:username}"]), Unknown);
        assert_eq!(
            holds("StringNotEquals", Value::Is("a"), &["${aws:username}", "a"]),
            No,
            "one that is equal decides"
        );
        assert_eq!(holds("ForSomeValues:StringEquals", Value::Is("a"), &["a"]), Unknown);
    }

    #[test]
    fn patterns_are_those_of_iam() {
        for (text, pattern, fits) in [
            ("", "", true),
            ("", "*", true),
            ("", "?", false),
            ("abc", "a?c", true),
            ("abc", "a?", false),
            ("abcabc", "*abc", true),
            ("abcab", "*abc", false),
            ("aXbXc", "a*b*c", true),
            ("arn:aws:iam::1:role/x", "arn:aws:iam::*:role/*", true),
            ("abc", "abc*", true),
            ("ab", "abc*", false),
        ] {
            assert_eq!(is_like(text, pattern), fits, "{text} {pattern}");
        }
    }
}
