//! The keys of this boot, who may use them, and what each credential sees of them.
//!
//! The signing plane reads its own client's [`Client`] only; the store as a whole is taken for writing by control requests, which
//! come one at a time. No lock is held over an await, and none while a signature is made.

mod client;
mod key;
mod record;
mod request;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use enclave_wire::control::{ControlError, KeyCounters, KeyInfo, Validity};
use enclave_wire::credential::{CredentialId, Verifier};
use enclave_wire::{Chain, Encode as _, KeyId, Name, State, Usage};

pub use client::{Client, Credential, Seat};
pub use key::{KeyError, SigningKey};
pub use record::{Key, NewKey};

/// The store of keys.
#[derive(Default)]
pub struct KeyStore {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    keys: HashMap<KeyId, Arc<Key>>,
    /// In the order in which they came: a page of a listing stays right while others come and go.
    order: BTreeMap<u32, KeyId>,
    next_place: u32,
    /// The last generation of every name of this boot. It outlives the keys, so that no number is used twice.
    generations: HashMap<Name, u32>,
    clients: HashMap<Name, ClientRecord>,
    credentials: HashMap<CredentialId, Arc<Credential>>,
}

struct ClientRecord {
    client: Arc<Client>,
    /// The oldest first.
    credentials: Vec<CredentialId>,
}

/// One page of the administrator's listing.
pub struct Page {
    /// How many keys there are.
    pub total: usize,
    /// Where the next page begins.
    pub next: Option<u32>,
    /// The keys.
    pub keys: Vec<KeyInfo>,
}

impl KeyStore {
    /// Takes a client's credential. A client has at most two; a third takes the oldest one's place, whose connections end.
    pub fn install_credential(&self, client: Name, id: CredentialId, verifier: Verifier) -> Result<(), ControlError> {
        let inner = &mut *self.write();
        let known = inner.credentials.get(&id);
        if known.is_some_and(|known| *known.client().name() != client) {
            tracing::warn!(%client, "refused a credential that another client has");
            return Err(ControlError::Failed);
        }
        // The same again changes nothing but its age.
        let same = known.filter(|known| known.has(&verifier)).cloned();
        if !inner.clients.contains_key(&client) && inner.clients.len() >= MAX_CLIENTS {
            return Err(ControlError::LimitReached);
        }
        let record = inner.clients.entry(client.clone()).or_insert_with(|| ClientRecord {
            client: Arc::new(Client::new(client)),
            credentials: Vec::new(),
        });
        record.credentials.retain(|known| *known != id);
        record.credentials.push(id);
        let oldest = (record.credentials.len() > CREDENTIALS_PER_CLIENT).then(|| record.credentials.remove(0));
        let owner = &record.client;
        let credential = same.unwrap_or_else(|| Arc::new(Credential::new(Arc::clone(owner), verifier)));
        let previous = inner.credentials.insert(id, Arc::clone(&credential));
        let oldest = oldest.and_then(|id| inner.credentials.remove(&id));
        for gone in previous
            .into_iter()
            .chain(oldest)
            .filter(|gone| !Arc::ptr_eq(gone, &credential))
        {
            gone.replace();
        }
        Ok(())
    }

    /// The credential of this id.
    #[must_use]
    pub fn credential(&self, id: &CredentialId) -> Option<Arc<Credential>> {
        self.read().credentials.get(id).cloned()
    }

    /// Whether a key of this name for these clients could be taken: asked before the work of making one.
    pub fn admits(&self, name: &Name, clients: &[Name]) -> Result<(), ControlError> {
        self.read().admits(name, clients)
    }

    /// Takes a key as the next generation of its name.
    pub fn insert(&self, new: NewKey) -> Result<Arc<Key>, ControlError> {
        let mut inner = self.write();
        inner.admits(&new.name, new.clients.items())?;
        let id = new.signing.id();
        if inner.keys.contains_key(&id) {
            return Err(ControlError::KeyExists);
        }
        let generation = inner.next_generation(&new.name)?;
        let place = inner.next_place;
        inner.next_place = place.checked_add(1).ok_or(ControlError::LimitReached)?;
        inner.generations.insert(new.name.clone(), generation);
        inner.order.insert(place, id);
        let key = Arc::new(Key::new(new, generation, place));
        inner.put(&key);
        Ok(key)
    }

    /// The key of this id.
    pub fn get(&self, id: &KeyId) -> Result<Arc<Key>, ControlError> {
        self.read().keys.get(id).cloned().ok_or(ControlError::NoSuchKey)
    }

    /// Gives a key its chain. The caller has validated it.
    pub fn install_chain(&self, id: &KeyId, chain: Chain, validity: Validity) -> Result<Arc<Key>, ControlError> {
        self.change(id, |key| Ok(key.with_chain(chain, validity)))
    }

    /// Lets a newer generation take this key's place. It signs on.
    pub fn supersede(&self, id: &KeyId) -> Result<Arc<Key>, ControlError> {
        self.change(id, |key| Ok(key.with_state(State::Superseded)))
    }

    /// Lets this key sign less than before.
    pub fn narrow(&self, id: &KeyId, usage: Usage) -> Result<Arc<Key>, ControlError> {
        self.change(id, |key| {
            if key.usage() == Usage::Digest && usage != Usage::Digest {
                Ok(key.with_usage(usage))
            } else {
                Err(ControlError::NotNarrower)
            }
        })
    }

    /// Forgets this key. It is wiped when the last signature that is being made with it is done.
    pub fn retire(&self, id: &KeyId) -> Result<(), ControlError> {
        let mut inner = self.write();
        let key = inner.keys.remove(id).ok_or(ControlError::NoSuchKey)?;
        inner.order.remove(&key.place());
        for client in inner.clients_of(&key) {
            client.remove(&key);
        }
        Ok(())
    }

    /// The keys from `cursor` on, as many as `budget` encoded bytes and `count` allow.
    #[must_use]
    pub fn page(&self, cursor: u32, budget: usize, count: usize) -> Page {
        let inner = self.read();
        let mut page = Page {
            total: inner.keys.len(),
            next: None,
            keys: Vec::new(),
        };
        let mut left = budget;
        for (place, id) in inner.order.range(cursor..) {
            let Some(info) = inner.keys.get(id).map(|key| key.info()) else {
                continue;
            };
            let rest = left.checked_sub(info.to_bytes().len());
            let Some(rest) = rest.filter(|_| page.keys.len() < count) else {
                page.next = Some(*place);
                break;
            };
            left = rest;
            page.keys.push(info);
        }
        page
    }

    /// What each key did, most used first, at most `count` of them.
    #[must_use]
    pub fn counters(&self, count: usize) -> Vec<KeyCounters> {
        let mut counters: Vec<KeyCounters> = self.read().keys.values().flat_map(|key| key.counters()).collect();
        counters.sort_unstable_by_key(|c| {
            let uses = c.signed.saturating_add(c.refused).saturating_add(c.failed);
            (std::cmp::Reverse(uses), c.key, c.mechanism)
        });
        counters.truncate(count);
        counters
    }

    /// Puts a changed copy of a key in its place.
    fn change(
        &self,
        id: &KeyId,
        with: impl FnOnce(&Key) -> Result<Key, ControlError>,
    ) -> Result<Arc<Key>, ControlError> {
        let mut inner = self.write();
        let known = inner.keys.get(id).ok_or(ControlError::NoSuchKey)?;
        let key = Arc::new(with(known)?);
        inner.put(&key);
        Ok(key)
    }

    // A panic while the lock was held cannot have left a half-made change that matters more than the keys that still sign.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admits(&self, name: &Name, clients: &[Name]) -> Result<(), ControlError> {
        if !clients.iter().all(|client| self.clients.contains_key(client)) {
            return Err(ControlError::NoSuchClient);
        }
        let new_name = !self.generations.contains_key(name);
        if self.keys.len() >= MAX_KEYS || (new_name && self.generations.len() >= MAX_NAMES) {
            return Err(ControlError::LimitReached);
        }
        Ok(())
    }

    fn next_generation(&self, name: &Name) -> Result<u32, ControlError> {
        let last = self.generations.get(name).copied().unwrap_or(0);
        last.checked_add(1).ok_or(ControlError::LimitReached)
    }

    fn put(&mut self, key: &Arc<Key>) {
        for client in self.clients_of(key) {
            client.put(key);
        }
        self.keys.insert(key.id(), Arc::clone(key));
    }

    fn clients_of<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = &'a Client> {
        key.clients()
            .iter()
            .filter_map(|name| self.clients.get(name))
            .map(|record| &*record.client)
    }
}

/// Twice what one enclave is meant to serve: 10,000 certificates, each in two generations. An RSA-2048 key has some
/// 10 KB when it is ready to sign, a P-256 key 2 KB, so at most 200 MB.
const MAX_KEYS: usize = 20_000;
/// Names are remembered for their generations after their keys are gone: at 100 bytes each, 10 MB.
const MAX_NAMES: usize = 100_000;
/// Web servers on one instance, by their users. More would be a mistake.
const MAX_CLIENTS: usize = 1_024;
/// One in use, and the next one being rolled out.
const CREDENTIALS_PER_CLIENT: usize = 2;

#[cfg(test)]
mod tests;
