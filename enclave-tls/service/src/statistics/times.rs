//! How long signatures took, by mechanism.
//!
//! It is written with each signature, so each thread writes to a part of its own: no lock, and no cache line that wanders between cores.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use enclave_wire::Mechanism;
use enclave_wire::control::{Histogram, MechanismTimes};

/// The times of one run of the service.
#[derive(Default)]
pub struct Times([Part; PARTS]);

impl Times {
    /// A signature was made: it alone took so long.
    pub fn executed(&self, mechanism: Mechanism, took: Duration) {
        self.record(mechanism, took, |times| &times.execution);
    }

    /// A signature was asked for, made, and its reply written: all of it took so long.
    pub fn answered(&self, mechanism: Mechanism, took: Duration) {
        self.record(mechanism, took, |times| &times.total);
    }

    /// The times of each mechanism that was used, in the order of their bytes.
    #[must_use]
    pub fn report(&self) -> Vec<MechanismTimes> {
        let times = Mechanism::ALL.iter().enumerate().map(|(at, mechanism)| MechanismTimes {
            mechanism: *mechanism,
            execution: self.sum(at, |times| &times.execution),
            total: self.sum(at, |times| &times.total),
        });
        times.filter(|times| times.execution.count() > 0).collect()
    }

    fn record(&self, mechanism: Mechanism, took: Duration, which: impl Fn(&OfMechanism) -> &Recorded) {
        let part = self.0.get(PART.with(|part| *part));
        let at = Mechanism::ALL.iter().position(|known| *known == mechanism);
        if let Some(times) = part.zip(at).and_then(|(part, at)| part.0.get(at)) {
            which(times).record(took);
        }
    }

    fn sum(&self, at: usize, which: impl Fn(&OfMechanism) -> &Recorded) -> Histogram {
        let mut histogram = Histogram::default();
        let mut sum_ns = 0u64;
        for recorded in self.0.iter().filter_map(|part| part.0.get(at)).map(which) {
            for (sum, count) in histogram.counts.iter_mut().zip(&recorded.counts) {
                *sum = sum.saturating_add(count.load(Ordering::Relaxed));
            }
            sum_ns = sum_ns.saturating_add(recorded.sum_ns.load(Ordering::Relaxed));
        }
        histogram.sum_us = sum_ns.div_euclid(1_000);
        histogram
    }
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.report()).finish()
    }
}

/// What some of the threads recorded. Aligned so that no two share a cache line, nor the pair of lines that is fetched together.
#[derive(Default)]
#[repr(align(128))]
struct Part([OfMechanism; Mechanism::ALL.len()]);

#[derive(Default)]
struct OfMechanism {
    execution: Recorded,
    total: Recorded,
}

#[derive(Default)]
struct Recorded {
    counts: [AtomicU64; RANGES],
    /// In nanoseconds: a signature of 16.9 µs must not count as 16.
    sum_ns: AtomicU64,
}

impl Recorded {
    fn record(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bounds = Histogram::BOUNDS_US.iter();
        let above = bounds.take_while(|bound| nanoseconds > bound.saturating_mul(1_000));
        if let Some(count) = self.counts.get(above.count()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

thread_local! {
    /// The part that this thread writes to: with more threads than parts some share one.
    static PART: usize = THREADS.fetch_add(1, Ordering::Relaxed).rem_euclid(PARTS);
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// An enclave has a few cores, and for each a thread that serves and one for RSA. 4 KB each.
const PARTS: usize = 8;
const RANGES: usize = Histogram::BOUNDS_US.len() + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_range() {
        let times = Times::default();
        for nanoseconds in [0, 10_000, 10_001, 1_000_000_000, 1_000_000_001] {
            times.executed(Mechanism::Ed25519, Duration::from_nanos(nanoseconds));
        }
        times.answered(Mechanism::Ed25519, Duration::from_micros(70));
        let [reported] = times.report().try_into().unwrap();
        let (counts, total) = (reported.execution.counts, reported.total.counts);
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (2, 1, 1, 1));
        assert_eq!((total[3], reported.total.sum_us), (1, 70));
        assert_eq!(reported.execution.sum_us, 2_000_020);
    }

    #[test]
    fn no_thread_is_lost() {
        let times = Times::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * PARTS {
                scope.spawn(|| (0..100).for_each(|_| times.executed(Mechanism::Ecdsa, Duration::from_nanos(500))));
            }
        });
        let [reported] = times.report().try_into().unwrap();
        let made = u64::try_from(3 * PARTS * 100).unwrap();
        assert_eq!(
            (reported.mechanism, reported.execution.count()),
            (Mechanism::Ecdsa, made)
        );
        assert_eq!(reported.execution.sum_us, made / 2);
    }
}
