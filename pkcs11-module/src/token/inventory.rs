//! What this process knows of the service's keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use cryptoki_sys::CK_OBJECT_HANDLE;
use enclave_wire::signing::{Entry, Label};
use enclave_wire::{Chain, KeyId, Objects, State};

use super::backend::{Listed, Snapshot, Unavailable};
use super::certificate::Certificate;
use super::object::Object;
use super::public_key::Key;
use super::published::Published;

/// Keys and certificates, as last heard. It answers attributes and `C_SignInit` without a round trip, and finds of what the service does
/// not say. A forked child begins with a copy.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// What is listed now, and which state of the listing that is.
    listing: Option<(Snapshot, Vec<KeyId>)>,
    keys: BTreeMap<KeyId, Arc<Key>>,
    chains: BTreeMap<KeyId, Heard>,
    /// What the agent wrote down. Kept apart from what the service said: where the service refuses, it does not count.
    published: Arc<Published>,
    /// Every object ever seen, so that a handle given out keeps its meaning when its key is listed no more.
    objects: BTreeMap<CK_OBJECT_HANDLE, Object>,
}

/// A chain as the service gave it.
#[derive(Debug, Clone)]
struct Heard {
    certificates: Vec<Arc<Certificate>>,
    /// The state that the service was in, or a later one. Where it is in that state still, the chain is what it was.
    since: Option<Snapshot>,
}

impl Inventory {
    /// The state of the listing that is known, to ask whether it changed.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        self.listing.as_ref().map(|(snapshot, _)| *snapshot)
    }

    /// Takes in an answer to a listing.
    pub(super) fn learn_listing(&mut self, listed: Listed) -> Result<(), Unavailable> {
        if let Listed::All(snapshot, entries) = listed {
            let ids = entries.iter().map(|entry| entry.id).collect();
            self.learn_keys(entries)?;
            self.listing = Some((snapshot, ids));
        }
        Ok(())
    }

    /// Takes in keys. One that contradicts itself is the service's fault, and none of the answer is used.
    pub(super) fn learn_keys(&mut self, entries: Vec<Entry>) -> Result<Vec<KeyId>, Unavailable> {
        let keys: Result<Vec<_>, _> = entries.into_iter().map(Key::new).collect();
        let keys = keys.map_err(|_not_der| Unavailable::Protocol)?;
        let ids = keys.iter().map(|key| key.entry.id).collect();
        for key in keys.into_iter().map(Arc::new) {
            self.remember(Object::PrivateKey(key.clone()));
            self.remember(Object::PublicKey(key.clone()));
            self.keys.insert(key.entry.id, key);
        }
        Ok(ids)
    }

    /// Takes in the chain of a key that the service spoke of, and gives its certificates, leaf first. `since` is the state that the service
    /// was in before it was asked, where that is known.
    pub(super) fn learn_chain(
        &mut self,
        id: KeyId,
        chain: &Chain,
        since: Option<Snapshot>,
    ) -> Result<Vec<Object>, Unavailable> {
        let Some(key) = self.keys.get(&id) else {
            return Ok(Vec::new());
        };
        let certificates = Certificate::chain(chain, &key.entry.label()).map_err(|_not_der| Unavailable::Protocol)?;
        for certificate in &certificates {
            self.remember(Object::Certificate(certificate.clone()));
        }
        let objects = certificates.iter().cloned().map(Object::Certificate).collect();
        self.chains.insert(id, Heard { certificates, since });
        Ok(objects)
    }

    /// Takes in what the agent wrote down. It changes no object that the service itself spoke of.
    pub(super) fn learn_published(&mut self, published: Arc<Published>) {
        for (key, chain) in published.keys() {
            let id = &key.entry.id;
            if !self.knows(id) {
                self.remember(Object::PrivateKey(key.clone()));
                self.remember(Object::PublicKey(key.clone()));
            }
            for certificate in chain {
                let heard = self.chains.get(id).into_iter().flat_map(|heard| &heard.certificates);
                if heard.into_iter().all(|known| known.der != certificate.der) {
                    self.remember(Object::Certificate(certificate.clone()));
                }
            }
        }
        self.published = published;
    }

    /// The service has no such key, whatever it said of it before: now what the agent wrote down of it counts. But a key that was heard to
    /// be superseded stays so, and one that another thread has just heard listed is there.
    pub(super) fn fall_back_to_published(&mut self, id: &KeyId) {
        let Some(heard) = self.keys.get(id) else {
            return;
        };
        let is_listed = || self.listing.iter().any(|(_, ids)| ids.contains(id));
        if heard.entry.state == State::Superseded || is_listed() {
            return;
        }
        if let Some(key) = self.published.key(id).cloned() {
            self.keys.remove(id);
            self.chains.remove(id);
            self.remember(Object::PrivateKey(key.clone()));
            self.remember(Object::PublicKey(key));
        }
    }

    /// What the agent wrote down, as it was last taken in.
    pub(super) fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// The contents of the public objects file that were taken in last.
    #[must_use]
    pub fn published_source(&self) -> Option<Arc<Objects>> {
        self.published.source()
    }

    /// The keys that are listed, where a listing was ever heard.
    pub(super) fn listed(&self) -> Option<Vec<KeyId>> {
        self.listing.as_ref().map(|(_, ids)| ids.clone())
    }

    /// The keys of a label among those that the service spoke of.
    pub(super) fn labelled(&self, label: &Label) -> Vec<KeyId> {
        let keys = self.keys.values().filter(|key| key.entry.label() == *label);
        keys.map(|key| key.entry.id).collect()
    }

    /// Whether the service ever gave this key another label than this.
    pub(super) fn contradicts(&self, id: &KeyId, label: &Label) -> bool {
        self.keys.get(id).is_some_and(|key| key.entry.label() != *label)
    }

    /// Whether the service ever spoke of a key.
    pub(super) fn knows(&self, id: &KeyId) -> bool {
        self.keys.contains_key(id)
    }

    /// The label that a key goes by: the service's word, or else the agent's.
    pub(super) fn label(&self, id: &KeyId) -> Option<Label> {
        self.key(id).map(|key| key.entry.label())
    }

    /// The private and the public object of a key.
    pub(super) fn key_objects(&self, id: &KeyId) -> Vec<Object> {
        self.key(id).map_or_else(Vec::new, |key| {
            vec![Object::PrivateKey(key.clone()), Object::PublicKey(key.clone())]
        })
    }

    /// The certificates of a key, leaf first, where the service ever gave its chain.
    pub(super) fn certificates(&self, id: &KeyId) -> Option<Vec<Object>> {
        let heard = self.chains.get(id)?;
        Some(heard.certificates.iter().cloned().map(Object::Certificate).collect())
    }

    /// The same, where what the service gave is current in this state; empty where it has no chain.
    pub(super) fn current_certificates(&self, id: &KeyId, state: Snapshot) -> Option<Vec<Object>> {
        let is_current = self.chains.get(id)?.since == Some(state);
        is_current.then(|| self.certificates(id))?
    }

    /// The object that a handle means.
    pub(super) fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<Object> {
        self.objects.get(&handle).cloned()
    }

    fn key(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.get(id).or_else(|| self.published.key(id))
    }

    /// Knows an object by its handle, or better than before. Two objects whose hashes begin alike are not told apart by a handle, so
    /// the later one is not shown: the chance is one in 2^61 a pair.
    fn remember(&mut self, object: Object) {
        let known = self.objects.entry(object.handle()).or_insert_with(|| object.clone());
        if known.same(&object) {
            *known = object;
        }
    }
}

#[cfg(test)]
mod tests {
    use enclave_wire::BootId;
    use enclave_wire::identity::Certificate as CertificateBytes;

    use super::super::memory::{certificate, p256};
    use super::*;

    fn snapshot(version: u64) -> Snapshot {
        Snapshot {
            boot: BootId([1; 16]),
            version,
        }
    }

    #[test]
    fn a_key_that_is_listed_no_more_keeps_its_handle() {
        let mut inventory = Inventory::default();
        let (old, new) = (p256("www", 1), p256("www", 2));
        inventory
            .learn_listing(Listed::All(snapshot(1), vec![old.clone()]))
            .unwrap();
        let handle = inventory.key_objects(&old.id)[0].handle();
        inventory
            .learn_listing(Listed::All(snapshot(2), vec![new.clone()]))
            .unwrap();
        assert_eq!(inventory.listed(), Some(vec![new.id]));
        assert!(inventory.object(handle).is_some_and(|object| *object.id() == old.id));
    }

    #[test]
    fn a_label_follows_the_state() {
        let mut inventory = Inventory::default();
        let mut entry = p256("www", 1);
        inventory.learn_keys(vec![entry.clone()]).unwrap();
        entry.state = State::Superseded;
        inventory.learn_keys(vec![entry.clone()]).unwrap();
        assert!(inventory.labelled(&Label::try_from("www").unwrap()).is_empty());
        assert_eq!(
            inventory.labelled(&Label::try_from("www (superseded)").unwrap()),
            [entry.id]
        );
    }

    #[test]
    fn an_answer_with_a_bad_key_or_certificate_is_not_used() {
        let mut inventory = Inventory::default();
        let mut bad = p256("www", 1);
        bad.id.0[0] ^= 1;
        let listed = Listed::All(snapshot(1), vec![p256("www", 2), bad]);
        assert_eq!(inventory.learn_listing(listed), Err(Unavailable::Protocol));
        assert_eq!(inventory.snapshot(), None);

        let entry = p256("www", 1);
        inventory.learn_keys(vec![entry.clone()]).unwrap();
        let der = certificate(&entry.spki, "leaf", "issuer");
        let chain = |der: Vec<u8>| Chain::try_from(vec![CertificateBytes::try_from(der).unwrap()]).unwrap();
        assert_eq!(
            inventory.learn_chain(entry.id, &chain(der[1..].to_vec()), None).err(),
            Some(Unavailable::Protocol)
        );
        assert_eq!(inventory.learn_chain(entry.id, &chain(der), None).unwrap().len(), 1);
        assert_eq!(inventory.certificates(&entry.id).unwrap().len(), 1);
    }
}
