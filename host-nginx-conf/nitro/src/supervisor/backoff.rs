//! Pauses that grow.

use std::time::Duration;

/// Each pause is twice the one before, up to a bound, less up to half of it by chance: what failed together is not tried together.
pub(super) struct Backoff {
    shortest: Duration,
    longest: Duration,
    /// The next one.
    pause: Duration,
}

impl Backoff {
    pub(super) fn between(shortest: Duration, longest: Duration) -> Self {
        Self {
            shortest,
            longest,
            pause: shortest,
        }
    }

    pub(super) fn next(&mut self, random: u32) -> Duration {
        let full = self.pause;
        self.pause = full.saturating_mul(2).min(self.longest);
        let part = f64::from(random) / f64::from(u32::MAX);
        full.saturating_sub(full.mul_f64(part / 2.0))
    }

    pub(super) fn reset(&mut self) {
        self.pause = self.shortest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_lose_up_to_half() {
        let mut backoff = Backoff::between(Duration::from_secs(1), Duration::from_secs(60));
        let full: Vec<u64> = (0..8).map(|_| backoff.next(0).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.next(u32::MAX), Duration::from_secs(30));
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), Duration::from_millis(500));
    }
}
