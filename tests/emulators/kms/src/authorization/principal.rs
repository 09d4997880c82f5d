//! Whom a statement of a key policy names.

use serde::Deserialize;

use super::policy::PolicyError;
use crate::arn::{Caller, is_account};
use crate::json::{Distinct, OneOrMany};

/// `Principal`, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principals {
    Anyone,
    Named(Vec<Named>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// An account, by its number or its root's ARN: in an Allow, whoever the account itself allows.
    Account(String),
    /// A user, a role, a session.
    Arn(String),
    /// A service of AWS, which never calls here.
    Service,
}

/// How a caller is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Meant {
    Not,
    /// By its account.
    ByAccount,
    /// Itself.
    Itself,
}

/// `"*"`, or `{"AWS": …, "Service": …}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Written {
    Text(String),
    Object(Distinct<OneOrMany<String>>),
}

impl Principals {
    pub(crate) fn parse(written: Written) -> Result<Self, PolicyError> {
        let members = match written {
            Written::Text(text) if text == "*" => return Ok(Self::Anyone),
            Written::Text(text) => return Err(PolicyError::Principal(text)),
            Written::Object(members) => members.0,
        };
        let mut named = Vec::new();
        for (kind, principals) in members {
            for text in principals.into_vec() {
                match kind.as_str() {
                    "AWS" if text == "*" => return Ok(Self::Anyone),
                    "AWS" => named.push(Named::parse(text)?),
                    "Service" if text.contains(".amazonaws.com") => named.push(Named::Service),
                    _ => return Err(PolicyError::Principal(text)),
                }
            }
        }
        if named.is_empty() {
            return Err(PolicyError::Principal("none".to_owned()));
        }
        Ok(Self::Named(named))
    }

    pub(crate) fn mean(&self, caller: &Caller) -> Meant {
        match self {
            Self::Anyone => Meant::Itself,
            Self::Named(named) => named
                .iter()
                .map(|named| named.means(caller))
                .max()
                .unwrap_or(Meant::Not),
        }
    }
}

impl Named {
    /// Wildcards inside an ARN are refused, as KMS refuses them.
    fn parse(text: String) -> Result<Self, PolicyError> {
        if is_account(&text) {
            return Ok(Self::Account(text));
        }
        let caller: Caller = text.parse().map_err(|_| PolicyError::Principal(text.clone()))?;
        if text.contains(['*', '?', '$']) {
            return Err(PolicyError::Principal(text));
        }
        Ok(if caller.is_root() {
            Self::Account(caller.account)
        } else {
            Self::Arn(text)
        })
    }

    fn means(&self, caller: &Caller) -> Meant {
        match self {
            Self::Account(account) if *account == caller.account && caller.is_root() => Meant::Itself,
            Self::Account(account) if *account == caller.account => Meant::ByAccount,
            Self::Arn(arn) if caller.is_named(arn) => Meant::Itself,
            Self::Account(_) | Self::Arn(_) | Self::Service => Meant::Not,
        }
    }
}
