//! What the service takes from outside itself, so that a test can take its place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use enclave_attestation::{Bound, Nsm, NsmError, Pcr, Register};
use enclave_policy::Policy;

use crate::clock::{ClockError, NsmClock};
use crate::machine::Machine;

/// The outside, as one run of the service sees it.
#[derive(Clone)]
pub struct Platform {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Deadlines and numbers of connections.
    pub limits: Limits,
    /// What measures and attests.
    pub nsm: Arc<Watched>,
    /// What the kernel says of the machine.
    pub machine: Machine,
}

impl Platform {
    /// An enclave with this NSM, which tells the time too. The image's policy says whose documents are the NSM's.
    pub fn new(nsm: Arc<dyn Nsm>, image: &Policy, machine: Machine) -> Result<Self, ClockError> {
        let nsm = Watched::new(nsm);
        let watched: Arc<dyn Nsm> = nsm.clone();
        let clock = NsmClock::start(watched, image.attestation())?;
        Ok(Self {
            clock,
            limits: Limits {
                connections: machine.connections(),
                ..Limits::default()
            },
            nsm,
            machine,
        })
    }
}

/// An NSM, and when it last gave a document: whoever watches the service sees from it that it still does.
pub struct Watched {
    nsm: Arc<dyn Nsm>,
    last: Mutex<Option<Instant>>,
}

impl Watched {
    /// Watches an NSM.
    #[must_use]
    pub fn new(nsm: Arc<dyn Nsm>) -> Arc<Self> {
        let last = Mutex::default();
        Arc::new(Self { nsm, last })
    }

    /// How long ago it gave a document; none before the first.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.map(|last| last.elapsed())
    }
}

impl Nsm for Watched {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        let document = self.nsm.attest(bound)?;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(document)
    }

    fn extend(&self, index: u8, data: &[u8]) -> Result<Pcr, NsmError> {
        self.nsm.extend(index, data)
    }

    fn lock_below(&self, count: u8) -> Result<(), NsmError> {
        self.nsm.lock_below(count)
    }

    fn register(&self, index: u8) -> Result<Register, NsmError> {
        self.nsm.register(index)
    }
}

/// Wall time. Deadlines do not come from it: those are the runtime's, which are monotonic.
pub trait Clock: Send + Sync {
    /// Seconds since 1970, UTC.
    fn now_unix(&self) -> i64;
}

/// How long the service waits and how many it serves. The default is what `PROTOCOL.md` says.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From accepting a connection to the end of its handshake.
    pub authentication: Duration,
    /// From a frame's first byte to its last.
    pub frame: Duration,
    /// For a reply to leave.
    pub write: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Connections of the signing plane in all.
    pub connections: u32,
    /// Of these, under one credential.
    pub connections_per_credential: u32,
    /// RSA operations that wait for a core; clients share these places. At 2 ms each (RSA-4096) the last of them would wait 0.5 s on one core,
    /// half of a client's patience.
    pub rsa_waiting: u32,
    /// Between the service's pings on the control plane; the third without a reply ends the connection.
    pub heartbeat: Duration,
    /// How long a KMS key that seals and did not answer is left alone, at first: each failure doubles it, up to sixteen times.
    pub kms_pause: Duration,
    /// Between two attempts to reach the control peer, and for one attempt.
    pub redial: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            authentication: Duration::from_secs(1),
            frame: Duration::from_secs(1),
            write: Duration::from_secs(1),
            idle: Duration::from_secs(600),
            connections: 1_024,
            connections_per_credential: 256,
            rsa_waiting: 256,
            heartbeat: Duration::from_secs(1),
            kms_pause: Duration::from_secs(60),
            redial: Duration::from_millis(100),
        }
    }
}
