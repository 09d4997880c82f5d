//! What the replay directory holds for the service and AWS has to open first: where each item stands.

use enclave_wire::{KeyId, Name};

use crate::local::{self, Kind, Standing};

/// An item of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// The sealed state of a name.
    State(Name),
    /// A bundle that was not sealed, by its key.
    Bundle(KeyId, Name),
}

/// All that is not in the service yet.
#[derive(Default)]
pub(super) struct Waiting {
    entries: Vec<Entry>,
}

struct Entry {
    item: Item,
    standing: Standing,
}

impl Waiting {
    /// Begins anew, for another run or connection of the service.
    pub(super) fn begin(&mut self, items: impl IntoIterator<Item = Item>) {
        let queued = |item| Entry {
            item,
            standing: Standing::Queued,
        };
        self.entries = items.into_iter().map(queued).collect();
    }

    /// The service has not taken this.
    pub(super) fn stands(&mut self, item: &Item, standing: Standing) {
        if let Some(entry) = self.find(item) {
            entry.standing = standing;
        }
    }

    /// The service has this.
    pub(super) fn done(&mut self, item: &Item) {
        self.entries.retain(|entry| entry.item != *item);
    }

    /// What commands may know of this.
    pub(super) fn report(&self) -> Vec<local::Waiting> {
        let reported = |entry: &Entry| {
            let (kind, name) = match &entry.item {
                Item::State(name) => (Kind::State, name),
                Item::Bundle(_, name) => (Kind::Bundle, name),
            };
            local::Waiting {
                name: name.clone(),
                kind,
                standing: entry.standing,
            }
        };
        self.entries.iter().map(reported).collect()
    }

    fn find(&mut self, item: &Item) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.item == *item)
    }
}

impl std::fmt::Display for Item {
    /// The file that a person looks at.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::State(name) => write!(f, "sealed/{name}.sealed"),
            Self::Bundle(id, _) => write!(f, "bundles/{id}.toml"),
        }
    }
}
