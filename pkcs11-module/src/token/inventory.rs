//! What this process knows of the service's keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use cryptoki_sys::CK_OBJECT_HANDLE;
use enclave_wire::signing::{Entry, Label};
use enclave_wire::{Chain, KeyId, Objects};

use super::backend::{Listed, Snapshot, Unavailable};
use super::certificate::Certificate;
use super::object::Object;
use super::public_key::Key;
use super::published::Published;

/// Keys and certificates, as last heard. It answers attributes and `C_SignInit` without a round trip, and finds while the service is
/// away. A forked child begins with a copy.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// What is listed now, and which state of the listing that is.
    listing: Option<(Snapshot, Vec<KeyId>)>,
    keys: BTreeMap<KeyId, Arc<Key>>,
    chains: BTreeMap<KeyId, Vec<Arc<Certificate>>>,
    /// What the agent wrote down. Kept apart from what the service said: where the service refuses, it does not count.
    published: Arc<Published>,
    /// Every object ever seen, so that a handle given out keeps its meaning when its key is listed no more.
    objects: BTreeMap<CK_OBJECT_HANDLE, Object>,
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

    /// Takes in the chain of a key that is known.
    pub(super) fn learn_chain(&mut self, id: KeyId, chain: &Chain) -> Result<(), Unavailable> {
        let Some(key) = self.keys.get(&id) else {
            return Ok(());
        };
        let certificates = Certificate::chain(chain, &key.entry.label()).map_err(|_not_der| Unavailable::Protocol)?;
        for certificate in &certificates {
            self.remember(Object::Certificate(certificate.clone()));
        }
        self.chains.insert(id, certificates);
        Ok(())
    }

    /// Takes in what the agent wrote down. It changes no object that the service itself spoke of.
    pub(super) fn learn_published(&mut self, published: Arc<Published>) {
        for (key, chain) in published.keys() {
            if !self.knows(&key.entry.id) {
                self.remember(Object::PrivateKey(key.clone()));
                self.remember(Object::PublicKey(key.clone()));
            }
            if !self.knows_chain(&key.entry.id) {
                for certificate in chain {
                    self.remember(Object::Certificate(certificate.clone()));
                }
            }
        }
        self.published = published;
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

    /// Whether the service ever gave a key's chain.
    pub(super) fn knows_chain(&self, id: &KeyId) -> bool {
        self.chains.contains_key(id)
    }

    /// The private and the public object of a key.
    pub(super) fn key_objects(&self, id: &KeyId) -> Vec<Object> {
        let key = self.keys.get(id).or_else(|| self.published.key(id));
        key.map_or_else(Vec::new, |key| {
            vec![Object::PrivateKey(key.clone()), Object::PublicKey(key.clone())]
        })
    }

    /// The certificates of a key, leaf first.
    pub(super) fn certificates(&self, id: &KeyId) -> Vec<Object> {
        let chain = self.chains.get(id).map(Vec::as_slice);
        let chain = chain.or_else(|| self.published.chain(id)).unwrap_or_default();
        chain.iter().cloned().map(Object::Certificate).collect()
    }

    /// The object that a handle means.
    pub(super) fn object(&self, handle: CK_OBJECT_HANDLE) -> Option<Object> {
        self.objects.get(&handle).cloned()
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
    use enclave_wire::identity::Certificate as CertificateBytes;
    use enclave_wire::{BootId, State};

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
            inventory.learn_chain(entry.id, &chain(der[1..].to_vec())),
            Err(Unavailable::Protocol)
        );
        inventory.learn_chain(entry.id, &chain(der)).unwrap();
        assert_eq!(inventory.certificates(&entry.id).len(), 1);
    }
}
