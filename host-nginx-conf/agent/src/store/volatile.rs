//! Keys that a restart loses: noted, so that it can be said which these were.

use std::collections::{BTreeMap, HashSet};

use enclave_wire::control::{KeyInfo, Origin};
use enclave_wire::{BootId, KeyId, Name, Usage};

use super::error::ItemError;
use super::{Store, format, id_of};

/// A key that a restart of the service loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VolatileKey {
    pub(crate) id: KeyId,
    pub(crate) name: Name,
    pub(crate) generation: u32,
    pub(crate) usage: Usage,
    pub(crate) origin: Origin,
    pub(crate) boot: BootId,
}

impl Store {
    /// The keys that a restart loses, or has lost.
    pub(crate) fn volatile(&self) -> Vec<Result<VolatileKey, ItemError>> {
        self.each(VOLATILE, |file| {
            format::volatile(id_of(file, ".toml")?, file, &self.read(file)?)
        })
    }

    /// Notes those keys of the service that a restart will lose and that nobody has noted: their request was under way when an earlier
    /// agent ended. How many these are.
    pub(crate) fn note_unrecorded(&self, keys: &[KeyInfo], boot: BootId) -> Result<u32, ItemError> {
        let noted = self.volatile().into_iter().flatten().filter(|old| old.boot == boot);
        let noted: HashSet<_> = noted.map(|old| old.id).collect();
        // A sealed key is lost too where this directory has no state of its name: it may be in another.
        let is_stored = |key: &KeyInfo| key.sealed.is_some() && self.has_state(&key.name);
        let is_unknown = |key: &&KeyInfo| !is_stored(key) && !self.is_kept(key.id) && !noted.contains(&key.id);
        let mut count = 0_u32;
        for key in keys.iter().filter(is_unknown) {
            self.note_volatile(key, boot)?;
            count = count.saturating_add(1);
        }
        Ok(count)
    }

    /// Notes a key that a restart will lose. What an earlier boot lost under its name has found its successor.
    pub(crate) fn note_volatile(&self, key: &KeyInfo, boot: BootId) -> Result<(), ItemError> {
        let lost = self.noted(&key.name).into_iter().filter(|(_, of)| *of != boot);
        for (id, _) in lost {
            self.forget_noted(id)?;
        }
        let file = format!("{VOLATILE}/{}.toml", key.id);
        self.write(&file, format::volatile_text(key, boot).as_bytes())?;
        if let Some(index) = &mut *self.noted.borrow_mut() {
            index.insert(key.id, (key.name.clone(), boot));
        }
        Ok(())
    }

    pub(crate) fn is_volatile(&self, id: KeyId) -> bool {
        self.root.join(VOLATILE).join(format!("{id}.toml")).exists()
    }

    /// Forgets what was noted of a name that a restart no longer loses.
    pub(crate) fn forget_volatile(&self, name: &Name) -> Result<(), ItemError> {
        let mut noted = self.noted(name).into_iter();
        noted.try_for_each(|(id, _)| self.forget_noted(id).map(|_| ()))
    }

    /// Removes what was noted of a key. Whether there was anything.
    pub(super) fn forget_noted(&self, id: KeyId) -> Result<bool, ItemError> {
        if let Some(index) = &mut *self.noted.borrow_mut() {
            index.remove(&id);
        }
        self.remove(&format!("{VOLATILE}/{id}.toml"))
    }

    /// What was noted under a name. The files are read once: a thousand keys that are born one after the other would have each read
    /// all of them.
    fn noted(&self, name: &Name) -> Vec<(KeyId, BootId)> {
        let mut index = self.noted.borrow_mut();
        let index = index.get_or_insert_with(|| {
            let noted = self.volatile().into_iter().flatten();
            noted.map(|key| (key.id, (key.name, key.boot))).collect()
        });
        let its = index.iter().filter(|(_, (its, _))| its == name);
        its.map(|(id, (_, boot))| (*id, *boot)).collect()
    }
}

/// The keys that are noted: name and boot by id.
pub(super) type Noted = BTreeMap<KeyId, (Name, BootId)>;

pub(crate) const VOLATILE: &str = "volatile";
