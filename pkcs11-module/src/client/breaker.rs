//! Keeps a stalled service from taking a second of every call: after one missed deadline calls fail at once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::token::deadline::Deadline;

/// Closed, calls pass. Open, they fail at once, but for one probe at a time: a call that goes on once a ping was answered. A call that takes
/// long by itself, as RSA at a busy service does, says nothing of a stall; a ping waits behind none. But it costs its thread the whole
/// deadline where the service answers pings alone, so after each such probe the rest is twice as long, up to [`LONGEST_REST`].
#[derive(Debug)]
pub(super) struct Breaker {
    epoch: Instant,
    /// When a deadline was last missed, in milliseconds of `epoch` and never 0; 0 while closed.
    missed_at: AtomicU64,
    /// When a call was answered last, likewise.
    heard_at: AtomicU64,
    probing: AtomicBool,
    /// The rest after a miss that is no probe's.
    usual_rest: Duration,
    /// The rest now, in milliseconds.
    rest: AtomicU64,
}

/// The right to try one call. Dropped without a word, it changes nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    was_answered: bool,
}

impl Breaker {
    pub(super) fn new(usual_rest: Duration) -> Self {
        Self {
            epoch: Instant::now(),
            missed_at: AtomicU64::new(0),
            heard_at: AtomicU64::new(0),
            probing: AtomicBool::new(false),
            usual_rest,
            rest: AtomicU64::new(0),
        }
    }

    /// A pass, unless a deadline was missed just before or another call is the probe.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let missed_at = self.missed_at.load(Ordering::Acquire);
        if missed_at == 0 {
            return Some(Pass {
                breaker: self,
                is_probe: false,
                was_answered: false,
            });
        }
        let rested = Duration::from_millis(self.now().saturating_sub(missed_at)) >= self.rest();
        (rested && !self.probing.swap(true, Ordering::AcqRel)).then_some(Pass {
            breaker: self,
            is_probe: true,
            was_answered: false,
        })
    }

    fn rest(&self) -> Duration {
        Duration::from_millis(self.rest.load(Ordering::Acquire))
    }

    pub(super) fn is_open(&self) -> bool {
        self.missed_at.load(Ordering::Acquire) != 0
    }

    fn now(&self) -> u64 {
        let since = Instant::now().saturating_duration_since(self.epoch);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

impl Pass<'_> {
    /// The time that a probe's ping has: little, since the service is thought to be stalled. None where no ping is needed.
    pub(super) fn ping(&self, deadline: Deadline) -> Option<Deadline> {
        self.is_probe.then(|| deadline.at_most(PROBE))
    }

    /// The probe's ping was answered, so it goes on with its call.
    pub(super) fn answered(&mut self) {
        self.was_answered = true;
    }

    /// The call missed its deadline: calls fail at once from now on, if none was answered either. A service that answers others meanwhile
    /// is not stalled, it was too slow for this one. Whether calls fail now.
    pub(super) fn missed(self) -> bool {
        let now = self.breaker.now();
        let heard_at = self.breaker.heard_at.load(Ordering::Relaxed);
        if !self.is_probe && heard_at != 0 && Duration::from_millis(now.saturating_sub(heard_at)) < QUIET {
            return false;
        }
        let rest = if self.was_answered {
            self.breaker.rest().saturating_mul(2).min(LONGEST_REST)
        } else {
            self.breaker.usual_rest
        };
        let rest = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX);
        self.breaker.rest.store(rest, Ordering::Release);
        self.breaker.missed_at.store(now, Ordering::Release);
        true
    }

    /// The service answered the call. It ended in time, see [`Self::met`].
    pub(super) fn heard(self) {
        let now = self.breaker.now();
        // A store would take the line from every other thread's cache: once in a millisecond will do.
        if self.breaker.heard_at.load(Ordering::Relaxed) != now {
            self.breaker.heard_at.store(now, Ordering::Relaxed);
        }
        self.met();
    }

    /// The call ended in time, well or not: whatever is wrong, it does not take a second to find out.
    pub(super) fn met(self) {
        // Nearly always closed already. A store would take the line from every other thread's cache.
        if self.breaker.is_open() {
            self.breaker.missed_at.store(0, Ordering::Release);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.probing.store(false, Ordering::Release);
        }
    }
}

/// How long calls fail at once after a missed deadline.
pub(super) const REST: Duration = Duration::from_millis(250);
/// Below the second within which a service that signs again is used again: the probe takes the rest of it.
const LONGEST_REST: Duration = Duration::from_millis(900);
/// A service that answered a call so short a time ago is not stalled: half of a call's time, so that one who waits alone finds a stall by
/// one deadline.
const QUIET: Duration = Duration::from_millis(500);
/// What a probe's ping may take: three round trips, with those that authenticate.
const PROBE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn an_hour_old(rest: Duration) -> Breaker {
        Breaker {
            epoch: Instant::now().checked_sub(Duration::from_secs(3600)).unwrap(),
            ..Breaker::new(rest)
        }
    }

    #[test]
    fn threat_57_after_a_miss_calls_fail_at_once() {
        let breaker = Breaker::new(Duration::from_secs(3600));
        breaker.enter().unwrap().missed();
        assert!(breaker.enter().is_none());
        assert!(breaker.is_open());
    }

    #[test]
    fn threat_57_after_a_rest_one_call_probes() {
        let breaker = Breaker::new(Duration::ZERO);
        breaker.enter().unwrap().missed();
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_none(), "one probe at a time");
        let limited = probe.ping(Deadline::within(Duration::from_secs(9))).unwrap();
        assert!(limited.remaining().is_none_or(|left| left <= PROBE));
        probe.met();
        assert!(!breaker.is_open());
        let pass = breaker.enter().unwrap();
        assert_eq!(pass.ping(Deadline::within(Duration::from_secs(9))), None);
        assert!(breaker.enter().is_some());
    }

    #[test]
    fn threat_57_the_rest_grows_while_pings_alone_are_answered() {
        let breaker = an_hour_old(REST);
        let miss = |answered: bool| {
            let mut pass = breaker.enter().unwrap();
            if answered {
                pass.answered();
            }
            pass.missed();
            let rest = breaker.rest().as_millis();
            // An hour ago.
            breaker.missed_at.store(1, Ordering::Release);
            rest
        };
        assert_eq!([false, true, true, true].map(miss), [250, 500, 900, 900]);
        assert_eq!([false, true].map(miss), [250, 500]);
        breaker.enter().unwrap().met();
        assert_eq!([false, true].map(miss), [250, 500]);
    }

    #[test]
    fn threat_57_a_service_that_answers_others_is_not_stalled() {
        let breaker = an_hour_old(Duration::ZERO);
        breaker.enter().unwrap().heard();
        assert!(!breaker.enter().unwrap().missed() && !breaker.is_open());
        let quiet = u64::try_from(QUIET.as_millis()).unwrap();
        breaker.heard_at.store(breaker.now() - quiet, Ordering::Release);
        assert!(breaker.enter().unwrap().missed() && breaker.is_open());
        // What a probe finds, it finds alone.
        breaker.heard_at.store(breaker.now(), Ordering::Release);
        assert!(breaker.enter().unwrap().missed() && breaker.is_open());
    }

    #[test]
    fn a_probe_that_misses_or_vanishes_leaves_it_open() {
        let breaker = Breaker::new(Duration::ZERO);
        breaker.enter().unwrap().missed();
        breaker.enter().unwrap().missed();
        drop(breaker.enter().unwrap());
        assert!(breaker.is_open());
        assert!(breaker.enter().is_some_and(|pass| pass.is_probe));
    }
}
