//! The keys, their aliases and grants. In memory: what must outlive a restart stands in the configuration.

use std::collections::BTreeMap;

use aws_lc_rs::rand;

use crate::arn::KeyArn;
use crate::authorization::{Grant, Policy};
use crate::blob::hex;
use crate::error::{Kind, KmsError};

/// All keys, by their ids, and what aliases name which.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) keys: BTreeMap<String, StoredKey>,
    /// `alias/NAME` → key id.
    pub(crate) aliases: BTreeMap<String, String>,
}

pub(crate) struct StoredKey {
    pub(crate) arn: KeyArn,
    pub(crate) policy_text: String,
    pub(crate) policy: Policy,
    pub(crate) material: [u8; 32],
    pub(crate) origin: String,
    pub(crate) description: String,
    pub(crate) enabled: bool,
    pub(crate) created: i64,
    pub(crate) grants: Vec<Grant>,
}

/// Where names are looked up.
pub(crate) struct Place<'a> {
    pub(crate) partition: &'a str,
    pub(crate) region: &'a str,
    /// Of whoever asks: an id alone names a key of this account.
    pub(crate) account: &'a str,
}

impl State {
    /// The id of the key that a `KeyId` names: an id, an ARN, an alias, or an alias's ARN.
    pub(crate) fn resolve(&self, name: &str, place: &Place<'_>) -> Result<String, KmsError> {
        let id = match name.rsplit_once(':') {
            Some((_, last)) if last.starts_with("alias/") => last,
            Some(_) => return self.resolve_arn(name, place),
            None => name,
        };
        if id.starts_with("alias/") {
            return self.resolve_alias(name, id, place);
        }
        let Place {
            partition,
            region,
            account,
        } = place;
        self.resolve_arn(&format!("arn:{partition}:kms:{region}:{account}:key/{id}"), place)
    }

    fn resolve_arn(&self, text: &str, place: &Place<'_>) -> Result<String, KmsError> {
        let not_found = || KmsError::new(Kind::NotFound, format!("Key '{text}' does not exist"));
        let Ok(arn) = text.parse::<KeyArn>() else {
            return Err(if text.contains(":kms:") {
                not_found()
            } else {
                invalid_arn(text)
            });
        };
        if arn.region != place.region {
            return Err(invalid_arn(&arn.region));
        }
        match self.keys.get(&arn.id) {
            Some(key) if key.arn == arn => Ok(arn.id),
            Some(_) | None => Err(not_found()),
        }
    }

    fn resolve_alias(&self, name: &str, alias: &str, place: &Place<'_>) -> Result<String, KmsError> {
        let Place {
            partition,
            region,
            account,
        } = place;
        let whole = format!("arn:{partition}:kms:{region}:{account}:{alias}");
        let found = self.aliases.get(alias).filter(|_| name == alias || name == whole);
        found
            .cloned()
            .ok_or_else(|| KmsError::new(Kind::NotFound, format!("Alias {whole} is not found.")))
    }

    pub(crate) fn key(&self, id: &str) -> Result<&StoredKey, KmsError> {
        self.keys.get(id).ok_or_else(KmsError::internal)
    }

    pub(crate) fn key_mut(&mut self, id: &str) -> Result<&mut StoredKey, KmsError> {
        self.keys.get_mut(id).ok_or_else(KmsError::internal)
    }

    pub(crate) fn aliases_of(&self, id: &str) -> impl Iterator<Item = &str> {
        self.aliases
            .iter()
            .filter(move |(_, key)| *key == id)
            .map(|(alias, _)| alias.as_str())
    }
}

impl StoredKey {
    pub(crate) fn check_enabled(&self) -> Result<(), KmsError> {
        if self.enabled {
            Ok(())
        } else {
            Err(KmsError::new(Kind::Disabled, format!("{} is disabled.", self.arn)))
        }
    }
}

/// What KMS gives a key that is created without a policy.
pub(crate) fn default_policy(arn: &KeyArn) -> String {
    let KeyArn { partition, account, .. } = arn;
    format!(
        r#"{{"Version":"2012-10-17","Id":"key-default-1","Statement":[{{"Sid":"Enable IAM User Permissions","Effect":"Allow","Principal":{{"AWS":"arn:{partition}:iam::{account}:root"}},"Action":"kms:*","Resource":"*"}}]}}"#
    )
}

/// A UUID of version 4.
pub(crate) fn new_key_id() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let parts = [&bytes[..4], &bytes[4..6], &bytes[6..8], &bytes[8..10], &bytes[10..]];
    Ok(parts.map(hex).join("-"))
}

fn invalid_arn(what: &str) -> KmsError {
    KmsError::new(Kind::NotFound, format!("Invalid arn {what}"))
}
