//! An account: who may ask, and the roles there are.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// An account.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its number.
    pub id: String,
    /// Whoever has credentials.
    pub askers: Vec<Asker>,
    /// Its roles.
    pub roles: Vec<Role>,
}

/// Somebody with credentials.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asker {
    /// The access key.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The session's token, where it is one of a role.
    pub session_token: Option<String>,
    /// For the words of a refusal.
    pub arn: String,
    /// The operations that it may ask for.
    pub may: Vec<String>,
}

/// A role.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Its name, without a path.
    pub name: String,
    /// Its path, `/` or `/team/`.
    pub path: String,
    /// Policies that are written into it, by name.
    #[serde(default)]
    pub inline: BTreeMap<String, Value>,
    /// Policies that are attached to it, by ARN.
    #[serde(default)]
    pub attached: BTreeMap<String, Value>,
    /// What bounds it, whatever its policies allow.
    #[serde(default)]
    pub boundary: Option<Value>,
}

impl Account {
    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }

    pub(crate) fn arn(&self, role: &Role) -> String {
        format!("arn:aws:iam::{}:role{}{}", self.id, role.path, role.name)
    }

    pub(crate) fn role_of(&self, arn: &str) -> Option<&Role> {
        self.roles.iter().find(|role| self.arn(role) == arn)
    }

    pub(crate) fn managed(&self, arn: &str) -> Option<&Value> {
        self.roles.iter().find_map(|role| role.attached.get(arn))
    }
}
