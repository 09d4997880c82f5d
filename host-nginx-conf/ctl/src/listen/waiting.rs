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
    /// Whether the service has it in its hands.
    is_under_way: bool,
}

impl Waiting {
    /// Begins anew, for another run or connection of the service.
    pub(super) fn begin(&mut self, items: impl IntoIterator<Item = Item>) {
        let queued = |item| Entry {
            item,
            standing: Standing::Queued,
            is_under_way: false,
        };
        self.entries = items.into_iter().map(queued).collect();
    }

    /// The service is about to be given this.
    pub(super) fn start(&mut self, item: &Item) {
        if let Some(entry) = self.find(item) {
            entry.is_under_way = true;
        }
    }

    /// The service has not taken this.
    pub(super) fn stands(&mut self, item: &Item, standing: Standing) {
        if let Some(entry) = self.find(item) {
            (entry.standing, entry.is_under_way) = (standing, false);
        }
    }

    /// The service has this.
    pub(super) fn done(&mut self, item: &Item) {
        self.entries.retain(|entry| entry.item != *item);
    }

    /// Whether the service has not opened this name's state, and does not do so now.
    pub(super) fn keeps_unopened(&self, name: &Name) -> bool {
        let is_it = |entry: &Entry| matches!(&entry.item, Item::State(its) if its == name) && !entry.is_under_way;
        self.entries.iter().any(is_it)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_was_not_opened_is_kept_from_others_but_while_the_service_opens_it() {
        let name: Name = "www".parse().unwrap();
        let item = Item::State(name.clone());
        let mut waiting = Waiting::default();
        assert!(!waiting.keeps_unopened(&name));
        waiting.begin([item.clone(), Item::Bundle(KeyId([1; 32]), name.clone())]);
        assert!(waiting.keeps_unopened(&name));
        waiting.start(&item);
        assert!(
            !waiting.keeps_unopened(&name),
            "it may be sealed again under another key"
        );
        waiting.stands(&item, Standing::Unreadable);
        assert!(waiting.keeps_unopened(&name));
        waiting.done(&item);
        assert!(!waiting.keeps_unopened(&name), "the bundle is another item");
        assert_eq!(waiting.report().len(), 1);
    }
}
