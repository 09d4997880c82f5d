//! What the replay directory holds for the service and AWS has to open first: where each item stands.

use std::collections::BTreeMap;

use enclave_wire::{KeyId, Name};

use enclave_tls_admin::advice;
use enclave_tls_admin::protocol::{self, Kind, Standing};

/// An item of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// The sealed state of a name.
    State(Name),
    /// A bundle that was not sealed, by its key.
    Bundle(KeyId, Name),
}

/// All that is not in the service yet.
#[derive(Default)]
pub(crate) struct Waiting {
    entries: Vec<Entry>,
}

struct Entry {
    item: Item,
    standing: Standing,
}

impl Waiting {
    /// Begins anew, for another run or connection of the service.
    pub(crate) fn begin(&mut self, items: impl IntoIterator<Item = Item>) {
        let queued = |item| Entry {
            item,
            standing: Standing::Queued,
        };
        self.entries = items.into_iter().map(queued).collect();
    }

    /// The service has not taken this.
    pub(crate) fn stands(&mut self, item: &Item, standing: Standing) {
        if let Some(entry) = self.find(item) {
            entry.standing = standing;
        }
    }

    /// The service has this.
    pub(crate) fn done(&mut self, item: &Item) {
        self.entries.retain(|entry| entry.item != *item);
    }

    /// What commands may know of this.
    pub(crate) fn report(&self) -> Vec<protocol::Waiting> {
        let reported = |entry: &Entry| {
            let (kind, name) = match &entry.item {
                Item::State(name) => (Kind::State, name),
                Item::Bundle(_, name) => (Kind::Bundle, name),
            };
            protocol::Waiting {
                name: name.clone(),
                kind,
                standing: entry.standing,
            }
        };
        self.entries.iter().map(reported).collect()
    }

    /// The names under which something is stored that is not in the service, and why it is not.
    pub(crate) fn reasons(&self) -> BTreeMap<Name, String> {
        let reason = |entry: &Entry| {
            let (Item::State(name) | Item::Bundle(_, name)) = &entry.item;
            let why = match entry.standing {
                Standing::Queued => "its turn has not come".to_owned(),
                Standing::Later(why) | Standing::Refused(why) => advice::refused(why).to_owned(),
                Standing::Unreadable => format!("{} cannot be used; the agent's log says why", entry.item),
            };
            (name.clone(), why)
        };
        self.entries.iter().map(reason).collect()
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
