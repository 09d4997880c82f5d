//! What the emulator holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use aws_lc_rs::rand;
use emulator_aws::hex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::AccountKey;
use crate::error::AcmError;

#[derive(Default)]
pub(crate) struct State {
    /// By ARN.
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    /// What a request with an idempotency token asked, and what it got.
    pub(crate) tokens: BTreeMap<(String, String), (Value, Value)>,
    /// Those that are not handed out yet.
    pub(crate) account_keys: Option<VecDeque<AccountKey>>,
    /// Name and value of the CNAMEs that stand in zones.
    pub(crate) records: BTreeSet<(String, String)>,
}

/// How far something is, by looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// `CREATING` or `VALIDATING`, for so many looks more.
    Pending(u32),
    /// `ACTIVE` or `VALID`.
    Ready,
    /// `FAILED` or `INVALID`, and why.
    Failed(String),
    /// `DELETING`, for so many looks more.
    Deleting(u32),
}

impl Phase {
    /// One look later. `None`: it is gone.
    pub(crate) fn next(&self, may_finish: bool, failure: Option<&String>) -> Option<Self> {
        match self {
            Self::Pending(0) => match failure {
                Some(why) => Some(Self::Failed(why.clone())),
                None if may_finish => Some(Self::Ready),
                None => Some(self.clone()),
            },
            Self::Pending(left) => Some(Self::Pending(left.saturating_sub(1))),
            Self::Ready | Self::Failed(_) => Some(self.clone()),
            Self::Deleting(0) => None,
            Self::Deleting(left) => Some(Self::Deleting(left.saturating_sub(1))),
        }
    }
}

pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) phase: Phase,
    pub(crate) contact: String,
    pub(crate) certificate_authority: Value,
    pub(crate) certificate_tags: Value,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    /// By ARN.
    pub(crate) domains: BTreeMap<String, Domain>,
    /// By ARN.
    pub(crate) bindings: BTreeMap<String, Binding>,
    /// By URL.
    pub(crate) accounts: BTreeMap<String, Account>,
}

pub(crate) struct Domain {
    pub(crate) name: String,
    pub(crate) scope: Value,
    pub(crate) hosted_zone: Option<String>,
    /// The CNAME by which ACM knows whose the domain is.
    pub(crate) record: (String, String),
    pub(crate) phase: Phase,
    pub(crate) created: i64,
    pub(crate) updated: i64,
}

pub(crate) struct Binding {
    pub(crate) role: String,
    pub(crate) expires: Option<i64>,
    pub(crate) revoked: Option<i64>,
    pub(crate) last_used: Option<i64>,
    pub(crate) created: i64,
    pub(crate) updated: i64,
    pub(crate) key: AccountKey,
}

impl Binding {
    pub(crate) fn is_usable(&self, now: i64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|end| end > now)
    }
}

pub(crate) struct Account {
    pub(crate) binding: String,
    pub(crate) thumbprint: String,
    pub(crate) contacts: Vec<String>,
    pub(crate) revoked: bool,
    pub(crate) created: i64,
}

/// An account that an ACME client made at the server behind an endpoint, as a test tells of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// By which binding: its key's identifier.
    pub key_id: String,
    /// Its URL.
    pub account_url: String,
    /// Its key's thumbprint.
    pub thumbprint: String,
    /// Its contacts.
    #[serde(default)]
    pub contacts: Vec<String>,
}

impl State {
    pub(crate) fn endpoint(&mut self, arn: &str) -> Result<&mut Endpoint, AcmError> {
        let found = self.endpoints.get_mut(arn);
        found.ok_or_else(|| AcmError::not_found("ACME endpoint", arn))
    }

    /// Notes an account. The rules are ACM's: not by a binding that was revoked or has ended, not without a required contact.
    pub(crate) fn register(&mut self, registration: Registration, now: i64) -> Result<(), AcmError> {
        for endpoint in self.endpoints.values_mut() {
            let mut bindings = endpoint.bindings.iter_mut();
            let Some((arn, binding)) = bindings.find(|(_, binding)| binding.key.key_id == registration.key_id) else {
                continue;
            };
            if !binding.is_usable(now) {
                return Err(AcmError::validation("the binding was revoked or has expired"));
            }
            if endpoint.contact == "REQUIRED" && registration.contacts.is_empty() {
                return Err(AcmError::validation("the endpoint wants a contact"));
            }
            binding.last_used = Some(now);
            let account = Account {
                binding: arn.clone(),
                thumbprint: registration.thumbprint,
                contacts: registration.contacts,
                revoked: false,
                created: now,
            };
            endpoint.accounts.insert(registration.account_url, account);
            return Ok(());
        }
        Err(AcmError::not_found("binding of the key", &registration.key_id))
    }
}

impl Endpoint {
    pub(crate) fn json(&self, arn: &str) -> Value {
        let (status, reason) = match &self.phase {
            Phase::Pending(_) => ("CREATING", None),
            Phase::Ready => ("ACTIVE", None),
            Phase::Failed(why) => ("FAILED", Some(why)),
            Phase::Deleting(_) => ("DELETING", None),
        };
        without_nulls(json!({
            "AcmeEndpointArn": arn,
            "EndpointUrl": self.url,
            "Status": status,
            "FailureReason": reason,
            "AuthorizationBehavior": "PRE_APPROVED",
            "Contact": self.contact,
            "CertificateAuthority": self.certificate_authority,
            "CertificateTags": self.certificate_tags,
            "CreatedAt": self.created,
            "UpdatedAt": self.updated,
        }))
    }
}

impl Domain {
    pub(crate) fn json(&self, arn: &str, endpoint: &str) -> Value {
        let (status, failure) = match &self.phase {
            Phase::Pending(_) => ("VALIDATING", None),
            Phase::Ready => ("VALID", None),
            Phase::Failed(why) => (
                "INVALID",
                Some(json!({ "Reason": why, "Message": "The emulator was told so." })),
            ),
            Phase::Deleting(_) => ("DELETING", None),
        };
        let (name, value) = &self.record;
        without_nulls(json!({
            "AcmeDomainValidationArn": arn,
            "AcmeEndpointArn": endpoint,
            "DomainName": self.name,
            "PrevalidationType": "DNS_PREVALIDATION",
            "PrevalidationDetails": { "DnsPrevalidation": without_nulls(json!({
                "DomainScope": self.scope,
                "HostedZoneId": self.hosted_zone,
                "ResourceRecord": { "Name": name, "Type": "CNAME", "Value": value },
            })) },
            "Status": status,
            "FailureDetails": failure,
            "CreatedAt": self.created,
            "UpdatedAt": self.updated,
        }))
    }
}

impl Binding {
    pub(crate) fn json(&self, arn: &str, endpoint: &str) -> Value {
        without_nulls(json!({
            "AcmeExternalAccountBindingArn": arn,
            "AcmeEndpointArn": endpoint,
            "RoleArn": self.role,
            "ExpiresAt": self.expires,
            "RevokedAt": self.revoked,
            "LastUsedAt": self.last_used,
            "CreatedAt": self.created,
            "UpdatedAt": self.updated,
        }))
    }
}

impl Account {
    pub(crate) fn json(&self, url: &str) -> Value {
        json!({
            "AccountUrl": url,
            "PublicKeyThumbprint": self.thumbprint,
            "Status": if self.revoked { "REVOKED" } else { "VALID" },
            "CreatedAt": self.created,
            "AcmeExternalAccountBindingArn": self.binding,
            "Contacts": self.contacts,
        })
    }
}

/// What is absent is absent, as AWS writes it.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(members) = &mut value {
        members.retain(|_, member| !member.is_null());
    }
    value
}

/// A random id of the form of a UUID.
pub(crate) fn new_id() -> Result<String, AcmError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| AcmError::internal())?;
    let digits = hex(&bytes);
    let cut = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default().to_owned();
    Ok([cut(0..8), cut(8..12), cut(12..16), cut(16..20), cut(20..32)].join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_take_their_looks() {
        let pending = Phase::Pending(1);
        let last = pending.next(true, None).unwrap();
        assert_eq!(last, Phase::Pending(0));
        assert_eq!(
            last.next(false, None),
            Some(Phase::Pending(0)),
            "nothing stands in the zone"
        );
        assert_eq!(last.next(true, None), Some(Phase::Ready));
        let why = "TIMED_OUT".to_owned();
        assert_eq!(last.next(true, Some(&why)), Some(Phase::Failed(why.clone())));
        assert_eq!(Phase::Deleting(0).next(true, None), None);
    }
}
