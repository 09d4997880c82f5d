//! How many records pass.

use std::time::{Duration, Instant};

/// Lets 2,000 records through at once and 100 a second. An enclave meters itself by it, and the parent what it prints: so what an honest
/// enclave sends comes through.
#[derive(Debug)]
pub struct Meter {
    left: usize,
    filled: Instant,
}

impl Meter {
    /// Full, so that a burst may come at once.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// Whether so many may be printed now: all of them, or none.
    pub fn lets_through(&mut self, lines: usize, now: Instant) -> bool {
        while self.left < BURST && now.saturating_duration_since(self.filled) >= EVERY {
            self.filled = self.filled.checked_add(EVERY).unwrap_or(now);
            self.left = self.left.saturating_add(1);
        }
        if self.left == BURST {
            self.filled = now;
        }
        match self.left.checked_sub(lines) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// A start of the service, with a thousand certificates, says a line or two of each.
const BURST: usize = 2_000;
/// 100 a second. With a burst that is half of what journald takes of a unit before it drops lines itself, those of `listen` among them.
const EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threat_12_so_many_lines_and_no_more() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        let through = |meter: &mut Meter, now| (0..100_000).filter(|_| meter.lets_through(1, now)).count();
        assert_eq!(through(&mut meter, start), 2_000);
        assert!(meter.lets_through(0, start));
        assert_eq!(through(&mut meter, start + Duration::from_millis(9)), 0);
        assert_eq!(through(&mut meter, start + Duration::from_secs(1)), 100);
        let later = start + Duration::from_millis(1_020);
        assert!(!meter.lets_through(3, later) && meter.lets_through(2, later));
        assert_eq!(through(&mut meter, start + Duration::from_secs(3_600)), 2_000);
        assert_eq!(through(&mut meter, start), 0, "a clock that went back gives nothing");
    }
}
