//! What an emulator is started with.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

/// What an emulator is started with. Unknown members are refused.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The one region of which it is the ACM.
    pub region: String,
    /// The account that everything belongs to.
    pub account: String,
    /// Who may sign requests.
    #[serde(default)]
    pub principals: Vec<Principal>,
    /// The directory of the ACME server that stands behind every endpoint. Absent: a URL of AWS's form, which nobody serves.
    #[serde(default)]
    pub directory: Option<String>,
    /// The account keys that the ACME server knows, handed out in this order, one for each binding. Absent: random ones, without end.
    #[serde(default)]
    pub account_keys: Option<Vec<AccountKey>>,
    /// After how many looks what was begun is done.
    #[serde(default = "two")]
    pub looks: u32,
    /// Domains whose validation fails, and why: `HOSTED_ZONE_NOT_FOUND`, …
    #[serde(default)]
    pub failing_domains: BTreeMap<String, String>,
    /// Why every endpoint fails to be created. Absent: none does.
    #[serde(default)]
    pub failing_endpoints: Option<String>,
    /// How many items a list gives that was asked for no number. Few, so that who does not ask for the next page is found out.
    #[serde(default = "two_items")]
    pub page: usize,
    /// Where it listens. Port 0 takes a free one.
    #[serde(default = "any_port")]
    pub listen: String,
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
    /// Its ARN.
    pub arn: String,
    /// The operations that it may call, as IAM names them, `acm:ListAcmeEndpoints`. Absent: all.
    #[serde(default)]
    pub may: Option<Vec<String>>,
}

/// An account key that an ACME server knows.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountKey {
    /// Its identifier.
    pub key_id: String,
    /// The MAC key, base64url.
    pub mac_key: String,
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
}

impl Config {
    /// With no principal, and nothing behind it.
    #[must_use]
    pub fn new(region: &str, account: &str) -> Self {
        Self {
            region: region.to_owned(),
            account: account.to_owned(),
            principals: Vec::new(),
            directory: None,
            account_keys: None,
            looks: two(),
            failing_domains: BTreeMap::new(),
            failing_endpoints: None,
            page: two_items(),
            listen: any_port(),
        }
    }

    /// Reads a TOML file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Read(path.display().to_string(), error))?;
        toml::from_str(&text).map_err(|error| ConfigError::Toml(error.to_string()))
    }

    pub(crate) fn partition(&self) -> &'static str {
        match self.region.as_str() {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }
}

fn two() -> u32 {
    2
}

fn two_items() -> usize {
    2
}

fn any_port() -> String {
    "127.0.0.1:0".to_owned()
}
