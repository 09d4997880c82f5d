//! What the enclave counted, asked at a scrape. Whoever scrapes is not kept waiting by an enclave that does not answer, and however many
//! scrape, the enclave is asked once.

use std::sync::{Arc, Condvar, PoisonError};
use std::time::{Duration, Instant};

use enclave_tls_admin::deadline::Deadline;
use enclave_wire::control::Counters;

use crate::Shared;

/// The newest answer.
pub(super) struct Statistics {
    ask: Box<dyn Fn() -> Option<Counters> + Send + Sync>,
    state: Shared<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    newest: Option<(Instant, Arc<Counters>)>,
    is_asking: bool,
}

impl State {
    fn fresh(&self) -> Option<Arc<Counters>> {
        let newest = self.newest.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
        newest.map(|(_, counters)| Arc::clone(counters))
    }
}

impl Statistics {
    /// `ask` may take long.
    pub(super) fn new(ask: impl Fn() -> Option<Counters> + Send + Sync + 'static) -> Self {
        Self {
            ask: Box::new(ask),
            state: Shared::default(),
            answered: Condvar::new(),
        }
    }

    /// What the enclave says, if it says it soon enough.
    pub(super) fn get(self: &Arc<Self>) -> Option<Arc<Counters>> {
        let deadline = Deadline::after(ANSWER_WITHIN);
        let mut state = self.state.lock();
        if !state.is_asking && state.fresh().is_none() {
            state.is_asking = true;
            let its = Arc::clone(self);
            std::thread::spawn(move || its.fetch());
        }
        while state.is_asking {
            let left = deadline.left()?;
            let waited = self.answered.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.fresh()
    }

    fn fetch(&self) {
        // However it ends, the next scrape may ask again.
        let asking = Asking(self);
        let answer = (self.ask)();
        self.state.lock().newest = answer.map(|counters| (Instant::now(), Arc::new(counters)));
        drop(asking);
    }
}

struct Asking<'a>(&'a Statistics);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.state.lock().is_asking = false;
        self.0.answered.notify_all();
    }
}

/// A scrape of Prometheus has ten seconds by default, and other families matter too.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Two who scrape, or one who reloads the page.
const FRESH: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn many_scrapes_ask_once() {
        let asked = Arc::new(AtomicUsize::new(0));
        let its = Arc::clone(&asked);
        let statistics = Arc::new(Statistics::new(move || {
            its.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(50));
            Some(Counters::default())
        }));
        let scrapes: Vec<_> = (0..8)
            .map(|_| {
                let statistics = Arc::clone(&statistics);
                std::thread::spawn(move || statistics.get().is_some())
            })
            .collect();
        assert!(scrapes.into_iter().all(|scrape| scrape.join().unwrap()));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn an_enclave_that_does_not_answer_keeps_nobody_waiting() {
        let silent = Arc::new(Statistics::new(|| {
            std::thread::sleep(Duration::from_secs(3));
            None
        }));
        let began = Instant::now();
        assert!(silent.get().is_none() && silent.get().is_none());
        assert!(began.elapsed() < Duration::from_millis(2_900));
        let away = Arc::new(Statistics::new(|| None));
        let began = Instant::now();
        assert!(away.get().is_none() && away.get().is_none());
        assert!(began.elapsed() < Duration::from_millis(500));
    }
}
