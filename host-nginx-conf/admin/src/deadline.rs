//! How long something may still take.

use std::time::{Duration, Instant};

/// A time that began when this was made.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    from: Instant,
    allowed: Duration,
}

impl Deadline {
    /// `allowed` from now.
    pub fn after(allowed: Duration) -> Self {
        Self {
            from: Instant::now(),
            allowed,
        }
    }

    /// What is left, and never zero: a socket would take that for "for ever".
    pub fn left(self) -> Option<Duration> {
        self.allowed
            .checked_sub(self.from.elapsed())
            .filter(|left| !left.is_zero())
    }
}
