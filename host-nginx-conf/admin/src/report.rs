//! What the agent says of itself, its certificates, clients and servers: JSON on the admin socket, and `status --json` as it is.
//!
//! Times are seconds since 1970, UTC.

use serde::{Deserialize, Serialize};

pub use crate::acme::{Account, Renewal};

/// What the agent is asked beside what it passes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Where everything stands.
    Report,
    /// The newest lines of the log, the agent's and the enclave's: at most so many, and only those after this number.
    Logs { most: u32, after: u64 },
    /// A new credential for a client, now.
    RotateCredential { client: String },
    /// New keys for certificates.
    Rotate(Rotate),
    /// Servers shall have an older generation again.
    Rollback(Rollback),
    /// What became of a certificate.
    History { certificate: String },
    /// Have a certificate revoked: by the certificate's name, or a key's id.
    Revoke(Revoke),
}

/// Which certificates get new keys, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// None: all.
    pub certificate: Option<String>,
    /// All at once, not one after another.
    pub now: bool,
    /// Why the older keys are not to be trusted: they are retired as soon as the new ones are live.
    pub revoke: Option<String>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// Where to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    pub certificate: String,
    /// None: the newest of those before the one that is live.
    pub to: Option<u32>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What to revoke.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// A certificate's name, or a key's id.
    pub what: String,
    /// A reason of RFC 5280, as `key-compromise`.
    pub reason: String,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Told {
    /// To [`Ask::Report`].
    Report(Box<Report>),
    /// To [`Ask::Logs`].
    Logs {
        /// Which run of the agent counts these lines: another one begins at 1 again.
        run: u64,
        lines: Vec<Line>,
    },
    /// To [`Ask::Rotate`], [`Ask::Rollback`] and [`Ask::Revoke`]: for each certificate.
    Changes(Vec<Change>),
    /// To [`Ask::History`], oldest first.
    History(Vec<Happening>),
    /// Done.
    Done,
    /// Not done, and what to do about it.
    Failed(String),
}

/// What became, or would become, of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub certificate: String,
    /// `made`, `fetched`, `unchanged`, `waits`, `due`, `failed`, `rolled-back`, `revoking`, `ask-ca`; with `would-` before it where
    /// nothing was done.
    pub outcome: String,
    /// The generation that it is about.
    pub generation: Option<u32>,
    /// Its key.
    pub key: Option<String>,
    /// The serial number of its certificate, in hexadecimal.
    pub serial: Option<String>,
    /// When it will be done, where it is not yet.
    pub due: Option<i64>,
    /// What comes next, in words.
    pub says: String,
}

/// Something that happened to a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    pub at: i64,
    pub certificate: String,
    /// `made`, `deployed`, `looked-at`, `taken-back`, `rolled-back`, `superseded`, `retired`, `rotation-asked`, `revocation-asked`,
    /// `revoked`, `gone`.
    pub what: String,
    pub generation: Option<u32>,
    pub key: Option<String>,
    /// The serial number of the certificate, in hexadecimal.
    pub serial: Option<String>,
    pub not_after: Option<i64>,
    /// Where the key is from: `born`, `imported`, `bundle`.
    pub origin: Option<String>,
    /// The user who wanted it; none: the agent by itself.
    pub by: Option<u32>,
    /// Why, in words.
    pub says: Option<String>,
}

/// Where everything stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The agent's version.
    pub version: String,
    /// Its configuration file, and since when it is in force; and why a newer text of it is not.
    pub configuration: Configuration,
    /// What `nitro-cli` says of the enclave, and what became of it.
    pub enclave: Enclave,
    pub certificates: Vec<Certificate>,
    /// Accounts at CAs.
    #[serde(default)]
    pub accounts: Vec<Account>,
    pub clients: Vec<Client>,
    pub servers: Vec<Server>,
    /// What is wrong with the agent itself, and so with no certificate, client or server alone.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The directory that servers' files are in, as the root helper says; none before it has answered.
    pub base: Option<String>,
}

/// The configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    pub file: String,
    pub in_force_since: i64,
    /// Why the last reload kept the older one.
    pub refused: Option<String>,
}

/// The enclave, as the parent sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enclave {
    pub name: String,
    pub cid: u32,
    /// `running`, `absent`, `unknown` and so on, as `nitro-cli` says.
    pub state: String,
    pub id: Option<String>,
    /// Whether its registers are those of the configured image; absent where either is not known.
    pub image_matches: Option<bool>,
    /// Its registers, by name.
    pub measurements: std::collections::BTreeMap<String, String>,
    /// Since when it answers on the control plane.
    pub connected_since: Option<i64>,
    /// How often it was ended because it no longer answered.
    pub ended_stalled: u64,
    /// The last error, in words.
    pub problem: Option<String>,
}

/// A certificate of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    pub name: String,
    /// `csr`, `acme` or `bundle`.
    pub source: String,
    /// Whether its keys are to be sealed.
    pub sealed: bool,
    pub usage: String,
    /// `served`, `waiting-for-chain`, `waiting-for-enclave`, `failed` and so on.
    pub state: String,
    /// The last error or the next step, in words.
    pub note: Option<String>,
    pub generations: Vec<Generation>,
    /// What clients were seen to get, in words; none: it is shown to no client.
    #[serde(default)]
    pub outside: Option<String>,
    /// Of `acme`: when it is renewed, and how that stands.
    #[serde(default)]
    pub renewal: Option<Renewal>,
    /// Who else may have the key.
    pub promise: String,
    pub servers: Vec<String>,
}

/// A key and its chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    pub generation: u32,
    pub id: String,
    /// `live`, `superseded`, `pending`.
    pub state: String,
    pub not_before: Option<i64>,
    pub not_after: Option<i64>,
    /// Whether servers were given this one.
    pub is_live: bool,
}

/// Who may ask for signatures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    pub name: String,
    pub group: String,
    /// The id of the credential that its file holds.
    pub credential: Option<String>,
    /// When it was made.
    pub since: Option<i64>,
    /// The one before it, while the enclave still takes both.
    pub older: Option<String>,
    pub problem: Option<String>,
}

/// A web server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub name: String,
    pub kind: String,
    /// When it was last told to reload.
    pub reloaded: Option<i64>,
    /// What its own test of its configuration said, where it failed.
    pub problem: Option<String>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Counts all lines since the agent's start.
    pub number: u64,
    pub time: i64,
    /// `agent` or `enclave`.
    pub source: String,
    /// `error`, `warning`, `info`.
    pub level: String,
    /// The stable id of the kind of event; empty for the enclave's own.
    pub event: String,
    pub text: String,
}
