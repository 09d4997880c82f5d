//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubles with each failure, from one second to sixty, and never twice the same: many parents that lose one service of AWS do not
/// come back to it in step.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// After a failure: between half of the wait that it has come to, and all of it.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        // Without random bits it is the whole wait.
        let part = getrandom::u32().unwrap_or(u32::MAX);
        wait.mul_f64(0.5 + f64::from(part) / (2.0 * f64::from(u32::MAX)))
    }
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_begin_anew() {
        let mut backoff = Backoff::default();
        for most in [1, 2, 4, 8, 16, 32, 60, 60] {
            let most = Duration::from_secs(most);
            let wait = backoff.after_failure();
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        }
        backoff.reset();
        assert!(backoff.after_failure() <= FIRST);
    }

    #[test]
    fn waits_differ() {
        let waits: std::collections::HashSet<_> = (0..64).map(|_| Backoff { failures: 6 }.after_failure()).collect();
        assert!(waits.len() > 8, "{waits:?}");
    }
}
