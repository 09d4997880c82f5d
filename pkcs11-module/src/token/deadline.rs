//! The time that one call may take, whatever it has to do.

use std::time::{Duration, Instant};

/// A moment after which a call has failed. Waiting, sending and receiving all draw on it, so retries never add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline `time` from now.
    #[must_use]
    pub fn within(time: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(time).unwrap_or(now))
    }

    /// This deadline, or one `time` from now where that is earlier.
    #[must_use]
    pub fn at_most(self, time: Duration) -> Self {
        Self(self.0.min(Self::within(time).0))
    }

    /// What is left: none once it has passed, so never zero, which a socket would take for "no limit".
    #[must_use]
    pub fn remaining(self) -> Option<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

/// The time of a call that needs the service: within a second, with what the kernel's timers take on top.
pub const CALL: Duration = Duration::from_millis(950);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_that_has_passed_leaves_nothing() {
        assert_eq!(Deadline::within(Duration::ZERO).remaining(), None);
        let second = Deadline::within(Duration::from_secs(1));
        assert!(second.remaining().is_some_and(|left| left <= Duration::from_secs(1)));
        assert_eq!(second.at_most(Duration::ZERO).remaining(), None);
        assert_eq!(second.at_most(Duration::from_secs(9)), second);
    }
}
