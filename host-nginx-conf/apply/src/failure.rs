//! Why a request is refused, and what the asker is told.

use std::fmt;
use std::io;
use std::path::PathBuf;

use enclave_tls_apply::{Fault, MAX_KEEP, Refusal, bounded};
use enclave_tls_config::ConfigError;
use enclave_wire::Name;

use crate::disk::DiskError;

/// Why a request is refused.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The asker may not ask.
    Stranger { uid: u32 },
    /// The request did not come in time, whole and alone.
    Arrival(io::Error),
    /// The request is of no known form.
    Form(serde_json::Error),
    /// A certificate comes twice.
    Twice(Name),
    /// The configuration file was refused.
    Config(ConfigError),
    /// The configuration file has no such thing.
    Unknown {
        what: &'static str,
        name: Name,
        config: PathBuf,
    },
    /// The configuration file's `signing` is no address that a module can dial.
    Signing,
    /// The system has no such group.
    Group { group: String, source: io::Error },
    /// A server's file cannot be encoded.
    Render(x509_cert::der::Error),
    /// Files could not be read or written.
    Disk(DiskError),
    /// Another request is being carried out by another process, for too long.
    Busy,
    /// What says how an interrupted deployment is undone cannot be read.
    Undo(PathBuf),
    /// A certificate has as many generations on disk as may be kept.
    Full(PathBuf),
}

impl Failure {
    /// What the asker is told.
    pub(crate) fn refusal(&self) -> Refusal {
        let fault = match self {
            Self::Stranger { .. } => Fault::Stranger,
            Self::Arrival(_) | Self::Form(_) | Self::Twice(_) | Self::Render(_) | Self::Full(_) => Fault::Request,
            Self::Config(_) | Self::Unknown { .. } | Self::Signing | Self::Group { .. } => Fault::Configuration,
            Self::Disk(_) | Self::Busy | Self::Undo(_) => Fault::Machine,
        };
        Refusal {
            fault,
            message: bounded(&self.to_string()).to_owned(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stranger { uid } => write!(f, "user {uid} may not ask; only root and the agent's user may"),
            Self::Arrival(error) => write!(f, "the request was not read: {error}"),
            Self::Form(error) => write!(
                f,
                "the request is not understood ({error}); install agent and helper of one release"
            ),
            Self::Twice(name) => write!(f, "{name} comes twice in one deployment; send each certificate once"),
            Self::Config(error) => error.fmt(f),
            Self::Unknown { what, name, config } => write!(
                f,
                "{} has no {what} {name}; add it, or reload the agent so that it forgets it",
                config.display()
            ),
            Self::Signing => {
                f.write_str("[enclave] signing is an address to listen on; write vsock:CID:PORT or unix:PATH")
            }
            Self::Group { group, source } => {
                write!(f, "group {group}: {source}; create it, or name another in [clients]")
            }
            Self::Render(error) => write!(
                f,
                "the generation cannot be written as servers read it: {error}; install another chain"
            ),
            Self::Disk(error) => error.fmt(f),
            Self::Busy => f.write_str(
                "another enclave-tls-apply has been at work for too long; end the one that you started by hand",
            ),
            Self::Undo(path) => write!(
                f,
                "{} says how an interrupted deployment is undone, and cannot be read; see that live/ points at what you want, and remove it",
                path.display()
            ),
            Self::Full(path) => write!(
                f,
                "{} has {MAX_KEEP} generations, and another one is not written; see why they are so many, wait until the agent prunes those that servers no longer use, or remove old ones that live/ does not point at",
                path.display()
            ),
        }
    }
}

impl From<DiskError> for Failure {
    fn from(error: DiskError) -> Self {
        Self::Disk(error)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
