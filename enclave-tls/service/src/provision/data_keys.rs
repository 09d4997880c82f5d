//! The data keys that this run has: one KMS call opens many names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use enclave_wire::control::{ControlError, KmsAnswer, SealingKey};
use enclave_wire::log::Text;

use super::behind::Behind;
use super::kms_keys::Answers;
use crate::sealed::{DataKey, Header, Wrapping};

/// Data keys by group. They are wiped with the run.
pub(crate) struct DataKeys {
    groups: Mutex<HashMap<Name, Vec<Held>>>,
    answers: Mutex<Answers>,
    /// The names whose states not all of the policy's KMS keys open.
    pub(super) behind: Behind,
}

/// A data key of a group, which has one or a few: states came with theirs.
struct Held {
    data_key: Arc<DataKey>,
    /// Some state under it is opened by a KMS key that no longer seals: it opens what there is, and seals nothing.
    spent: bool,
}

impl DataKeys {
    /// None yet. `pause`: how long a KMS key that did not answer is left alone at first.
    pub(crate) fn new(pause: Duration) -> Self {
        Self {
            groups: Mutex::default(),
            answers: Mutex::new(Answers::new(pause)),
            behind: Behind::new(pause),
        }
    }

    /// Whether states wait to be sealed under more KMS keys, and it is time to try.
    pub(crate) fn are_due(&self) -> bool {
        self.behind.are_due()
    }

    /// How it stands with each of these KMS keys.
    pub(crate) fn standing(&self, kms_keys: &[KeyArn]) -> Vec<SealingKey> {
        let answers = self.answers();
        let of = |kms_key: &KeyArn| SealingKey {
            kms_key: Text::lossy(&kms_key.to_string()),
            answers: if answers.is_silent(kms_key) {
                KmsAnswer::Failed
            } else {
                KmsAnswer::Well
            },
            missing: self.behind.lacking(kms_key),
        };
        kms_keys.iter().map(of).collect()
    }

    /// The data key that this blob was sealed under.
    pub(super) fn of(&self, header: &Header) -> Option<Arc<DataKey>> {
        let groups = self.groups();
        let mut of_group = groups.get(&header.group)?.iter();
        let held = of_group.find(|held| held.data_key.is_of(header))?;
        Some(Arc::clone(&held.data_key))
    }

    /// A data key of this group that this KMS key encrypted.
    pub(super) fn direct(&self, group: &Name, kms_key: &KeyArn) -> Option<Arc<DataKey>> {
        let groups = self.groups();
        let mut of_group = groups.get(group)?.iter();
        let is_it = |held: &&Held| match held.data_key.wrapping() {
            Wrapping::Direct { kms_key: its, .. } => its == kms_key,
            Wrapping::Each(_) => false,
        };
        of_group.find(is_it).map(|held| Arc::clone(&held.data_key))
    }

    /// The data key of this group that most of these KMS keys open, each for itself, and no other.
    pub(super) fn each(&self, group: &Name, kms_keys: &[KeyArn]) -> Option<Arc<DataKey>> {
        self.within(group, kms_keys, |wrapping| wrapping.is_each())
    }

    /// The same of either form.
    pub(super) fn any(&self, group: &Name, kms_keys: &[KeyArn]) -> Option<Arc<DataKey>> {
        self.within(group, kms_keys, |_| true)
    }

    /// Keeps a data key that a state was sealed or opened under, in place of the same with fewer wraps.
    pub(super) fn keep(&self, data_key: &Arc<DataKey>) -> Result<(), ControlError> {
        let mut groups = self.groups();
        let count: usize = groups.values().map(Vec::len).sum();
        let of_group = groups.entry(data_key.group().clone()).or_default();
        if let Some(held) = of_group.iter_mut().find(|held| held.data_key.is(data_key)) {
            held.data_key = Arc::clone(data_key);
            return Ok(());
        }
        if count >= MAX_DATA_KEYS {
            return Err(ControlError::LimitReached);
        }
        of_group.push(Held {
            data_key: Arc::clone(data_key),
            spent: false,
        });
        Ok(())
    }

    /// From now on this data key seals nothing.
    pub(super) fn spend(&self, data_key: &DataKey) {
        let mut groups = self.groups();
        let held = groups.get_mut(data_key.group()).into_iter().flatten();
        held.filter(|held| held.data_key.is(data_key))
            .for_each(|held| held.spent = true);
    }

    // A panic while a lock was held leaves what is whole.
    pub(super) fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn within(&self, group: &Name, kms_keys: &[KeyArn], form: fn(&Wrapping) -> bool) -> Option<Arc<DataKey>> {
        let groups = self.groups();
        let usable = groups.get(group)?.iter().filter(|held| {
            let wrapping = held.data_key.wrapping();
            !held.spent && form(wrapping) && wrapping.kms_keys().iter().all(|key| kms_keys.contains(key))
        });
        let best = usable.max_by_key(|held| held.data_key.wrapping().kms_keys().len())?;
        Some(Arc::clone(&best.data_key))
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Name, Vec<Held>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group for each of the names that one enclave is meant to serve; with what KMS makes of a data key, some 4 MB, and some 12 MB where
/// four KMS keys open it.
const MAX_DATA_KEYS: usize = 10_000;
