//! The configuration file of the agent, `/etc/enclave-tls/config.toml`: parsed into types that cannot be wrong.
//!
//! Agent, `enclave-tls-apply` and `enclave-tlsctl` read the same file by the same rules. Whatever can be said of it without looking
//! at the machine is said here, with the line; what depends on the machine (does the file exist, is there such a group?) is not.
//! `schema.json` beside this crate is the same form for editors.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod acme;
mod agent;
mod aws;
mod certificates;
mod challenges;
mod changes;
mod clients;
mod egress;
mod enclave;
mod error;
mod form;
mod hooks;
mod listeners;
mod paths;
pub mod permissions;
mod reading;
mod servers;

use std::collections::BTreeMap;
use std::path::Path;

use enclave_wire::Name;

pub use acme::{Account, Directory};
pub use agent::{Agent, Log, Metrics};
pub use aws::{Aws, InvalidKmsKey, KmsKey};
pub use certificates::{Acme, BundlePlace, Certificate, Challenge, Source};
pub use challenges::{Dns01, Http01, Route53};
pub use changes::{Change, Needs, changes};
pub use clients::{Client, Group, MAX_CLIENTS};
pub use egress::{Destination, Egress, is_local};
pub use enclave::Enclave;
pub use error::{ConfigError, Problem};
pub use hooks::{Hooks, Program};
pub use listeners::{Listener, Proxy};
pub use servers::{KeyAccess, Kind, Server};

/// What the file says. Only [`Config::load`] and [`Config::parse`] make one, so every name in it that refers to something does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `[enclave]`: the image and its machine, and where the planes are.
    pub enclave: Enclave,
    /// `[agent]`: where the agent keeps and says things.
    pub agent: Agent,
    /// `[aws]`: none, and no credentials are looked for.
    pub aws: Option<Aws>,
    /// `[egress]`: where the enclave may connect to.
    pub egress: Egress,
    /// `[acme.NAME]`: accounts at certificate authorities. None has the name of a certificate.
    pub accounts: BTreeMap<Name, Account>,
    /// `[http01]`: where challenges are answered.
    pub http01: Http01,
    /// `[dns01]`: who writes TXT records; none: nobody does.
    pub dns01: Option<Dns01>,
    /// `[clients.NAME]`: who may ask for signatures.
    pub clients: BTreeMap<Name, Client>,
    /// `[servers.NAME]`: the web servers, each of one client.
    pub servers: BTreeMap<Name, Server>,
    /// `[hooks]`: programs that the agent runs when something has happened.
    pub hooks: Hooks,
    /// `[[certificates]]` by name.
    pub certificates: BTreeMap<Name, Certificate>,
}

impl Config {
    /// Reads a file that nobody but root and the reading process's user can change.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::load_with_text(path).map(|(config, _)| config)
    }

    /// The same, with the file's text.
    pub fn load_with_text(path: &Path) -> Result<(Self, String), ConfigError> {
        Self::load_from(path, permissions::Owners::RootOrReader)
    }

    /// Reads a file that nobody but root can change: for what acts as root on the file's word.
    pub fn load_as_root(path: &Path) -> Result<Self, ConfigError> {
        Self::load_from(path, permissions::Owners::Root).map(|(config, _)| config)
    }

    fn load_from(path: &Path, owners: permissions::Owners) -> Result<(Self, String), ConfigError> {
        let bytes = permissions::read(path, owners, MAX_FILE)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes());
            let before = error.utf8_error().valid_up_to();
            ConfigError::one(
                path,
                &text,
                before,
                "this is not UTF-8: save the file as UTF-8 text".to_owned(),
            )
        })?;
        Ok((Self::parse(&text, path)?, text))
    }

    /// Reads a file's text. `path` is only what errors call it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: form::File = toml::from_str(text).map_err(|error| ConfigError::of_form(path, text, &error))?;
        let mut reading = reading::Reading::default();
        let config = file.read(&mut reading);
        match (config, reading.into_problems(text)) {
            (Ok(config), problems) if problems.is_empty() => Ok(config),
            (Ok(_) | Err(reading::Refused { .. }), problems) => Err(ConfigError::Wrong {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// The clients of a certificate's key, which are those of its servers: at least one, at most 64, in the order of their names.
    #[must_use]
    pub fn clients_of(&self, certificate: &Certificate) -> Vec<&Name> {
        let servers = certificate.servers.iter().filter_map(|name| self.servers.get(name));
        let clients: std::collections::BTreeSet<_> = servers.map(|server| &server.client).collect();
        clients.into_iter().collect()
    }

    /// The certificates that a server serves, in the order of their names.
    pub fn certificates_of<'a>(&'a self, server: &'a Name) -> impl Iterator<Item = &'a Certificate> {
        let all = self.certificates.values();
        all.filter(move |certificate| certificate.servers.contains(server))
    }
}

/// Where packages put the file.
pub const DEFAULT_PATH: &str = "/etc/enclave-tls/config.toml";
/// The directory that `enclave-tls-apply` writes clients' and servers' files to, and that the file lies in.
pub const DEFAULT_DIRECTORY: &str = "/etc/enclave-tls";
/// Ten thousand certificates with a hundred names of 15 bytes each, in bytes. What is longer is not read.
const MAX_FILE: u64 = 16_777_216;
