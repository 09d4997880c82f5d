//! A client, and its view of the keys.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use enclave_wire::signing::{Entries, Label, Listing, Page, SignError};
use enclave_wire::{KeyId, Name};

use super::Key;

/// A web server, by its user. It sees its own keys and no other.
pub struct Client {
    name: Name,
    view: RwLock<View>,
}

/// What a client sees.
struct View {
    /// Counts its changes, from 1.
    version: u64,
    by_id: HashMap<KeyId, Arc<Key>>,
    /// By name and generation, so that a label's keys stand together.
    ordered: BTreeMap<(Name, u32), Arc<Key>>,
}

impl Client {
    /// A client that sees those of these keys that name it: a key that was restored may have come before its client.
    pub(super) fn new<'a>(name: Name, keys: impl Iterator<Item = &'a Arc<Key>>) -> Self {
        let mut view = View {
            version: 1,
            by_id: HashMap::new(),
            ordered: BTreeMap::new(),
        };
        keys.filter(|key| key.clients().contains(&name))
            .for_each(|key| view.put(key));
        Self {
            name,
            view: RwLock::new(view),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The key of this id, if it is this client's. An absent, a retired and another client's key are not in its view: all three take
    /// the same path.
    #[must_use]
    pub fn find(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.read(|view| view.by_id.get(id).cloned())
    }

    /// A page of the listing that fits `budget` encoded bytes.
    pub fn list(&self, known_version: u64, cursor: u32, budget: usize) -> Result<Listing, SignError> {
        self.read(|view| {
            if cursor != 0 && known_version != view.version {
                return Err(SignError::ListChanged);
            }
            if cursor == 0 && known_version == view.version {
                return Ok(Listing::Unchanged);
            }
            Ok(view.page(view.ordered.values(), cursor, budget))
        })
    }

    /// A page of the keys that carry this label.
    #[must_use]
    pub fn find_by_label(&self, label: &Label, cursor: u32, budget: usize) -> Listing {
        self.read(|view| {
            // A label is a name, and after a space, which no name has, its state.
            let name = label
                .as_str()
                .split(' ')
                .next()
                .and_then(|name| Name::try_from(name).ok());
            let generations = name.map(|name| (name.clone(), 0)..=(name, u32::MAX));
            let named = generations.into_iter().flat_map(|range| view.ordered.range(range));
            let labelled = named.map(|(_, key)| key).filter(|key| key.entry().label() == *label);
            view.page(labelled, cursor, budget)
        })
    }

    pub(super) fn put(&self, key: &Arc<Key>) {
        self.change(|view| view.put(key));
    }

    pub(super) fn remove(&self, key: &Key) {
        self.change(|view| {
            view.by_id.remove(&key.id());
            view.ordered.remove(&place(key));
        });
    }

    fn read<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        look(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        view.version = view.version.saturating_add(1);
        change(&mut view);
    }
}

impl View {
    fn put(&mut self, key: &Arc<Key>) {
        self.by_id.insert(key.id(), Arc::clone(key));
        self.ordered.insert(place(key), Arc::clone(key));
    }

    fn page<'a>(&self, keys: impl Iterator<Item = &'a Arc<Key>>, cursor: u32, budget: usize) -> Listing {
        let mut page = Page {
            version: self.version,
            next: None,
            entries: Entries::default(),
        };
        let mut left = budget;
        for (place, key) in (0u32..).zip(keys).skip_while(|(place, _)| *place < cursor) {
            let Some(rest) = left.checked_sub(key.entry_len()) else {
                page.next = Some(place);
                break;
            };
            left = rest;
            page.entries.0.push(key.entry().clone());
        }
        Listing::Page(page)
    }
}

fn place(key: &Key) -> (Name, u32) {
    (key.entry().name.clone(), key.entry().generation)
}
