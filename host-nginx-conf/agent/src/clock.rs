//! The time, and waiting: tests let days pass in a moment.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the agent takes the time from.
pub trait Clock: Send + Sync {
    /// Seconds since 1970, UTC. It may be set at any time, forwards and backwards: nothing that is only a matter of waiting uses it.
    fn now(&self) -> i64;

    /// Time that only grows, since some moment.
    fn monotonic(&self) -> Duration;

    /// Waits until the bell rings or so much of [`Clock::monotonic`] has passed. Whether it rang.
    fn wait(&self, bell: &Bell, time: Duration) -> bool;
}

/// Ends a wait. Rung while nobody waits, it ends the next one.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    /// Ends the wait.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits in real time. Whether it rang, which it then no longer does.
    pub fn wait(&self, time: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(rung, time, |rung| !*rung);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

/// The machine's clocks.
pub struct System {
    began: Instant,
}

impl Default for System {
    fn default() -> Self {
        Self { began: Instant::now() }
    }
}

impl Clock for System {
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs().try_into().unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.began.elapsed()
    }

    fn wait(&self, bell: &Bell, time: Duration) -> bool {
        bell.wait(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bell_that_rang_before_ends_the_next_wait_and_only_that() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(60)));
        assert!(!bell.wait(Duration::from_millis(1)));
    }
}
