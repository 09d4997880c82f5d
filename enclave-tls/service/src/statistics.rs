//! What the service counts. Numbers only: nothing here tells one peer's business to another.

mod times;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use times::Times;

/// The counters of one run of the service.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Connections of the signing plane, now.
    pub connections: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections and requests refused as busy.
    pub busy: Counter,
    /// Handshakes that failed.
    pub authentication_failures: Counter,
    /// Frames refused.
    pub malformed: Counter,
    /// Deadlines that a peer missed.
    pub deadlines: Counter,
    /// Connections that ended because their handler panicked.
    pub panics: Counter,
    /// Connections to the agent.
    pub control_connections: Counter,
    /// How long signatures took.
    pub times: Times,
    /// RSA operations that wait for a thread now.
    pub rsa_waiting: Gauge,
    /// RSA operations that found no place to wait.
    pub rsa_shed: Counter,
    /// RSA operations that run now.
    pub rsa_running: Gauge,
    /// RSA operations done.
    pub rsa_done: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Nothing counted yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts one more.
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that come and go, and the most there were at once.
#[derive(Debug, Default)]
pub struct Gauge {
    now: Arc<AtomicU32>,
    most: AtomicU32,
}

impl Gauge {
    /// Adds one, unless there would be more than `limit`. It is taken off when the caller drops what it gets.
    #[must_use]
    pub fn enter(&self, limit: u32) -> Option<Entered> {
        let more = |now: u32| now.checked_add(1).filter(|more| *more <= limit);
        let before = self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        self.most.fetch_max(before.saturating_add(1), Ordering::Relaxed);
        Some(Entered(Arc::clone(&self.now)))
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// The most there were at once.
    #[must_use]
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }
}

/// One of what a [`Gauge`] counts, for as long as this lives: a panic gives it back too.
#[derive(Debug)]
pub struct Entered(Arc<AtomicU32>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
