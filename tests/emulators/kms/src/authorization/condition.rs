//! Conditions of a statement.

use super::facts::Facts;
use super::pattern::{matches, matches_arn};
use super::policy::PolicyError;

/// An operator, the key that it looks at, and what it compares the key's values with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    operator: Operator,
    /// In lower case.
    key: String,
    wanted: Vec<String>,
}

/// `ForAnyValue:StringNotEqualsIfExists` taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    quantifier: Option<Quantifier>,
    comparison: Comparison,
    /// `StringNotEquals`: holds where `StringEquals` does not, and so where the key is absent.
    negated: bool,
    if_exists: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    Any,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    EqualIgnoringCase,
    Like,
    Arn,
    Bool,
    Null,
}

impl Condition {
    pub(crate) fn parse(operator: &str, key: &str, wanted: Vec<String>) -> Result<Self, PolicyError> {
        let operator = Operator::parse(operator)?;
        let key = key.to_ascii_lowercase();
        let many = values_of(&key).ok_or_else(|| PolicyError::ConditionKey(key.clone()))?;
        if many == Values::Many && operator.quantifier.is_none() && operator.comparison != Comparison::Null {
            return Err(PolicyError::Quantifier(key));
        }
        if wanted.is_empty() || wanted.iter().any(|value| value.contains("${")) {
            return Err(PolicyError::ConditionValue(key));
        }
        let truth = matches!(operator.comparison, Comparison::Bool | Comparison::Null);
        if truth && wanted.iter().any(|value| !matches!(value.as_str(), "true" | "false")) {
            return Err(PolicyError::ConditionValue(key));
        }
        Ok(Self { operator, key, wanted })
    }

    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        let found = facts.get(&self.key);
        if self.operator.comparison == Comparison::Null {
            let absent = if found.is_none() { "true" } else { "false" };
            return self.wanted.iter().any(|wanted| wanted == absent);
        }
        let Some(found) = found else {
            return self.operator.holds_when_absent();
        };
        let mut found = found.iter().map(|value| self.is_wanted(value) != self.operator.negated);
        match self.operator.quantifier {
            None | Some(Quantifier::All) => found.all(|holds| holds),
            Some(Quantifier::Any) => found.any(|holds| holds),
        }
    }

    fn is_wanted(&self, value: &str) -> bool {
        let compare = |wanted: &str| match self.operator.comparison {
            Comparison::Equal => wanted == value,
            Comparison::EqualIgnoringCase | Comparison::Bool => wanted.eq_ignore_ascii_case(value),
            Comparison::Like => matches(wanted, value),
            Comparison::Arn => matches_arn(wanted, value),
            // Looks at no value.
            Comparison::Null => false,
        };
        self.wanted.iter().any(|wanted| compare(wanted))
    }
}

impl Operator {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let unknown = || PolicyError::Operator(text.to_owned());
        let (quantifier, rest) = match text.split_once(':') {
            Some(("ForAnyValue", rest)) => (Some(Quantifier::Any), rest),
            Some(("ForAllValues", rest)) => (Some(Quantifier::All), rest),
            Some(_) => return Err(unknown()),
            None => (None, text),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (comparison, negated) = match name {
            "StringEquals" => (Comparison::Equal, false),
            "StringNotEquals" => (Comparison::Equal, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualIgnoringCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualIgnoringCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            "Bool" => (Comparison::Bool, false),
            "Null" if !if_exists && quantifier.is_none() => (Comparison::Null, false),
            _ => return Err(unknown()),
        };
        Ok(Self {
            quantifier,
            comparison,
            negated,
            if_exists,
        })
    }

    fn holds_when_absent(self) -> bool {
        match (self.if_exists, self.quantifier) {
            (true, _) | (false, Some(Quantifier::All)) => true,
            (false, Some(Quantifier::Any)) => false,
            (false, None) => self.negated,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    One,
    Many,
}

/// How many values a key has in a request; none where the emulator does not know the key. Some are known and always absent.
fn values_of(key: &str) -> Option<Values> {
    let pcr = key.strip_prefix("kms:recipientattestation:pcr").and_then(|index| {
        index
            .parse::<u8>()
            .ok()
            .filter(|number| *number < 32 && number.to_string() == index)
    });
    if pcr.is_some()
        || key
            .strip_prefix("kms:encryptioncontext:")
            .is_some_and(|name| !name.is_empty())
    {
        return Some(Values::One);
    }
    if MANY.contains(&key) {
        return Some(Values::Many);
    }
    ONE.contains(&key).then_some(Values::One)
}

const MANY: [&str; 2] = ["kms:encryptioncontextkeys", "kms:grantoperations"];
const ONE: [&str; 29] = [
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalisawsservice",
    "aws:principalorgid",
    "aws:principaltype",
    "aws:requestedregion",
    "aws:securetransport",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:viaawsservice",
    "kms:bypasspolicylockoutsafetycheck",
    "kms:calleraccount",
    "kms:customermasterkeyspec",
    "kms:datakeypairspec",
    "kms:encryptionalgorithm",
    "kms:grantconstrainttype",
    "kms:granteeprincipal",
    "kms:grantisforawsresource",
    "kms:keyorigin",
    "kms:keyspec",
    "kms:keyusage",
    "kms:multiregion",
    "kms:recipientattestation:imagesha384",
    "kms:reencryptonsamekey",
    "kms:requestalias",
    "kms:retiringprincipal",
    "kms:viaservice",
];
