//! The running service: a control plane that it dials, and a signing plane that opens when control says so.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod control;
mod deadline;
mod force;
mod frames;
mod jobs;
mod link;
mod signing;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use enclave_wire::BootId;
use enclave_wire::address::Address;

use crate::keystore::KeyStore;
use crate::platform::Platform;
use crate::statistics::Statistics;
use enclave_policy::Policy;

pub(crate) use control::Agent;
use force::Force;

/// What one run of the service is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The image's policy: the most that this service may ever do.
    pub policy: Policy,
    /// Where the signing plane listens, once it is open.
    pub signing: Address,
    /// Where the control peer listens.
    pub control: Address,
    /// Where the parent passes connections on to AWS; none: AWS is not reached.
    pub egress: Option<Address>,
}

/// A service that is ready to run.
pub struct Service {
    state: Arc<State>,
}

impl Service {
    /// Prepares a run: nothing listens and nothing is dialled yet.
    pub fn new(config: Config, platform: Platform) -> Result<Self, StartError> {
        let state = State {
            boot: BootId(random()?),
            started: Instant::now(),
            config,
            platform,
            force: OnceLock::new(),
            turn: Arc::default(),
            keys: KeyStore::default(),
            statistics: Arc::default(),
        };
        Ok(Self { state: Arc::new(state) })
    }

    /// The counters of this run.
    #[must_use]
    pub fn statistics(&self) -> Arc<Statistics> {
        Arc::clone(&self.state.statistics)
    }

    /// Serves until the future is dropped, which ends every connection. Call it within a tokio runtime.
    pub async fn run(self) -> Result<Infallible, StartError> {
        control::run(self.state).await
    }
}

/// Prepares and runs a service.
pub async fn run(config: Config, platform: Platform) -> Result<Infallible, StartError> {
    Service::new(config, platform)?.run().await
}

/// Why a service did not start, or ended.
#[derive(Debug)]
pub enum StartError {
    /// The system gave no random numbers.
    Random,
    /// The threads that sign could not be started.
    Threads(std::io::Error),
    /// The kernel counts time by this source now, and the policy asks for `kvm-clock`.
    ClockSource(String),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Random => f.write_str("the system gave no random numbers"),
            Self::Threads(error) => write!(f, "cannot start the threads that sign: {error}"),
            Self::ClockSource(source) => write!(
                f,
                "the clock source became {source:?}, and the policy asks for kvm-clock"
            ),
        }
    }
}

impl std::error::Error for StartError {}

/// What both planes share.
struct State {
    boot: BootId,
    started: Instant,
    config: Config,
    platform: Platform,
    /// The policy in force and what depends on it, once control has said what the parent adds; none for good, if that could not be
    /// measured.
    force: OnceLock<Option<Force>>,
    /// Whose turn it is to work on a request of control's.
    turn: Arc<tokio::sync::Mutex<()>>,
    keys: KeyStore,
    statistics: Arc<Statistics>,
}

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StartError::Random)?;
    Ok(bytes)
}
