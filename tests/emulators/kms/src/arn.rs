//! Amazon resource names of keys, and of those who call.

use std::fmt;
use std::str::FromStr;

/// `arn:PARTITION:kms:REGION:ACCOUNT:key/ID`, never an alias.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyArn {
    pub(crate) partition: String,
    pub(crate) region: String,
    pub(crate) account: String,
    pub(crate) id: String,
}

/// A text that is not such a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an ARN of this kind")]
pub(crate) struct NotAnArn;

impl KeyArn {
    /// The name that an alias has beside this key.
    pub(crate) fn alias(&self, name: &str) -> String {
        let Self {
            partition,
            region,
            account,
            ..
        } = self;
        format!("arn:{partition}:kms:{region}:{account}:{name}")
    }
}

impl FromStr for KeyArn {
    type Err = NotAnArn;

    fn from_str(text: &str) -> Result<Self, NotAnArn> {
        let parts = Parts::of(text)?;
        let id = parts.resource.strip_prefix("key/").ok_or(NotAnArn)?;
        if parts.service != "kms" || parts.region.is_empty() || !is_account(parts.account) || !is_key_id(id) {
            return Err(NotAnArn);
        }
        Ok(Self {
            partition: parts.partition.to_owned(),
            region: parts.region.to_owned(),
            account: parts.account.to_owned(),
            id: id.to_owned(),
        })
    }
}

impl fmt::Display for KeyArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partition,
            region,
            account,
            id,
        } = self;
        write!(f, "arn:{partition}:kms:{region}:{account}:key/{id}")
    }
}

/// Who signed a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// A user, a role, the account's root, or a session of a role.
    pub(crate) arn: String,
    pub(crate) account: String,
    /// Of a session: its role, which is what policies name.
    pub(crate) role: Option<String>,
}

impl Caller {
    /// Whether a policy or a grant that names `arn` means this caller.
    pub(crate) fn is_named(&self, arn: &str) -> bool {
        self.arn == arn || self.role.as_deref() == Some(arn)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.arn.ends_with(":root")
    }

    /// `aws:PrincipalArn`: of a session its role.
    pub(crate) fn principal_arn(&self) -> &str {
        self.role.as_deref().unwrap_or(&self.arn)
    }

    /// `aws:PrincipalType`.
    pub(crate) fn principal_type(&self) -> &'static str {
        match (&self.role, self.is_root()) {
            (Some(_), _) => "AssumedRole",
            (None, true) => "Account",
            (None, false) => "User",
        }
    }
}

impl FromStr for Caller {
    type Err = NotAnArn;

    fn from_str(text: &str) -> Result<Self, NotAnArn> {
        let parts = Parts::of(text)?;
        if !parts.region.is_empty() || !is_account(parts.account) {
            return Err(NotAnArn);
        }
        let role = match (parts.service, parts.resource.split_once('/')) {
            ("iam", None) if parts.resource == "root" => None,
            ("iam", Some(("user" | "role", name))) if !name.is_empty() => None,
            ("sts", Some(("assumed-role", session))) => Some(session.split_once('/').ok_or(NotAnArn)?.0),
            _ => return Err(NotAnArn),
        };
        Ok(Self {
            arn: text.to_owned(),
            account: parts.account.to_owned(),
            role: role.map(|name| format!("arn:{}:iam::{}:role/{name}", parts.partition, parts.account)),
        })
    }
}

/// Twelve digits.
pub(crate) fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

struct Parts<'a> {
    partition: &'a str,
    service: &'a str,
    region: &'a str,
    account: &'a str,
    resource: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Result<Self, NotAnArn> {
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or(NotAnArn);
        if next()? != "arn" {
            return Err(NotAnArn);
        }
        let parts = Self {
            partition: next()?,
            service: next()?,
            region: next()?,
            account: next()?,
            resource: next()?,
        };
        if matches!(parts.partition, "aws" | "aws-cn" | "aws-us-gov") {
            Ok(parts)
        } else {
            Err(NotAnArn)
        }
    }
}

/// A UUID, or the `mrk-` form of a multi-region key.
fn is_key_id(text: &str) -> bool {
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| b"0123456789abcdef".contains(&byte));
    if let Some(rest) = text.strip_prefix("mrk-") {
        return hex(rest, 32);
    }
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 5
        && parts
            .iter()
            .zip([8, 4, 4, 4, 12])
            .all(|(part, length)| hex(part, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_its_role() {
        let caller: Caller = "arn:aws:sts::111122223333:assumed-role/web/i-1".parse().unwrap();
        assert!(caller.is_named("arn:aws:iam::111122223333:role/web"));
        assert!(!caller.is_named("arn:aws:iam::111122223333:role/web2"));
        assert_eq!(caller.principal_type(), "AssumedRole");
    }

    #[test]
    fn key_arns_are_exact() {
        let good = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
        assert_eq!(good.parse::<KeyArn>().unwrap().to_string(), good);
        for bad in [
            "arn:aws:kms:us-east-1:111122223333:alias/x",
            "arn:aws:kms:us-east-1:11112222333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "arn:aws:kms:us-east-1:111122223333:key/1234ABCD-12ab-34cd-56ef-1234567890ab",
            "arn:aws:s3:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ] {
            assert_eq!(bad.parse::<KeyArn>(), Err(NotAnArn), "{bad}");
        }
    }
}
