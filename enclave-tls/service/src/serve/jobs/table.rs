//! Which jobs there are, and how far each is.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enclave_wire::control::{ControlError, JobError, JobFailure, JobId, JobKind, JobOutcome, JobPhase, JobState, Url};
use enclave_wire::log::Text;

/// The jobs of this run. How one ended is remembered until many others have.
#[derive(Clone, Default)]
pub(super) struct Table(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    jobs: HashMap<JobId, JobState>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<JobId>,
}

/// What becomes of a request to begin a job.
pub(super) enum Entered {
    /// It is to be begun.
    New(Progress),
    /// It waits or runs already.
    Known(JobState),
}

impl Table {
    /// Makes a place for a job, unless it has one.
    pub(super) fn enter(&self, id: JobId) -> Result<Entered, ControlError> {
        let mut inner = self.inner();
        if let Some(state) = inner.jobs.get(&id).filter(|state| !has_ended(state)) {
            return Ok(Entered::Known(state.clone()));
        }
        if inner.jobs.len().saturating_sub(inner.ended.len()) >= MAX_OPEN {
            return Err(ControlError::LimitReached);
        }
        inner.ended.retain(|ended| *ended != id);
        let state = JobState {
            id,
            phase: JobPhase::Waiting,
            order: None,
        };
        inner.jobs.insert(id, state);
        Ok(Entered::New(Progress {
            table: self.clone(),
            id,
            open: true,
        }))
    }

    /// How far a job is.
    pub(super) fn state(&self, id: &JobId) -> Option<JobState> {
        self.inner().jobs.get(id).cloned()
    }

    // A panic while the lock was held leaves what is whole.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, id: JobId, phase: JobPhase) {
        if let Some(state) = self.jobs.get_mut(&id) {
            state.phase = phase;
            self.ended.push_back(id);
        }
        self.forget(MAX_ENDED, |_| true);
        // Only these are long: up to 128 KiB.
        self.forget(MAX_ENDED_CAA, |id| id.kind == JobKind::Caa);
    }

    /// Forgets the oldest of those that have ended, but for the newest of a kind.
    fn forget(&mut self, keep: usize, of_kind: impl Fn(&JobId) -> bool) {
        let count = self.ended.iter().filter(|id| of_kind(id)).count();
        for _ in keep..count {
            let oldest = self.ended.iter().position(&of_kind);
            if let Some(id) = oldest.and_then(|place| self.ended.remove(place)) {
                self.jobs.remove(&id);
            }
        }
    }
}

fn has_ended(state: &JobState) -> bool {
    match state.phase {
        JobPhase::Waiting | JobPhase::Running(_) => false,
        JobPhase::Done(_) | JobPhase::Failed(_) => true,
    }
}

/// The one who works on a job, and says how far it is. One who ends without a word, as after a panic, has failed.
pub(super) struct Progress {
    table: Table,
    id: JobId,
    open: bool,
}

impl Progress {
    pub(super) fn id(&self) -> JobId {
        self.id
    }

    pub(super) fn state(&self) -> Option<JobState> {
        self.table.state(&self.id)
    }

    /// It is at work at this.
    pub(super) fn at(&self, what: &str) {
        self.change(|state| state.phase = JobPhase::Running(Text::lossy(what)));
    }

    /// The order has this address.
    pub(super) fn order(&self, url: Url) {
        self.change(|state| state.order = Some(url));
    }

    /// It has ended.
    pub(super) fn end(mut self, result: Result<JobOutcome, JobFailure>) {
        self.close(result.map_or_else(JobPhase::Failed, JobPhase::Done));
    }

    fn change(&self, change: impl FnOnce(&mut JobState)) {
        if let Some(state) = self.table.inner().jobs.get_mut(&self.id) {
            change(state);
        }
    }

    fn close(&mut self, phase: JobPhase) {
        if self.open {
            self.open = false;
            self.table.inner().end(self.id, phase);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.close(JobPhase::Failed(JobFailure {
            error: JobError::Service,
            rule: Some(ControlError::Failed),
            detail: Text::lossy("the job ended early"),
            retry_at: None,
        }));
    }
}

/// As many as wait and run at once: a thousand certificates that are due on one day, and each asked about. At 12 KiB each at most (an
/// account's binding), 24 MiB.
const MAX_OPEN: usize = 2_048;
/// As many as are remembered: some 3 KiB each at most.
const MAX_ENDED: usize = 2_048;
const MAX_ENDED_CAA: usize = 16;

#[cfg(test)]
mod tests {
    use enclave_wire::KeyId;

    use super::*;

    fn id(kind: JobKind, number: usize) -> JobId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        JobId { kind, key: KeyId(key) }
    }

    fn enter(table: &Table, id: JobId) -> Progress {
        match table.enter(id).unwrap() {
            Entered::New(progress) => progress,
            Entered::Known(state) => panic!("{state:?}"),
        }
    }

    #[test]
    fn one_of_a_kind_runs_for_a_key() {
        let table = Table::default();
        let order = id(JobKind::Order, 1);
        assert_eq!(table.state(&order), None);
        let progress = enter(&table, order);
        assert_eq!(table.state(&order).unwrap().phase, JobPhase::Waiting);
        progress.at("asks");
        progress.order(Text::lossy("https://a/order/1"));
        match table.enter(order) {
            Ok(Entered::Known(state)) => {
                assert_eq!(state.phase, JobPhase::Running(Text::lossy("asks")));
                assert_eq!(state.order.unwrap().as_str(), "https://a/order/1");
            }
            _ => panic!("it was begun twice"),
        }
        // Another kind for the same key is another job.
        enter(&table, id(JobKind::Renewal, 1)).end(Ok(JobOutcome::Revoked));
        progress.end(Ok(JobOutcome::Revoked));
        assert_eq!(table.state(&order).unwrap().phase, JobPhase::Done(JobOutcome::Revoked));
        assert_eq!(enter(&table, order).state().unwrap().order, None, "a new one");
    }

    #[test]
    fn who_ends_without_a_word_has_failed() {
        let table = Table::default();
        drop(enter(&table, id(JobKind::Order, 1)));
        let phase = table.state(&id(JobKind::Order, 1)).unwrap().phase;
        assert!(matches!(phase, JobPhase::Failed(failure) if failure.error == JobError::Service));
    }

    /// threat_05 of memory: what a parent begins without end is bounded.
    #[test]
    fn what_is_open_and_what_is_remembered_is_bounded() {
        let table = Table::default();
        let mut open: Vec<Progress> = (0..MAX_OPEN).map(|n| enter(&table, id(JobKind::Order, n))).collect();
        let more = table.enter(id(JobKind::Order, MAX_OPEN));
        assert!(matches!(more, Err(ControlError::LimitReached)));
        assert!(matches!(table.enter(id(JobKind::Order, 7)), Ok(Entered::Known(_))));
        open.remove(0).end(Ok(JobOutcome::Revoked));
        drop(enter(&table, id(JobKind::Order, MAX_OPEN)));
        drop(open);
        for n in 0..3 * MAX_ENDED {
            enter(&table, id(JobKind::Renewal, n)).end(Ok(JobOutcome::Revoked));
        }
        assert_eq!(table.inner().jobs.len(), MAX_ENDED);
        assert_eq!(table.inner().ended.len(), MAX_ENDED);
        assert_eq!(table.state(&id(JobKind::Renewal, 2 * MAX_ENDED - 1)), None);
        assert!(table.state(&id(JobKind::Renewal, 2 * MAX_ENDED)).is_some());
        for n in 0..3 * MAX_ENDED_CAA {
            enter(&table, id(JobKind::Caa, n)).end(Ok(JobOutcome::Revoked));
        }
        let caa = |table: &Table| table.inner().ended.iter().filter(|id| id.kind == JobKind::Caa).count();
        assert_eq!(caa(&table), MAX_ENDED_CAA);
        // The same again and again is remembered once.
        for _ in 0..10 {
            enter(&table, id(JobKind::Caa, 3 * MAX_ENDED_CAA - 1)).end(Ok(JobOutcome::Revoked));
        }
        assert_eq!(caa(&table), MAX_ENDED_CAA);
    }
}
