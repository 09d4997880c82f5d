//! The names whose states fewer KMS keys open than the policy names: they are sealed again once the others answer.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use enclave_wire::control::ControlError;
use tokio::time::Instant;

use super::Provisioner;

/// The names, and the KMS keys that open the state of each that the agent has.
pub(super) struct Behind {
    pause: Duration,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    names: BTreeMap<Name, Vec<KeyArn>>,
    /// When it is worth trying again.
    next: Option<Instant>,
}

impl Behind {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            inner: Mutex::default(),
        }
    }

    pub(super) fn are_due(&self) -> bool {
        let inner = self.inner();
        !inner.names.is_empty() && inner.next.is_none_or(|next| next <= Instant::now())
    }

    /// The agent has a state of this name that these KMS keys open, of all that should.
    pub(super) fn stored(&self, name: &Name, opened_by: Vec<KeyArn>, wanted: &[KeyArn]) {
        let mut inner = self.inner();
        if wanted.iter().all(|key| opened_by.contains(key)) {
            inner.names.remove(name);
            return;
        }
        if inner.names.is_empty() {
            inner.next = later(self.pause);
        }
        inner.names.insert(name.clone(), opened_by);
    }

    /// How many names have a state that this KMS key does not open.
    pub(super) fn lacking(&self, kms_key: &KeyArn) -> u32 {
        let inner = self.inner();
        let lacking = inner.names.values().filter(|opened_by| !opened_by.contains(kms_key));
        u32::try_from(lacking.count()).unwrap_or(u32::MAX)
    }

    fn forget(&self, name: &Name) {
        self.inner().names.remove(name);
    }

    fn names(&self) -> Vec<(Name, Vec<KeyArn>)> {
        let inner = self.inner();
        inner
            .names
            .iter()
            .map(|(name, keys)| (name.clone(), keys.clone()))
            .collect()
    }

    /// The next attempt is now, where this one got on, else after a pause.
    fn tried(&self, got_on: bool) {
        self.inner().next = if got_on { None } else { later(self.pause) };
    }

    // A panic while the lock was held leaves names that are true.
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Provisioner<'_> {
    /// Seals some of these names again, under the KMS keys that were away and answer now. It is done between two requests, the next of
    /// which waits for it, so it does not do all at once.
    pub(crate) fn catch_up(&self) {
        let behind = &self.data_keys.behind;
        let mut sealed: usize = 0;
        for (name, opened_by) in behind.names() {
            if sealed >= AT_ONCE || !self.aws.have_time() {
                break;
            }
            let Some(group) = self.keys.sealed(&name).map(|sealed| sealed.group) else {
                behind.forget(&name);
                continue;
            };
            match self.seal_further(&name, &group, &opened_by) {
                Ok(true) => sealed = sealed.saturating_add(1),
                Ok(false) => {}
                // Whatever kept it from the agent's disk keeps the others too.
                Err(ControlError::StateNotStored) => break,
                Err(error) => tracing::warn!(%name, ?error, "not sealed again"),
            }
        }
        behind.tried(sealed > 0);
    }
}

fn later(pause: Duration) -> Option<Instant> {
    Instant::now().checked_add(pause)
}

/// States sealed between two requests: at some milliseconds each on the agent's disk, less than a request takes.
const AT_ONCE: usize = 32;
