//! When the next connection is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hands out the numbers of connections, each when it is due.
pub(super) struct Pace {
    interval: Option<Duration>,
    end: Option<Instant>,
    count: Option<u64>,
    next: Mutex<Next>,
}

struct Next {
    number: u64,
    due: Instant,
}

impl Pace {
    pub(super) fn new(start: Instant, interval: Option<Duration>, limit: Option<Duration>, count: Option<u64>) -> Self {
        let end = limit.map(|limit| start + limit);
        Self {
            interval,
            end,
            count,
            next: Mutex::new(Next { number: 0, due: start }),
        }
    }

    /// Whether there is a rate to keep.
    pub(super) fn is_paced(&self) -> bool {
        self.interval.is_some()
    }

    /// How many connections have begun or are about to.
    pub(super) fn begun(&self) -> u64 {
        self.next().number
    }

    /// Waits until a connection is due and returns its number, or none at the end.
    pub(super) fn wait(&self, stop: &AtomicBool) -> Option<u64> {
        let (number, due) = self.take()?;
        loop {
            let now = Instant::now();
            if stop.load(Ordering::Relaxed) || self.end.is_some_and(|end| due.max(now) >= end) {
                return None;
            }
            if due <= now {
                return Some(number);
            }
            std::thread::sleep((due - now).min(Duration::from_millis(20)));
        }
    }

    fn take(&self) -> Option<(u64, Instant)> {
        let mut next = self.next();
        let number = next.number;
        if self.count.is_some_and(|count| number >= count) {
            return None;
        }
        next.number += 1;
        let now = Instant::now();
        let due = next.due.max(now.checked_sub(MAX_BACKLOG).unwrap_or(now));
        next.due = due + self.interval.unwrap_or_default();
        Some((number, due))
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Next> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a stall at most this much is caught up: the rate is what a server has to bear, not a total.
const MAX_BACKLOG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_end_with_the_count() {
        let pace = Pace::new(Instant::now(), None, None, Some(2));
        let go = AtomicBool::new(false);
        assert_eq!(
            [pace.wait(&go), pace.wait(&go), pace.wait(&go)],
            [Some(0), Some(1), None]
        );
        assert_eq!(pace.begun(), 2);
    }

    #[test]
    fn numbers_come_when_they_are_due_and_end_with_the_time() {
        let start = Instant::now();
        let (interval, limit) = (Duration::from_millis(10), Duration::from_millis(95));
        let pace = Pace::new(start, Some(interval), Some(limit), None);
        let go = AtomicBool::new(false);
        let numbers: Vec<_> = std::iter::from_fn(|| pace.wait(&go)).collect();
        // A busy machine may come too late for the last ones.
        assert!((1..=10).contains(&numbers.len()), "{numbers:?}");
        assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
        assert!(start.elapsed() >= Duration::from_millis(90));
    }

    #[test]
    fn a_long_stall_is_not_caught_up() {
        let now = Instant::now();
        let Some(start) = now.checked_sub(Duration::from_secs(30)) else {
            return;
        };
        let pace = Pace::new(start, Some(Duration::from_millis(100)), None, None);
        let go = AtomicBool::new(false);
        while now.elapsed() < Duration::from_millis(50) {
            pace.wait(&go);
        }
        assert!((8..100).contains(&pace.begun()), "{}", pace.begun());
    }

    #[test]
    fn stop_ends_a_wait() {
        let later = Instant::now() + Duration::from_secs(3600);
        let pace = Pace::new(later, Some(Duration::from_secs(1)), None, None);
        assert_eq!(pace.wait(&AtomicBool::new(true)), None);
    }
}
