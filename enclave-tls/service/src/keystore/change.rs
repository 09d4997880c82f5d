//! A change of one name: planned, and committed once its state, where the name is sealed, is stored.

use std::sync::Arc;

use enclave_wire::control::{ControlError, Freshness};
use enclave_wire::{KeyId, Name, State as Standing, Usage};

use super::names::{NameRecord, Sealing};
use super::{Inner, Key, KeyStore, NewKey};
use crate::chain::ValidChain;
use crate::sealed::{Generation, State};

/// A change of one key.
pub enum Change {
    /// Takes a key as the next generation of its name.
    Insert(Box<NewKey>),
    /// Gives a key its chain.
    InstallChain {
        /// The key.
        key: KeyId,
        /// The chain, which has been validated for this key.
        chain: ValidChain,
    },
    /// Lets a newer generation take this key's place. It signs on.
    Supersede(KeyId),
    /// Lets a superseded key be the one to use again.
    Reinstate(KeyId),
    /// Lets this key sign less than before.
    Narrow {
        /// The key.
        key: KeyId,
        /// What it may sign from now on.
        usage: Usage,
    },
    /// Forgets this key. It is wiped when the last signature that is being made with it is done.
    Retire(KeyId),
}

/// A change that every rule allows, and that has not been made. Committing gives a `T`; dropping it leaves no trace.
#[must_use]
pub struct Planned<T> {
    name: Name,
    record: NameRecord,
    edit: Edit,
    /// What the name's state will be, where it is sealed.
    state: Option<State>,
    /// How many changes came before it was planned.
    after: u64,
    result: T,
}

enum Edit {
    Put(Arc<Key>),
    Remove(Arc<Key>),
    /// Only the state's number changes.
    None,
}

impl<T> Planned<T> {
    /// What must be sealed and stored before this is committed; none where the name is not sealed.
    #[must_use]
    pub fn state(&self) -> Option<&State> {
        self.state.as_ref()
    }
}

impl KeyStore {
    /// Plans a change. Committing it gives the key as it is then, or the one that was retired.
    pub fn plan(&self, change: Change) -> Result<Planned<Arc<Key>>, ControlError> {
        let inner = self.read();
        match change {
            Change::Insert(new) => inner.plan_insert(*new),
            Change::InstallChain { key, chain } => inner.plan_put(&key, |known| Ok(known.with_chain(chain))),
            Change::Supersede(key) => inner.plan_put(&key, |known| Ok(known.with_state(Standing::Superseded))),
            Change::Reinstate(key) => inner.plan_put(&key, |known| Ok(known.with_state(Standing::Live))),
            Change::Narrow { key, usage } => inner.plan_put(&key, |known| narrowed(known, usage)),
            Change::Retire(key) => inner.plan_remove(&key),
        }
    }

    /// Plans to seal a name's state again, as it is: under another policy or another KMS key.
    pub fn reseal(&self, name: &Name) -> Result<Planned<()>, ControlError> {
        let inner = self.read();
        let record = inner.names.get(name).filter(|record| record.sealing.is_some());
        let record = record.ok_or(ControlError::SealedOtherwise)?.clone();
        inner.plan_edit(name.clone(), record, Edit::None, ())
    }

    /// Makes a planned change. Its state, if it has one, has been stored.
    pub fn commit<T>(&self, planned: Planned<T>) -> Result<T, ControlError> {
        let inner = &mut *self.write();
        if inner.changes != planned.after {
            tracing::error!(name = %planned.name, "another change came between a plan and its commit");
            return Err(ControlError::Failed);
        }
        inner.changes = inner.changes.saturating_add(1);
        match &planned.edit {
            Edit::Put(key) => {
                inner.next_place = inner.next_place.max(key.place().saturating_add(1));
                inner.put(key);
            }
            Edit::Remove(key) => inner.remove(key),
            Edit::None => {}
        }
        if let (Some(sealing), Some(state)) = (&planned.record.sealing, &planned.state) {
            sealing.stored(state.number);
        }
        inner.names.insert(planned.name, planned.record);
        Ok(planned.result)
    }
}

impl Inner {
    fn plan_insert(&self, new: NewKey) -> Result<Planned<Arc<Key>>, ControlError> {
        self.admits(&new.name, new.clients.items(), new.sealed.as_ref())?;
        let mut record = self.names.get(&new.name).cloned().unwrap_or_default();
        let id = new.signing.id();
        let set_aside = record.set_aside.iter().any(|generation| generation.key.id() == id);
        if set_aside || self.keys.contains_key(&id) {
            return Err(ControlError::KeyExists);
        }
        record.last_generation = record
            .last_generation
            .checked_add(1)
            .ok_or(ControlError::LimitReached)?;
        record.sealing = record.sealing.or_else(|| {
            let first = new.sealed.map(|group| Sealing::new(group, Freshness::Known, 0));
            first.map(Arc::new)
        });
        record.keys.insert(record.last_generation, id);
        let (chain, validity) = new
            .chain
            .map_or_else(Default::default, |chain| (chain.served, Some(chain.validity)));
        let generation = Generation {
            generation: record.last_generation,
            state: Standing::Live,
            usage: new.usage,
            origin: new.origin,
            dns_names: new.dns_names,
            clients: new.clients,
            chain: Arc::new(chain),
            key: Arc::new(new.signing),
        };
        let place = self.free_place()?;
        let key = Key::new(new.name.clone(), generation, place, validity, record.sealing.clone());
        let key = Arc::new(key);
        self.plan_edit(new.name, record, Edit::Put(Arc::clone(&key)), key)
    }

    fn plan_put(
        &self,
        id: &KeyId,
        with: impl FnOnce(&Key) -> Result<Key, ControlError>,
    ) -> Result<Planned<Arc<Key>>, ControlError> {
        let (known, record) = self.known(id)?;
        let key = Arc::new(with(known)?);
        let name = known.entry().name.clone();
        self.plan_edit(name, record.clone(), Edit::Put(Arc::clone(&key)), key)
    }

    fn plan_remove(&self, id: &KeyId) -> Result<Planned<Arc<Key>>, ControlError> {
        let (known, record) = self.known(id)?;
        let mut record = record.clone();
        record.keys.remove(&known.entry().generation);
        let name = known.entry().name.clone();
        self.plan_edit(name, record, Edit::Remove(Arc::clone(known)), Arc::clone(known))
    }

    fn plan_edit<T>(&self, name: Name, record: NameRecord, edit: Edit, result: T) -> Result<Planned<T>, ControlError> {
        Ok(Planned {
            state: self.state_after(&name, &record, &edit)?,
            name,
            record,
            edit,
            after: self.changes,
            result,
        })
    }

    /// The state of a sealed name after an edit, with the next number.
    fn state_after(&self, name: &Name, record: &NameRecord, edit: &Edit) -> Result<Option<State>, ControlError> {
        let Some(sealing) = &record.sealing else {
            return Ok(None);
        };
        let mut generations = self.generations_of(record);
        if let Edit::Put(key) = edit {
            // A new key is not in the store yet, a changed one is there as it was.
            generations.retain(|generation| generation.generation != key.entry().generation);
            generations.push(key.generation());
            generations.sort_unstable_by_key(|generation| generation.generation);
        }
        Ok(Some(State {
            name: name.clone(),
            group: sealing.group().clone(),
            number: sealing.number().checked_add(1).ok_or(ControlError::LimitReached)?,
            last_generation: record.last_generation,
            generations,
        }))
    }

    /// The generations of a name that are in the store or set aside, in the order of their numbers.
    pub(super) fn generations_of(&self, record: &NameRecord) -> Vec<Generation> {
        let held = record.keys.values().filter_map(|id| self.keys.get(id));
        let held = held.map(|key| key.generation());
        let mut generations: Vec<Generation> = held.chain(record.set_aside.iter().cloned()).collect();
        generations.sort_unstable_by_key(|generation| generation.generation);
        generations
    }

    fn known(&self, id: &KeyId) -> Result<(&Arc<Key>, &NameRecord), ControlError> {
        let key = self.keys.get(id).ok_or(ControlError::NoSuchKey)?;
        let record = self.names.get(&key.entry().name).ok_or(ControlError::NoSuchKey)?;
        Ok((key, record))
    }

    /// Where the next key stands in listings.
    pub(super) fn free_place(&self) -> Result<u32, ControlError> {
        // The last one is never given, so that there is always a next.
        Some(self.next_place)
            .filter(|place| *place < u32::MAX)
            .ok_or(ControlError::LimitReached)
    }
}

fn narrowed(key: &Key, usage: Usage) -> Result<Key, ControlError> {
    if key.usage() == Usage::Digest && usage != Usage::Digest {
        Ok(key.with_usage(usage))
    } else {
        Err(ControlError::NotNarrower)
    }
}
