//! The agent: the parent instance's side of an enclave.
//!
//! It holds the control connection that the enclave dials ([`control`]), gives a restarted enclave all that it forgot ([`replay`]), lends
//! it AWS credentials ([`aws`]), passes its bytes to the hosts of the allow-list ([`egress`]), takes its log ([`logs`]), makes it and the
//! web servers into what the configuration says ([`keeper`]), ends one that no longer answers ([`watch`]), and answers
//! administrators ([`admin`]).
//!
//! Threads, no runtime: few things happen here at a time, and each may block. One request to the enclave is under way at a time. That
//! The agent is away costs no handshake: web servers speak to the enclave.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

mod admin;
mod aws;
mod backoff;
mod challenge;
pub mod clock;
mod control;
mod egress;
mod health;
mod keeper;
mod link;
mod log;
mod logs;
mod metrics;
mod notify;
mod parent;
mod probe;
mod record;
mod replay;
mod requests;
mod settled;
mod sockets;
#[deny(clippy::wildcard_enum_match_arm)]
mod store;
pub mod supervisor;
mod tasks;
mod waiting;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use enclave_tls_config::{Config, ConfigError};
use rustix::fs::Mode;

use clock::Clock;
pub use sockets::{BindError, Plane};
pub use store::OpenError;
use tasks::Tasks;

/// Why the agent did not start.
#[derive(Debug)]
pub enum StartError {
    /// Its configuration.
    Config(ConfigError),
    /// One of its sockets.
    Bind(BindError),
    /// Its directory.
    Store(OpenError),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

/// An agent that runs, until its process ends.
pub struct Agent {
    tasks: Arc<Tasks>,
}

impl Agent {
    /// Reads the configuration and starts. `clock` is the machine's but in tests.
    pub fn start(source: &Path, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        // Nothing that this process makes is for others, unless it says so.
        rustix::process::umask(Mode::from_raw_mode(0o077));
        let config = Config::load(source).map_err(StartError::Config)?;
        log::set_form(config.agent.log);
        let tasks = Tasks::start(config, source.to_owned(), clock)?;
        Ok(Self { tasks })
    }

    /// Reads the configuration again. If it is refused, the one in force stays.
    pub fn reload(&self) {
        notify::reloading();
        self.tasks.reload();
        notify::reloaded();
    }

    /// Says that it ends. Files are written whole and sockets are the kernel's to close: there is nothing else to do first.
    pub fn stop(&self) {
        notify::stopping();
        log::Event::AgentStopping.say("asked to end");
    }
}

/// What is said in one place, of the configuration in force.
pub(crate) struct InForce {
    pub(crate) source: PathBuf,
    pub(crate) config: Shared<Arc<Config>>,
    /// Since when, UTC; and why a newer one is not.
    pub(crate) since: Shared<(i64, Option<String>)>,
}

/// A value that threads use in turn. A thread that panicked while it had it leaves it as it is: files are replaced whole, and
/// connections are closed by their readers.
#[derive(Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
