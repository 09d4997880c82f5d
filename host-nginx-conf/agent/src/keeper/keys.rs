//! The enclave's keys, by certificate.

use std::collections::BTreeMap;

use enclave_wire::control::KeyInfo;
use enclave_wire::{KeyId, Name};

/// All keys, as the enclave listed them and as they became since. Each certificate's stand together: a pass looks at each some times.
#[derive(Default)]
pub(super) struct Keys {
    by_name: BTreeMap<Name, Vec<KeyInfo>>,
}

impl Keys {
    /// A certificate's, in no order.
    pub(super) fn of(&self, name: &Name) -> &[KeyInfo] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &KeyInfo> {
        self.by_name.values().flatten()
    }

    /// A new key, or what one became.
    pub(super) fn put(&mut self, key: KeyInfo) {
        let its = self.by_name.entry(key.name.clone()).or_default();
        its.retain(|old| old.id != key.id);
        its.push(key);
    }

    pub(super) fn remove(&mut self, name: &Name, id: KeyId) {
        if let Some(its) = self.by_name.get_mut(name) {
            its.retain(|key| key.id != id);
        }
    }
}

impl FromIterator<KeyInfo> for Keys {
    fn from_iter<T: IntoIterator<Item = KeyInfo>>(keys: T) -> Self {
        let mut all = Self::default();
        for key in keys {
            all.by_name.entry(key.name.clone()).or_default().push(key);
        }
        all
    }
}
