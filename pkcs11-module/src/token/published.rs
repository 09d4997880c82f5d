//! What the agent wrote down of the service's keys, taken apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use enclave_wire::objects::Object as Written;
use enclave_wire::signing::Label;
use enclave_wire::{KeyId, Objects};

use super::certificate::Certificate;
use super::der::NotDer;
use super::object::Object;
use super::public_key::Key;

/// The keys of a public objects file, each with its chain. Empty where there is none.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// The file's contents, by which one that was taken apart is known again.
    source: Option<Arc<Objects>>,
    keys: BTreeMap<KeyId, Known>,
}

type Known = (Arc<Key>, Vec<Arc<Certificate>>);

impl Published {
    /// Takes a file's contents apart. Contents that contradict themselves are those of no such file: what was known before stays.
    pub(super) fn new(source: Arc<Objects>, before: &Self) -> Self {
        let keys: Result<_, _> = source.as_slice().iter().map(taken_apart).collect();
        Self {
            source: Some(source),
            keys: keys.unwrap_or_else(|_not_der| before.keys.clone()),
        }
    }

    /// Whether this came from these very contents.
    pub(super) fn came_from(&self, source: &Arc<Objects>) -> bool {
        self.source.as_ref().is_some_and(|mine| Arc::ptr_eq(mine, source))
    }

    /// The contents that this came from.
    pub(super) fn source(&self) -> Option<Arc<Objects>> {
        self.source.clone()
    }

    /// Every key and its chain.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Known> {
        self.keys.values()
    }

    /// The key of this id.
    pub(super) fn key(&self, id: &KeyId) -> Option<&Arc<Key>> {
        self.keys.get(id).map(|(key, _)| key)
    }

    /// The certificates of the key of this id, leaf first.
    pub(super) fn certificates(&self, id: &KeyId) -> Option<Vec<Object>> {
        let (_, chain) = self.keys.get(id)?;
        Some(chain.iter().cloned().map(Object::Certificate).collect())
    }

    /// The ids of all keys.
    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.keys().copied()
    }

    /// The ids of the keys of this label.
    pub(super) fn labelled(&self, label: &Label) -> impl Iterator<Item = KeyId> {
        let keys = self.keys.values().filter(move |(key, _)| key.entry.label() == *label);
        keys.map(|(key, _)| key.entry.id)
    }
}

fn taken_apart(object: &Written) -> Result<(KeyId, Known), NotDer> {
    let chain = Certificate::chain(&object.chain, &object.entry.label())?;
    let key = Key::new(object.entry.clone())?;
    Ok((key.entry.id, (Arc::new(key), chain)))
}

#[cfg(test)]
mod tests {
    use cryptoki_sys as ck;
    use cryptoki_sys::CK_OBJECT_HANDLE;
    use enclave_wire::signing::Entry;
    use enclave_wire::{Objects, State};

    use super::super::backend::{Backend, Unavailable};
    use super::super::deadline::{CALL, Deadline};
    use super::super::find::find;
    use super::super::inventory::Inventory;
    use super::super::lock::Lock;
    use super::super::memory::{Memory, certificate, p256};
    use super::super::template::Template;

    /// A service with a key that has a chain and one that has none, which the agent wrote down; a process that heard of neither.
    struct Fixture {
        service: Memory,
        inventory: Lock<Inventory>,
    }

    type Found = Result<Vec<CK_OBJECT_HANDLE>, Unavailable>;

    impl Fixture {
        fn new() -> Self {
            let service = Memory::new(vec![p256("www", 1), p256("api", 3)]);
            let leaf = certificate(&p256("www", 1).spki, "leaf", "intermediate");
            let issuer = certificate(&p256("ca", 9).spki, "intermediate", "root");
            service.install(p256("www", 1).id, &[&leaf, &issuer]);
            service.publish();
            Self {
                service,
                inventory: Lock::default(),
            }
        }

        fn find(&self, attributes: &[(u64, &[u8])]) -> Found {
            let template = Template::new(attributes.to_vec());
            find(&self.service, &self.inventory, &template, Deadline::within(CALL))
        }

        fn by_id(&self, entry: &Entry) -> Found {
            self.find(&[PRIVATE, (ck::CKA_ID, &entry.id.0)])
        }

        fn by_label(&self, label: &str) -> Found {
            self.find(&[PRIVATE, (ck::CKA_LABEL, label.as_bytes())])
        }
    }

    const PRIVATE: (u64, &[u8]) = (ck::CKA_CLASS, &ck::CKO_PRIVATE_KEY.to_ne_bytes());
    const AWAY: [Unavailable; 3] = [Unavailable::Unreachable, Unavailable::Busy, Unavailable::Stalled];

    fn sorted(found: Found) -> Found {
        found.map(|mut handles| {
            handles.sort_unstable();
            handles
        })
    }

    #[test]
    fn threat_57_while_the_service_is_away_a_process_that_never_heard_it_finds_all_the_same() {
        let told = Fixture::new();
        for why in AWAY {
            let fixture = Fixture::new();
            fixture.service.leave(why);
            assert_eq!(sorted(fixture.find(&[])), sorted(told.find(&[])));
            for entry in [p256("www", 1), p256("api", 3)] {
                assert_eq!(fixture.by_id(&entry), told.by_id(&entry));
                assert_eq!(
                    fixture.by_label(entry.name.as_str()),
                    told.by_label(entry.name.as_str())
                );
            }
            for handle in told.find(&[]).unwrap() {
                let attributes = |fixture: &Fixture| {
                    let object = fixture.inventory.lock().object(handle).unwrap();
                    ATTRIBUTES.map(|kind| format!("{:?}", object.attribute(kind)))
                };
                assert_eq!(attributes(&fixture), attributes(&told));
            }
            assert_eq!(fixture.by_label("unknown"), Err(why));
            assert_eq!(fixture.by_id(&p256("unknown", 9)), Err(why));
            fixture.service.come_back();
            assert_eq!(fixture.find(&[]), told.find(&[]));
        }
    }

    const ATTRIBUTES: [u64; 12] = [
        ck::CKA_CLASS,
        ck::CKA_ID,
        ck::CKA_LABEL,
        ck::CKA_KEY_TYPE,
        ck::CKA_EC_PARAMS,
        ck::CKA_EC_POINT,
        ck::CKA_SIGN,
        ck::CKA_VALUE,
        ck::CKA_SUBJECT,
        ck::CKA_ISSUER,
        ck::CKA_SERIAL_NUMBER,
        ck::CKA_ALLOWED_MECHANISMS,
    ];

    #[test]
    fn threat_10_a_service_that_refuses_is_not_overruled_by_a_file() {
        for why in [Unavailable::Refused, Unavailable::Protocol] {
            let fixture = Fixture::new();
            // Not even by one that was taken in while the service could not be asked.
            fixture.service.leave(Unavailable::Unreachable);
            assert_eq!(fixture.find(&[]).map(|found| found.len()), Ok(6));
            fixture.service.leave(why);
            assert_eq!(fixture.find(&[]), Err(why));
            assert_eq!(fixture.by_id(&p256("www", 1)), Err(why));
            assert_eq!(fixture.by_label("www"), Err(why));
        }
    }

    #[test]
    fn a_service_that_answers_is_believed() {
        let fixture = Fixture::new();
        fixture.service.leave(Unavailable::Unreachable);
        assert_eq!(fixture.by_label("www").map(|found| found.len()), Ok(1));
        fixture.service.come_back();
        fixture.service.set_state(p256("www", 1).id, State::Superseded);
        assert_eq!(fixture.by_label("www"), Ok(vec![]));
        assert_eq!(fixture.by_label("www (superseded)").map(|found| found.len()), Ok(1));
        fixture.service.leave(Unavailable::Unreachable);
        assert_eq!(
            fixture.by_label("www"),
            Err(Unavailable::Unreachable),
            "it said superseded"
        );
    }

    #[test]
    fn what_is_written_later_is_seen_at_the_next_find() {
        let fixture = Fixture::new();
        let renewed = p256("www", 2);
        fixture.find(&[]).unwrap();
        fixture.service.add(renewed.clone());
        fixture.service.remove(p256("www", 1).id);
        fixture.service.leave(Unavailable::Stalled);
        let old = fixture.by_label("www").unwrap();
        assert_eq!(fixture.by_id(&renewed), Err(Unavailable::Stalled));
        fixture.service.publish();
        let new = fixture.by_id(&renewed).unwrap();
        assert_ne!(old, new);
        assert_eq!(fixture.by_label("www"), Ok(new), "the agent lists but the live one");
        assert_eq!(fixture.by_id(&p256("www", 1)), Ok(old), "workers that did not reload");
        assert_eq!(fixture.find(&[PRIVATE]).map(|found| found.len()), Ok(3));
    }

    #[test]
    fn contents_that_contradict_themselves_change_nothing() {
        let fixture = Fixture::new();
        fixture.service.leave(Unavailable::Unreachable);
        let good = fixture.find(&[]);
        let mut bad = p256("www", 1);
        bad.id.0[0] ^= 1;
        fixture.service.add(bad.clone());
        fixture.service.publish();
        assert_eq!(fixture.by_id(&bad), Err(Unavailable::Unreachable));
        assert_eq!(fixture.find(&[]), good);
        let fresh = Fixture::new();
        fresh.service.add(bad);
        fresh.service.publish();
        fresh.service.leave(Unavailable::Unreachable);
        assert_eq!(fresh.find(&[]), Err(Unavailable::Unreachable));
    }

    proptest::proptest! {
        #[test]
        fn threat_49_no_file_panics(edits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..4)) {
            let fixture = Fixture::new();
            let mut file = fixture.service.published().unwrap().to_file();
            for (at, byte) in edits {
                let at = at.index(file.len());
                file[at] = byte;
            }
            if let Ok(objects) = Objects::parse(&file) {
                fixture.service.publish_these(objects);
            }
            fixture.service.leave(Unavailable::Unreachable);
            let _ = fixture.find(&[]);
            let _ = fixture.by_label("www");
        }
    }
}
