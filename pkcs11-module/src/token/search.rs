//! Which keys and certificates there are: what the service is asked, and what is answered where it does not know or is away.
//!
//! The service's word about a key that it has goes before all else. What it does not have, the public objects file shows as well: an
//! enclave that has just begun has not opened every key yet, or lost one, and a server loads all its keys or none. Only a signature fails
//! then, and only with that key.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeSet;
use std::sync::Arc;

use enclave_wire::KeyId;
use enclave_wire::signing::Label;

use super::backend::{Backend, Listed, Snapshot, Unavailable};
use super::deadline::Deadline;
use super::inventory::Inventory;
use super::lock::Lock;
use super::object::Object;
use super::published::Published;
use super::template::Query;

/// One search, with the time that it may take and one look at the file. No lock is held while the service is asked: other threads sign meanwhile.
pub(super) struct Search<'a> {
    backend: &'a dyn Backend,
    inventory: &'a Lock<Inventory>,
    deadline: Deadline,
    /// The state that the service said it is in, where this search asked for the listing.
    state: Cell<Option<Snapshot>>,
    looked: OnceCell<Arc<Published>>,
}

impl<'a> Search<'a> {
    pub(super) fn new(backend: &'a dyn Backend, inventory: &'a Lock<Inventory>, deadline: Deadline) -> Self {
        Self {
            backend,
            inventory,
            deadline,
            state: Cell::new(None),
            looked: OnceCell::new(),
        }
    }

    /// Learns all that there is to learn.
    pub(super) fn learn(&self) -> Result<(), Unavailable> {
        let answer = self.learn_listing();
        self.published(answer);
        answer
    }

    /// The keys that a query is about.
    pub(super) fn keys(&self, query: Query) -> Result<Vec<KeyId>, Unavailable> {
        match query {
            Query::ById(id) => self.by_id(id),
            Query::ByLabel(label) => self.by_label(&label),
            Query::All => self.listing(),
            Query::Nothing => Ok(Vec::new()),
        }
    }

    /// All keys: those that the service lists, and those that the file names beside them.
    pub(super) fn listing(&self) -> Result<Vec<KeyId>, Unavailable> {
        let answer = self.learn_listing();
        let published = self.published(answer);
        let mut inventory = self.inventory.lock();
        let heard = inventory.listed();
        if let Err(away) = answer
            && heard.is_none()
            && published.ids().next().is_none()
        {
            return Err(away);
        }
        let mut ids = heard.unwrap_or_default();
        let heard: BTreeSet<_> = ids.iter().copied().collect();
        let others: Vec<_> = published.ids().filter(|id| !heard.contains(id)).collect();
        if answer.is_ok() {
            for id in &others {
                inventory.fall_back_to_published(id);
            }
        }
        ids.extend(others);
        Ok(ids)
    }

    /// The certificates of keys.
    pub(super) fn certificates(&self, ids: &[KeyId]) -> Result<Vec<Object>, Unavailable> {
        let mut objects = Vec::new();
        for id in ids {
            objects.extend(self.chain(*id)?);
        }
        Ok(objects)
    }

    fn learn_listing(&self) -> Result<(), Unavailable> {
        let known = self.inventory.lock().snapshot();
        let listed = self.backend.list(known, self.deadline)?;
        let state = match &listed {
            Listed::Unchanged => known,
            Listed::All(snapshot, _) => Some(*snapshot),
        };
        self.inventory.lock().learn_listing(listed)?;
        self.state.set(state);
        Ok(())
    }

    fn by_id(&self, id: KeyId) -> Result<Vec<KeyId>, Unavailable> {
        let answer = self.backend.find_by_id(id, self.deadline);
        let learned = answer.and_then(|entry| self.inventory.lock().learn_keys(entry.into_iter().collect()));
        let answer = match learned {
            Ok(ids) if !ids.is_empty() => return Ok(ids),
            learned => learned.map(drop),
        };
        let published = self.published(answer);
        let is_published = published.key(&id).is_some();
        let mut inventory = self.inventory.lock();
        match answer {
            Ok(()) if is_published => {
                inventory.fall_back_to_published(&id);
                Ok(vec![id])
            }
            Ok(()) => Ok(Vec::new()),
            Err(_) if is_published || inventory.knows(&id) => Ok(vec![id]),
            Err(away) => Err(away),
        }
    }

    fn by_label(&self, label: &Label) -> Result<Vec<KeyId>, Unavailable> {
        let answer = self.backend.find_by_label(label, self.deadline);
        let learned = answer.and_then(|entries| self.inventory.lock().learn_keys(entries));
        match learned {
            Ok(ids) if ids.is_empty() => self.by_published_label(label),
            Ok(ids) => Ok(ids),
            Err(away) => self.by_label_while_away(label, away),
        }
    }

    /// The keys that the file has under a label that the service has no key of. It may have the key all the same, under another label,
    /// so it is asked for each: there is one of a name that is live.
    fn by_published_label(&self, label: &Label) -> Result<Vec<KeyId>, Unavailable> {
        let published = self.published(Ok(()));
        let named: Vec<_> = {
            let inventory = self.inventory.lock();
            let is_named = |id: &KeyId| inventory.label(id).as_ref() == Some(label);
            let written: BTreeSet<_> = published.labelled(label).collect();
            published
                .ids()
                .filter(|id| written.contains(id) || is_named(id))
                .collect()
        };
        let mut ids = Vec::new();
        for id in named {
            ids.extend(self.by_id(id)?);
        }
        let inventory = self.inventory.lock();
        ids.retain(|id| inventory.label(id).as_ref() == Some(label));
        Ok(ids)
    }

    /// Of a label the file knows more than this process heard: it is written again with each new generation. But a generation that was
    /// heard to be superseded never lives again.
    fn by_label_while_away(&self, label: &Label, away: Unavailable) -> Result<Vec<KeyId>, Unavailable> {
        let published = self.published(Err(away));
        let inventory = self.inventory.lock();
        let current = published.labelled(label).filter(|id| !inventory.contradicts(id, label));
        let mut known: Vec<_> = current.collect();
        if known.is_empty() {
            known = inventory.labelled(label);
        }
        if known.is_empty() { Err(away) } else { Ok(known) }
    }

    /// A listing that did not change has the same chains: of ten thousand keys each costs a round trip once, and a search that ran out of
    /// time is the shorter when it comes again.
    ///
    /// A key that has no chain in the service has the one that the agent wrote down, but never under a label that the key itself lost.
    fn chain(&self, id: KeyId) -> Result<Vec<Object>, Unavailable> {
        let state = self.state.get();
        let current = state.and_then(|state| self.inventory.lock().current_certificates(&id, state));
        let ask = || {
            let chain = self.backend.chain(id, self.deadline)?;
            let learned = chain.map(|chain| self.inventory.lock().learn_chain(id, &chain, state));
            learned.unwrap_or_else(|| Ok(Vec::new()))
        };
        let answer = current.map_or_else(ask, Ok);
        let answer = match answer {
            Ok(certificates) if !certificates.is_empty() => return Ok(certificates),
            answer => answer.map(drop),
        };
        let published = self.published(answer);
        let written = published.certificates(&id);
        let inventory = self.inventory.lock();
        match answer {
            Ok(()) => {
                let label = published.key(&id).map(|key| key.entry.label());
                let written = written.filter(|_| label == inventory.label(&id));
                Ok(written.unwrap_or_default())
            }
            Err(away) => {
                let heard = inventory.certificates(&id);
                let heard = heard.filter(|chain| !chain.is_empty() || written.is_none());
                heard.or(written).ok_or(away)
            }
        }
    }

    /// What the agent wrote down, where it counts: beside the service's answer, and while the service cannot be asked. Anyone may read
    /// the file, so a service that refuses this process, or that is none, must not be overruled by it: no key appears to whom the service
    /// shows none.
    fn published(&self, answer: Result<(), Unavailable>) -> Arc<Published> {
        match answer {
            Err(Unavailable::Protocol | Unavailable::Refused) => Arc::default(),
            Ok(())
            | Err(Unavailable::Unreachable | Unavailable::Busy | Unavailable::Stalled | Unavailable::NoMemory) => {
                self.looked.get_or_init(|| self.look()).clone()
            }
        }
    }

    fn look(&self) -> Arc<Published> {
        let known = self.inventory.lock().published();
        match self.backend.published() {
            Some(source) if !known.came_from(&source) => {
                let published = Arc::new(Published::new(source, &known));
                self.inventory.lock().learn_published(published.clone());
                published
            }
            Some(_) | None => known,
        }
    }
}

#[cfg(test)]
mod tests;
