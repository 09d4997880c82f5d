//! Keys that a restart loses: noted, so that it can be said which these were.

use std::collections::HashSet;

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
        for lost in self
            .volatile()
            .into_iter()
            .flatten()
            .filter(|old| old.name == key.name && old.boot != boot)
        {
            self.remove(&format!("{VOLATILE}/{}.toml", lost.id))?;
        }
        let file = format!("{VOLATILE}/{}.toml", key.id);
        self.write(&file, format::volatile_text(key, boot).as_bytes())
    }

    pub(crate) fn is_volatile(&self, id: KeyId) -> bool {
        self.root.join(VOLATILE).join(format!("{id}.toml")).exists()
    }

    /// Forgets what was noted of a name that a restart no longer loses.
    pub(crate) fn forget_volatile(&self, name: &Name) -> Result<(), ItemError> {
        let noted = self.volatile().into_iter().flatten();
        noted
            .filter(|old| old.name == *name)
            .try_for_each(|old| self.remove(&format!("{VOLATILE}/{}.toml", old.id)).map(|_| ()))
    }
}

pub(crate) const VOLATILE: &str = "volatile";
