//! Who may do what with a KMS key. Where lint does not know, Allow is taken to apply and Deny not to.

use std::collections::BTreeSet;

use super::condition::{self, Truth, Value, is_like};
use super::document::{Document, Effect, Listed, Named, Principals, Statement, account_of};
use super::measured::ZEROS;

/// Whoever asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// A principal of an account that nobody knows.
    Anyone,
    /// A principal of this account that no policy names, with whatever IAM policies it likes.
    Account(String),
    /// Whoever has the IAM policy of this file, in this account.
    Holder { account: String, file: String },
    /// One that a policy or a grant names.
    Principal(String),
    /// A service of AWS.
    Service(String),
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anyone => f.write_str("anyone, of any account"),
            Self::Account(account) => write!(f, "whoever an IAM policy of account {account} allows it"),
            Self::Holder { account, file } => write!(f, "whoever of account {account} has the IAM policy {file}"),
            Self::Principal(arn) => f.write_str(arn),
            Self::Service(name) => f.write_str(name),
        }
    }
}

/// What a request to KMS shows of where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shown {
    /// No attestation document of an enclave; one of a NitroTPM counts as none, since an instance's memory is no secret to its root.
    Nothing,
    /// A document of an enclave in debug mode.
    Debug { pcr16: String },
    /// A document of an enclave.
    Enclave { pcr0: String, pcr16: String },
}

impl Shown {
    fn value(&self, key: &str) -> Value<'_> {
        let Some(register) = key.strip_prefix(ATTESTATION) else {
            return Value::Unknown;
        };
        match (self, register) {
            (_, tpm) if tpm.starts_with("nitrotpm") => match self {
                Self::Nothing => Value::Unknown,
                Self::Debug { .. } | Self::Enclave { .. } => Value::Absent,
            },
            (Self::Nothing, _) => Value::Absent,
            (Self::Debug { .. }, "imagesha384" | "pcr0" | "pcr1" | "pcr2") => Value::Is(ZEROS),
            (Self::Enclave { pcr0, .. }, "imagesha384" | "pcr0") => Value::Is(pcr0),
            (Self::Debug { pcr16 } | Self::Enclave { pcr16, .. }, "pcr16") => Value::Is(pcr16),
            (Self::Debug { .. } | Self::Enclave { .. }, _) => Value::Unknown,
        }
    }
}

/// A key's policy, what else may allow its use, and the key's own ARN where it is known.
pub(crate) struct Rules {
    pub(crate) policy: Document,
    /// IAM policies by the name of their file.
    pub(crate) iam: Vec<(String, Document)>,
    pub(crate) arn: Option<String>,
}

/// One question.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) caller: &'a Caller,
    /// Without `kms:`.
    pub(crate) action: &'a str,
    pub(crate) shown: &'a Shown,
}

/// Allowed, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Allowed {
    /// The condition keys of the statement that allows it that could not be judged.
    pub(crate) provided: Vec<String>,
}

impl Rules {
    /// Whether it may happen: allowed by the policy (for a holder of an IAM policy, by that too) and certainly not denied.
    pub(crate) fn allows(&self, question: Question<'_>) -> Option<Allowed> {
        if self.denies(question) {
            return None;
        }
        if let Caller::Holder { file, .. } = question.caller {
            let held = self.iam.iter().find(|(name, _)| name == file)?;
            held.1
                .of(Effect::Allow)
                .find(|statement| self.speaks_of(statement, question) != Truth::No)?;
        }
        let allowing = self.policy.of(Effect::Allow).find(|statement| {
            statement.is_effective()
                && is_allowed_principal(statement, question.caller).and(self.speaks_of(statement, question))
                    != Truth::No
        })?;
        Some(Allowed {
            provided: condition::unjudged(allowing, |key| value(question, key)),
        })
    }

    /// Whether a statement allows it because of what is shown: it speaks of no request that shows nothing.
    pub(crate) fn allows_by_document(&self, question: Question<'_>) -> bool {
        let bare = Question {
            shown: &Shown::Nothing,
            ..question
        };
        self.policy.of(Effect::Allow).any(|statement| {
            statement.is_effective()
                && is_allowed_principal(statement, question.caller) != Truth::No
                && self.speaks_of(statement, question) != Truth::No
                && self.speaks_of(statement, bare) == Truth::No
        })
    }

    /// Whether the policy certainly denies it. That beats grants and IAM policies.
    pub(crate) fn denies(&self, question: Question<'_>) -> bool {
        self.policy.of(Effect::Deny).any(|statement| {
            statement.is_effective()
                && is_denied_principal(statement, question.caller).and(self.speaks_of(statement, question))
                    == Truth::Yes
        })
    }

    /// Everyone of whom a policy speaks, directly or as an exception, so that each can be asked about.
    pub(crate) fn callers(&self) -> BTreeSet<Caller> {
        let mut callers: BTreeSet<Caller> = self.policy.statements.iter().flat_map(callers_of).collect();
        let accounts: Vec<String> = callers
            .iter()
            .filter_map(|caller| match caller {
                Caller::Account(account) => Some(account.clone()),
                Caller::Anyone | Caller::Holder { .. } | Caller::Principal(_) | Caller::Service(_) => None,
            })
            .collect();
        for (file, _) in &self.iam {
            callers.extend(accounts.iter().map(|account| Caller::Holder {
                account: account.clone(),
                file: file.clone(),
            }));
        }
        callers
    }

    /// Action, resource and conditions.
    fn speaks_of(&self, statement: &Statement, question: Question<'_>) -> Truth {
        let action = format!("kms:{}", question.action).to_ascii_lowercase();
        let action = lists(statement.actions(), |pattern| {
            is_like(&action, &pattern.to_ascii_lowercase()).into()
        });
        let resource = lists(statement.resources(), |pattern| match &self.arn {
            _ if pattern == "*" => Truth::Yes,
            Some(arn) => is_like(arn, pattern).into(),
            None => Truth::Unknown,
        });
        let conditions = condition::judge(statement, |key| value(question, key));
        action.and(resource).and(conditions)
    }
}

/// What the request has under a condition key.
fn value<'a>(question: Question<'a>, key: &str) -> Value<'a> {
    match (key, question.caller) {
        // A session's is its role's, whose path the session does not show.
        ("aws:principalarn", Caller::Principal(arn)) if arn.contains(":assumed-role/") => Value::Unknown,
        ("aws:principalarn", Caller::Principal(arn)) => Value::Is(arn),
        // Some principal that no policy names: it equals none of the ARNs that a policy lists.
        ("aws:principalarn", Caller::Account(_) | Caller::Anyone) => Value::Is(UNNAMED),
        ("kms:calleraccount" | "aws:principalaccount", Caller::Account(account) | Caller::Holder { account, .. }) => {
            Value::Is(account)
        }
        ("kms:calleraccount" | "aws:principalaccount", Caller::Principal(arn)) => {
            account_of(arn).map_or(Value::Unknown, Value::Is)
        }
        _ => question.shown.value(key),
    }
}

fn lists(listed: Option<Listed<'_, [String]>>, fits: impl Fn(&str) -> Truth) -> Truth {
    let any = |list: &[String]| list.iter().map(|item| fits(item)).fold(Truth::No, Truth::or);
    match listed {
        Some(Listed::Only(list)) => any(list),
        Some(Listed::AllBut(list)) => !any(list),
        None => Truth::No,
    }
}

fn is_allowed_principal(statement: &Statement, caller: &Caller) -> Truth {
    let fits = |named: &Named| match (named, caller) {
        (Named::Everyone, _) => true,
        (Named::Account(account), Caller::Account(of) | Caller::Holder { account: of, .. }) => account == of,
        (Named::Account(account), Caller::Principal(arn)) => account_of(arn) == Some(account),
        (Named::Principal(named), Caller::Principal(arn)) => named == arn,
        (Named::Service(named), Caller::Service(name)) => named == name,
        (
            Named::Account(_) | Named::Principal(_) | Named::Service(_),
            Caller::Anyone | Caller::Account(_) | Caller::Holder { .. } | Caller::Principal(_) | Caller::Service(_),
        ) => false,
    };
    match statement.principals() {
        Some(Principals::Only(list)) => list.iter().any(fits).into(),
        Some(Principals::AllBut(list)) => (!list.iter().any(fits)).into(),
        None => Truth::No,
    }
}

fn is_denied_principal(statement: &Statement, caller: &Caller) -> Truth {
    let fits = |named: &Named| match (named, caller) {
        (Named::Everyone, _) => Truth::Yes,
        (Named::Principal(named), Caller::Principal(arn)) => (named == arn).into(),
        (Named::Service(named), Caller::Service(name)) => (named == name).into(),
        // Whether denying an account denies each of its principals is not to be relied on.
        (Named::Account(account), Caller::Account(of) | Caller::Holder { account: of, .. }) if account == of => {
            Truth::Unknown
        }
        (Named::Account(account), Caller::Principal(arn)) if account_of(arn) == Some(account) => Truth::Unknown,
        (
            Named::Account(_) | Named::Principal(_) | Named::Service(_),
            Caller::Anyone | Caller::Account(_) | Caller::Holder { .. } | Caller::Principal(_) | Caller::Service(_),
        ) => Truth::No,
    };
    match statement.principals() {
        Some(Principals::Only(list)) => list.iter().map(fits).fold(Truth::No, Truth::or),
        Some(Principals::AllBut(list)) => !list.iter().map(fits).fold(Truth::No, Truth::or),
        None => Truth::No,
    }
}

fn callers_of(statement: &Statement) -> Vec<Caller> {
    let (listed, everyone_else) = match statement.principals() {
        Some(Principals::Only(list)) => (list, false),
        Some(Principals::AllBut(list)) => (list, statement.effect == Effect::Allow),
        None => (Vec::new(), false),
    };
    let excepted = statement
        .condition
        .values()
        .flatten()
        .filter(|(key, _)| key.eq_ignore_ascii_case("aws:PrincipalArn"))
        .flat_map(|(_, values)| values.0.iter().map(|arn| Caller::Principal(arn.replace('*', "any"))));
    listed
        .into_iter()
        .map(Caller::from)
        .chain(everyone_else.then_some(Caller::Anyone))
        .chain(excepted)
        .collect()
}

impl From<Named> for Caller {
    fn from(named: Named) -> Self {
        match named {
            Named::Everyone => Self::Anyone,
            Named::Account(account) => Self::Account(account),
            Named::Principal(arn) => Self::Principal(arn),
            Named::Service(name) => Self::Service(name),
        }
    }
}

const ATTESTATION: &str = "kms:recipientattestation:";
const UNNAMED: &str = "(a principal that no policy names)";
