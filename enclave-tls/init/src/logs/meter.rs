//! How many records a second the parent may be sent.

use std::time::{Duration, Instant};

/// A bucket of [`BURST`] records, filled at one each [`EVERY`].
#[derive(Debug)]
pub struct Meter {
    left: u32,
    filled: Instant,
}

impl Meter {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    pub(super) fn lets_through(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.saturating_duration_since(self.filled) >= EVERY {
            self.filled = self.filled.checked_add(EVERY).unwrap_or(now);
            self.left = self.left.saturating_add(1);
        }
        if self.left == BURST {
            self.filled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// A start of the service, with a thousand certificates, logs a line or two for each.
pub const BURST: u32 = 2_000;
/// 100 a second: more than anybody reads, and at 4 KiB each a small part of what vsock carries.
pub const EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_12_a_storm_is_metered() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let through = |meter: &mut Meter, now| (0..100_000).filter(|_| meter.lets_through(now)).count();
        assert_eq!(through(&mut meter, start), 2_000);
        assert_eq!(through(&mut meter, start + Duration::from_millis(9)), 0);
        assert_eq!(through(&mut meter, start + Duration::from_secs(1)), 100);
        assert_eq!(
            through(&mut meter, start + Duration::from_secs(3_600)),
            2_000,
            "no more than a burst is saved up"
        );
        assert_eq!(through(&mut meter, start), 0, "a clock that went back gives nothing");
    }
}
