//! The data keys that this run has: one KMS call opens many names.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use enclave_wire::control::ControlError;

use crate::sealed::{DataKey, Header};

/// Data keys by group. They are wiped with the run.
#[derive(Default)]
pub(crate) struct DataKeys {
    groups: Mutex<HashMap<Name, Vec<Arc<DataKey>>>>,
}

impl DataKeys {
    /// The data key that this blob was sealed under.
    pub(super) fn of(&self, header: &Header) -> Option<Arc<DataKey>> {
        let groups = self.groups();
        let of_group = groups.get(&header.group)?;
        of_group.iter().find(|data_key| data_key.is_of(header)).cloned()
    }

    /// A data key of this group under this KMS key.
    pub(super) fn under(&self, group: &Name, kms_key: &KeyArn) -> Option<Arc<DataKey>> {
        let groups = self.groups();
        let of_group = groups.get(group)?;
        of_group.iter().find(|data_key| data_key.kms_key() == kms_key).cloned()
    }

    /// Keeps a data key that a state was sealed or opened under.
    pub(super) fn keep(&self, data_key: &Arc<DataKey>) -> Result<(), ControlError> {
        let mut groups = self.groups();
        let count: usize = groups.values().map(Vec::len).sum();
        let of_group = groups.entry(data_key.group().clone()).or_default();
        if of_group.iter().any(|known| Arc::ptr_eq(known, data_key)) {
            return Ok(());
        }
        if count >= MAX_DATA_KEYS {
            return Err(ControlError::LimitReached);
        }
        of_group.push(Arc::clone(data_key));
        Ok(())
    }

    // A panic while the lock was held leaves data keys that are whole.
    fn groups(&self) -> MutexGuard<'_, HashMap<Name, Vec<Arc<DataKey>>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A group for each of the names that one enclave is meant to serve; with what KMS makes of a data key, some 4 MB.
const MAX_DATA_KEYS: usize = 10_000;
