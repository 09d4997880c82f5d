//! Who may do what with a key: key policy, identity policy, grants, as AWS evaluates them. Pure: no state, no clock.

mod actions;
mod condition;
mod facts;
mod grant;
mod pattern;
mod policy;
mod principal;
#[cfg(test)]
mod tests;

pub(crate) use actions::is_action;
pub(crate) use facts::Facts;
pub(crate) use grant::{Constraint, GRANT_OPERATIONS, Grant};
pub(crate) use policy::{Kind, Policy, PolicyError};

use crate::arn::Caller;

/// What a caller asks for.
#[derive(Clone, Copy)]
pub(crate) struct Question<'a> {
    pub(crate) caller: &'a Caller,
    /// `kms:Decrypt`
    pub(crate) action: &'a str,
    /// The key's ARN, or `*` where no key is concerned.
    pub(crate) resource: &'a str,
    pub(crate) facts: &'a Facts,
}

/// Of the key that is concerned: what decides beside the caller's own policy.
#[derive(Clone, Copy)]
pub(crate) struct Protection<'a> {
    pub(crate) account: &'a str,
    pub(crate) policy: &'a Policy,
    pub(crate) grants: &'a [Grant],
}

/// By what a request was allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Allowed<'a> {
    KeyPolicy,
    IdentityPolicy,
    Grant(&'a Grant),
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denial {
    KeyPolicyDenies,
    IdentityPolicyDenies,
    /// The key's policy leaves it to the account's identity policies, and the caller's does not allow it.
    NoIdentityPolicyAllows,
    NoKeyPolicyAllows,
}

/// Decides. An explicit Deny, in either policy, beats every Allow and every grant.
pub(crate) fn decide<'a>(
    question: Question<'_>,
    identity: Option<&Policy>,
    key: Option<Protection<'a>>,
) -> Result<Allowed<'a>, Denial> {
    let own = identity.map(|policy| policy.judge(question)).unwrap_or_default();
    let Some(key) = key else {
        return decide_without_key(own);
    };
    let judged = key.policy.judge(question);
    if judged.denied {
        return Err(Denial::KeyPolicyDenies);
    }
    if own.denied {
        return Err(Denial::IdentityPolicyDenies);
    }
    let foreign = question.caller.account != key.account;
    let reached = judged.direct || judged.delegated;
    // A key policy that names a principal of its own account suffices. An account it names must itself allow, and so must another
    // account whatever the key policy names.
    if judged.direct && !foreign {
        return Ok(Allowed::KeyPolicy);
    }
    if reached && own.direct {
        return Ok(Allowed::IdentityPolicy);
    }
    let grant = key.grants.iter().find(|grant| grant.permits(question));
    grant.map(Allowed::Grant).ok_or(if reached {
        Denial::NoIdentityPolicyAllows
    } else {
        Denial::NoKeyPolicyAllows
    })
}

fn decide_without_key(own: policy::Judged) -> Result<Allowed<'static>, Denial> {
    match (own.denied, own.direct) {
        (true, _) => Err(Denial::IdentityPolicyDenies),
        (false, true) => Ok(Allowed::IdentityPolicy),
        (false, false) => Err(Denial::NoIdentityPolicyAllows),
    }
}

impl Denial {
    /// AWS's words.
    pub(crate) fn message(self, question: Question<'_>) -> String {
        let Question {
            caller,
            action,
            resource,
            ..
        } = question;
        let why = match self {
            Self::KeyPolicyDenies => "with an explicit deny in a resource-based policy".to_owned(),
            Self::IdentityPolicyDenies => "with an explicit deny in an identity-based policy".to_owned(),
            Self::NoIdentityPolicyAllows => format!("because no identity-based policy allows the {action} action"),
            Self::NoKeyPolicyAllows => format!("because no resource-based policy allows the {action} action"),
        };
        let user = &caller.arn;
        format!("User: {user} is not authorized to perform: {action} on resource: {resource} {why}")
    }
}
