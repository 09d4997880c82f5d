//! The keys of this boot, who may use them, and what each credential sees of them.
//!
//! The signing plane reads its own client's [`Client`] only; the store as a whole is taken for writing by control requests, which
//! come one at a time. No lock is held over an await, and none while a signature is made.
//!
//! A change is planned, then committed. Between the two, where the name is sealed, its next state is sealed and stored:
//!
//! ```ignore
//! let planned = store.plan(Change::Supersede(id))?;
//! if let Some(state) = planned.state() {
//!     let blob = state.seal(&data_key_of(&state.group), &policy.sha384())?;
//!     // The agent stores it; where it does not: StateNotStored, and `planned` is dropped.
//! }
//! let key = store.commit(planned)?;
//! ```
//!
//! What is planned and not committed leaves no trace.

mod account;
mod change;
mod client;
mod credential;
mod key;
mod names;
mod record;
mod request;
mod restore;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use enclave_wire::control::{ControlError, KeyCounters, KeyInfo, Sealed};
use enclave_wire::credential::CredentialId;
use enclave_wire::{Encode as _, KeyId, Name};

use credential::ClientRecord;
use names::NameRecord;

pub(crate) use account::AccountKey;
pub use change::{Change, Planned};
pub use client::Client;
pub use credential::{Credential, Seat};
pub use key::{KeyError, SigningKey};
pub use record::{Key, NewKey};
pub use restore::{Refused, Restored};

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
    /// Every name of this boot. It outlives the keys, so that no generation and no state has a number twice.
    names: HashMap<Name, NameRecord>,
    /// Counts the changes of keys and names: what was planned before another change is not committed.
    changes: u64,
    clients: HashMap<Name, ClientRecord>,
    credentials: HashMap<CredentialId, Arc<Credential>>,
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
    /// Whether a key of this name for these clients could be taken, sealed in this group or not at all: asked before the work of
    /// making one.
    pub fn admits(&self, name: &Name, clients: &[Name], sealed: Option<&Name>) -> Result<(), ControlError> {
        self.read().admits(name, clients, sealed)
    }

    /// The key of this id.
    pub fn get(&self, id: &KeyId) -> Result<Arc<Key>, ControlError> {
        self.read().keys.get(id).cloned().ok_or(ControlError::NoSuchKey)
    }

    /// All keys, in the order in which they came.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<Key>> {
        let inner = self.read();
        inner
            .order
            .values()
            .filter_map(|id| inner.keys.get(id).cloned())
            .collect()
    }

    /// How this name is sealed, if it is: its group, and the number of the state that was stored last.
    #[must_use]
    pub fn sealed(&self, name: &Name) -> Option<Sealed> {
        self.read().names.get(name)?.sealed()
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

    // A panic while the lock was held cannot have left a half-made change that matters more than the keys that still sign.
    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn admits(&self, name: &Name, clients: &[Name], sealed: Option<&Name>) -> Result<(), ControlError> {
        if !clients.iter().all(|client| self.clients.contains_key(client)) {
            return Err(ControlError::NoSuchClient);
        }
        let known = self.names.get(name);
        if self.keys.len() >= MAX_KEYS || (known.is_none() && self.names.len() >= MAX_NAMES) {
            return Err(ControlError::LimitReached);
        }
        known.map_or(Ok(()), |record| record.admits(sealed))
    }

    /// Puts a key, or a changed record of it, in its place.
    fn put(&mut self, key: &Arc<Key>) {
        for client in self.clients_of(key) {
            client.put(key);
        }
        self.order.insert(key.place(), key.id());
        self.keys.insert(key.id(), Arc::clone(key));
    }

    /// Forgets a key. It is wiped when the last signature that is being made with it is done.
    fn remove(&mut self, key: &Key) {
        self.keys.remove(&key.id());
        self.order.remove(&key.place());
        for client in self.clients_of(key) {
            client.remove(key);
        }
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

#[cfg(test)]
mod tests;
