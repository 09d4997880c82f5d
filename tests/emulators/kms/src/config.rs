//! What an emulator is started with.

use std::collections::BTreeMap;
use std::path::Path;

use aws_lc_rs::rand;
use serde::Deserialize;

use crate::arn::{Caller, KeyArn};
use crate::authorization::{self, Policy, PolicyError};
use crate::blob::unhex;
use crate::kms::{Kms, Login};
use crate::store::{State, StoredKey, new_key_id};

/// What an emulator is started with. Unknown members are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The one region of which it is the KMS.
    pub region: String,
    /// The account that keys named by their id alone belong to.
    pub account: String,
    /// Who may sign requests.
    #[serde(default)]
    pub principals: Vec<Principal>,
    /// The keys that are there from the start.
    #[serde(default)]
    pub keys: Vec<Key>,
    /// The SHA-256 of the root of attestation documents, in hexadecimal. Absent: no document is believed.
    #[serde(default)]
    pub attestation_root_sha256: Option<String>,
    /// Documents of an emulated machine, which nobody signed, are believed. Says so on stderr, each time.
    #[serde(default)]
    pub allow_unsigned_documents: bool,
    /// By how many seconds the emulator's clock is off the machine's.
    #[serde(default)]
    pub now_offset_seconds: i64,
    /// Where it listens. Port 0 takes a free one.
    #[serde(default = "any_port")]
    pub listen: String,
    /// Absent: plain HTTP.
    #[serde(default)]
    pub tls: Option<Tls>,
}

/// Somebody with a secret access key.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// As in `Authorization`.
    pub access_key_id: String,
    /// What signs.
    pub secret_access_key: String,
    /// Of short-lived credentials: requests must carry it.
    #[serde(default)]
    pub session_token: Option<String>,
    /// When the credentials expire, in seconds since 1970, UTC.
    #[serde(default)]
    pub expires: Option<i64>,
    /// A user, a role, a session of a role (`…:assumed-role/ROLE/SESSION`), or the account's root.
    pub arn: String,
    /// Its identity policy, JSON.
    #[serde(default)]
    pub iam: Option<String>,
}

/// A key.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Key {
    /// Its id, in the configured account.
    pub id: Option<String>,
    /// Or its whole ARN, of any account.
    pub arn: Option<String>,
    /// Its key policy, JSON. Absent: the account's root may do everything, so identity policies decide.
    pub policy: Option<String>,
    /// Its 32 bytes, in hexadecimal, so that ciphertexts outlive a restart. Absent: random.
    pub material: Option<String>,
    /// `AWS_KMS`, or whatever the key is to say of itself.
    pub origin: Option<String>,
    /// `alias/…`
    pub aliases: Vec<String>,
    /// Whether it starts disabled.
    pub disabled: bool,
}

/// A server's certificates and key, PEM.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The leaf first.
    pub certificates: String,
    /// PKCS #8, PKCS #1 or SEC1.
    pub key: String,
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Read(String, #[source] std::io::Error),
    /// It is not what it should be.
    #[error("the configuration is not TOML of its form: {0}")]
    Toml(String),
    /// A member has no such value.
    #[error("{0} is not {1}")]
    Value(String, &'static str),
    /// A policy is refused.
    #[error("the policy of {0}: {1}")]
    Policy(String, String),
    /// The machine gave no random bytes.
    #[error("no random bytes")]
    Random,
}

impl Config {
    /// With no principal and no key.
    #[must_use]
    pub fn new(region: &str, account: &str) -> Self {
        Self {
            region: region.to_owned(),
            account: account.to_owned(),
            principals: Vec::new(),
            keys: Vec::new(),
            attestation_root_sha256: None,
            allow_unsigned_documents: false,
            now_offset_seconds: 0,
            listen: any_port(),
            tls: None,
        }
    }

    /// Reads a TOML file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.display().to_string(), error))?;
        toml::from_str(&text).map_err(|error| ConfigError::Toml(error.to_string()))
    }

    pub(crate) fn build(&self) -> Result<Kms, ConfigError> {
        if !crate::arn::is_account(&self.account) {
            return Err(ConfigError::Value(self.account.clone(), "an account"));
        }
        let root = self.attestation_root_sha256.as_deref();
        let root = root.map(|text| unhex(text).ok_or_else(|| ConfigError::Value(text.to_owned(), "a SHA-256")));
        let mut logins = BTreeMap::new();
        for principal in &self.principals {
            logins.insert(principal.access_key_id.clone(), principal.build()?);
        }
        let mut state = State::default();
        for key in &self.keys {
            key.add_to(&mut state, self)?;
        }
        Ok(Kms::new(self, root.transpose()?, logins, state))
    }

    pub(crate) fn partition(&self) -> &'static str {
        match self.region.as_str() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

impl Principal {
    fn build(&self) -> Result<Login, ConfigError> {
        let caller: Caller = self
            .arn
            .parse()
            .map_err(|_| ConfigError::Value(self.arn.clone(), "the ARN of a user, a role, a session or a root"))?;
        let policy = self
            .iam
            .as_deref()
            .map(|text| Policy::parse(text, authorization::Kind::Identity));
        Ok(Login {
            caller,
            secret: self.secret_access_key.clone(),
            session_token: self.session_token.clone(),
            expires: self.expires,
            policy: policy.transpose().map_err(|error| bad_policy(&self.arn, &error))?,
        })
    }
}

impl Key {
    fn add_to(&self, state: &mut State, config: &Config) -> Result<(), ConfigError> {
        let arn = self.arn(config)?;
        let text = self
            .policy
            .clone()
            .unwrap_or_else(|| crate::store::default_policy(&arn));
        let policy = Policy::parse(&text, authorization::Kind::Key);
        let mut material = [0; 32];
        match &self.material {
            Some(text) => {
                material = unhex(text).ok_or_else(|| ConfigError::Value(text.clone(), "32 bytes of hexadecimal"))?;
            }
            None => rand::fill(&mut material).map_err(|_| ConfigError::Random)?,
        }
        let key = StoredKey {
            policy: policy.map_err(|error| bad_policy(&arn.to_string(), &error))?,
            policy_text: text,
            material,
            origin: self.origin.clone().unwrap_or_else(|| "AWS_KMS".to_owned()),
            description: String::new(),
            enabled: !self.disabled,
            created: 0,
            grants: Vec::new(),
            arn: arn.clone(),
        };
        for alias in &self.aliases {
            state.aliases.insert(alias.clone(), arn.id.clone());
        }
        match state.keys.insert(arn.id.clone(), key) {
            None => Ok(()),
            Some(_) => Err(ConfigError::Value(arn.id, "distinct among the keys")),
        }
    }

    fn arn(&self, config: &Config) -> Result<KeyArn, ConfigError> {
        let text = match (&self.arn, &self.id) {
            (Some(arn), None) => arn.clone(),
            (None, Some(id)) => format!(
                "arn:{}:kms:{}:{}:key/{id}",
                config.partition(),
                config.region,
                config.account
            ),
            (None, None) => {
                let id = new_key_id().map_err(|_| ConfigError::Random)?;
                format!(
                    "arn:{}:kms:{}:{}:key/{id}",
                    config.partition(),
                    config.region,
                    config.account
                )
            }
            (Some(arn), Some(_)) => return Err(ConfigError::Value(arn.clone(), "alone: id or arn, not both")),
        };
        text.parse().map_err(|_| ConfigError::Value(text, "the ARN of a key"))
    }
}

fn bad_policy(of: &str, error: &PolicyError) -> ConfigError {
    ConfigError::Policy(of.to_owned(), error.to_string())
}

fn any_port() -> String {
    "127.0.0.1:0".to_owned()
}
