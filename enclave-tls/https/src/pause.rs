//! How long to wait before something is tried again.

use std::time::Duration;

use aws_lc_rs::rand;

/// Pauses that grow: the longest one after the first failure, and the longest of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// After one failure.
    pub first: Duration,
    /// After many.
    pub longest: Duration,
}

impl Pauses {
    /// The pause after this many failures: anything between nothing and twice what the one before could have been, so that
    /// enclaves that failed together do not ask together.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let longest = self.first.saturating_mul(1 << doublings).min(self.longest);
        let mut random = [0; 4];
        // Without a random number the pause is the longest one.
        if rand::fill(&mut random).is_err() {
            return longest;
        }
        longest.mul_f64(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX))
    }
}

/// A thousand times the first pause; no shift overflows.
const MAX_DOUBLINGS: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_37_pauses_are_jittered_and_bounded() {
        let pauses = Pauses {
            first: Duration::from_millis(200),
            longest: Duration::from_secs(5),
        };
        for failures in 1..100 {
            let some: Vec<_> = (0..50).map(|_| pauses.after(failures)).collect();
            assert!(some.iter().all(|pause| *pause <= pauses.longest));
            assert!(some.iter().any(|pause| *pause != some[0]));
        }
        assert!((0..50).all(|_| pauses.after(0) <= pauses.first));
        assert!((0..50).all(|_| pauses.after(1) <= pauses.first));
        assert!((0..50).any(|_| pauses.after(10) > pauses.longest / 4));
    }
}
