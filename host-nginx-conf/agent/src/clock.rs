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
pub(crate) mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Time that passes when somebody waits or the test says so, at once. The time of day can be set.
    pub(crate) struct Simulated {
        /// Monotonic time, and by how many seconds the time of day is ahead of it.
        now: Mutex<(Duration, i64)>,
    }

    impl Simulated {
        pub(crate) fn new() -> Arc<Self> {
            Arc::new(Self {
                now: Mutex::new((Duration::from_secs(100), 1_800_000_000)),
            })
        }

        pub(crate) fn pass(&self, time: Duration) {
            self.now.lock().unwrap().0 += time;
        }

        /// Sets the time of day by so many seconds.
        pub(crate) fn set(&self, by: i64) {
            self.now.lock().unwrap().1 += by;
        }
    }

    impl Clock for Simulated {
        fn now(&self) -> i64 {
            let now = self.now.lock().unwrap();
            now.1 + i64::try_from(now.0.as_secs()).unwrap()
        }

        fn monotonic(&self) -> Duration {
            self.now.lock().unwrap().0
        }

        fn wait(&self, bell: &Bell, time: Duration) -> bool {
            let rang = bell.wait(Duration::ZERO);
            if !rang {
                self.pass(time);
            }
            rang
        }
    }

    /// A directory that goes with the test.
    pub(crate) struct Directory(PathBuf);

    impl Directory {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU64 = AtomicU64::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("agent-{}-{number}", std::process::id()));
            drop(std::fs::remove_dir_all(&path));
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn a_bell_that_rang_before_ends_the_next_wait_and_only_that() {
        let bell = Bell::default();
        bell.ring();
        assert!(bell.wait(Duration::from_secs(60)));
        assert!(!bell.wait(Duration::from_millis(1)));
    }
}
