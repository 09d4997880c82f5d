//! What the service takes from outside itself, so that a test can take its place.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The outside, as one run of the service sees it.
#[derive(Clone)]
pub struct Platform {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Deadlines and numbers of connections.
    pub limits: Limits,
}

impl Platform {
    /// The machine's own.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            limits: Limits::default(),
        }
    }
}

/// Wall time. Deadlines do not come from it: those are the runtime's, which are monotonic.
pub trait Clock: Send + Sync {
    /// Seconds since 1970, UTC.
    fn now_unix(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_unix(&self) -> i64 {
        // A clock before 1970 is wrong; no certificate is valid then.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }
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
    /// RSA operations that wait for a core. At 2 ms each (RSA-4096) the last of them would wait 0.5 s, half of a client's patience.
    pub rsa_waiting: usize,
    /// Between the service's pings on the control plane; the third without a reply ends the connection.
    pub heartbeat: Duration,
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
            redial: Duration::from_millis(100),
        }
    }
}
