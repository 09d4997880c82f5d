//! What else than a certificate something may be wrong with.

use std::fmt;

use enclave_tls_config::Config;
use enclave_wire::Name;

use crate::log::{About, Event};

/// Whose trouble it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// The root helper.
    Helper,
    /// What the keeper remembers.
    Memory,
    /// The enclave's list of credentials.
    Credentials,
    Server(Name),
    /// A client's credential.
    Credential(Name),
    /// A client's public objects.
    Objects(Name),
}

impl Whose {
    /// Whether the configuration still names it.
    pub(super) fn is_in(&self, config: &Config) -> bool {
        match self {
            Self::Helper | Self::Memory | Self::Credentials => true,
            Self::Server(name) => config.servers.contains_key(name),
            Self::Credential(client) | Self::Objects(client) => config.clients.contains_key(client),
        }
    }

    pub(super) fn failed(&self) -> About {
        self.named(match self {
            Self::Helper => Event::HelperFailed,
            Self::Memory => Event::KeeperFailed,
            Self::Server(_) => Event::ServerFailed,
            Self::Credentials | Self::Credential(_) | Self::Objects(_) => Event::ClientFailed,
        })
    }

    pub(super) fn well(&self) -> About {
        self.named(match self {
            Self::Helper => Event::HelperWell,
            Self::Memory => Event::KeeperWell,
            Self::Server(_) => Event::ServerWell,
            Self::Credentials | Self::Credential(_) | Self::Objects(_) => Event::ClientWell,
        })
    }

    fn named(&self, event: Event) -> About {
        let about = event.about();
        match self {
            Self::Helper | Self::Memory | Self::Credentials => about,
            Self::Server(name) => about.server(name),
            Self::Credential(client) | Self::Objects(client) => about.client(client),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper => f.write_str("helper"),
            Self::Memory => f.write_str("keeper.json"),
            Self::Credentials => f.write_str("credentials"),
            Self::Server(name) => write!(f, "server {name}"),
            Self::Credential(client) => write!(f, "credential of {client}"),
            Self::Objects(client) => write!(f, "objects of {client}"),
        }
    }
}
