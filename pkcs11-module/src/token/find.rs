//! Finding objects: what is asked of the service, and what is answered while it is away.

use std::collections::BTreeSet;
use std::sync::Arc;

use cryptoki_sys::CK_OBJECT_HANDLE;
use enclave_wire::KeyId;
use enclave_wire::signing::Label;

use super::backend::{Backend, Unavailable};
use super::deadline::Deadline;
use super::inventory::Inventory;
use super::lock::Lock;
use super::object::Object;
use super::published::Published;
use super::template::{Query, Template};

/// Finds every object that matches, in the service's order.
///
/// While the service is away this process's own knowledge and the public objects file answer, so that a server starts and reloads without
/// it. Where they are not enough to say more than "nothing", the call fails instead.
pub(super) fn find(
    backend: &dyn Backend,
    inventory: &Lock<Inventory>,
    template: &Template<'_>,
    deadline: Deadline,
) -> Result<Vec<CK_OBJECT_HANDLE>, Unavailable> {
    let search = Search {
        backend,
        inventory,
        deadline,
    };
    let mut ids = search.keys(template.query())?;
    let mut objects = Vec::new();
    if template.wants_keys() {
        let inventory = inventory.lock();
        objects.extend(ids.iter().flat_map(|id| inventory.key_objects(id)));
    }
    if template.wants_certificates() {
        if ids.is_empty() && template.query() != Query::All {
            // An issuer's certificate has an id and a label too, but no key here.
            ids = search.listing()?;
        }
        objects.extend(search.certificates(&ids)?);
    }
    Ok(matching(template, objects, inventory))
}

/// Learns which keys there are: from the service, or, and then it says why, from what the agent wrote down.
pub(super) fn learn(backend: &dyn Backend, inventory: &Lock<Inventory>, deadline: Deadline) -> Result<(), Unavailable> {
    let search = Search {
        backend,
        inventory,
        deadline,
    };
    search.learn_listing().inspect_err(|away| {
        search.published(*away);
    })
}

/// The handles of those that match, each once: two chains may share an issuer.
fn matching(template: &Template<'_>, objects: Vec<Object>, inventory: &Lock<Inventory>) -> Vec<CK_OBJECT_HANDLE> {
    let inventory = inventory.lock();
    let mut handles = Vec::new();
    for object in objects.iter().filter(|object| template.matches(object)) {
        let handle = object.handle();
        let known = inventory.object(handle).is_some_and(|known| known.same(object));
        if known && !handles.contains(&handle) {
            handles.push(handle);
        }
    }
    handles
}

struct Search<'a> {
    backend: &'a dyn Backend,
    inventory: &'a Lock<Inventory>,
    deadline: Deadline,
}

impl Search<'_> {
    fn keys(&self, query: Query) -> Result<Vec<KeyId>, Unavailable> {
        match query {
            Query::ById(id) => self.by_id(id),
            Query::ByLabel(label) => self.by_label(&label),
            Query::All => self.listing(),
            Query::Nothing => Ok(Vec::new()),
        }
    }

    /// No lock is held while the service is asked: other threads sign meanwhile.
    fn learn_listing(&self) -> Result<(), Unavailable> {
        let known = self.inventory.lock().snapshot();
        let answer = self.backend.list(known, self.deadline);
        answer.and_then(|listed| self.inventory.lock().learn_listing(listed))
    }

    fn listing(&self) -> Result<Vec<KeyId>, Unavailable> {
        let away = match self.learn_listing() {
            Ok(()) => return self.inventory.lock().listed().ok_or(Unavailable::Protocol),
            Err(away) => away,
        };
        let published = self.published(away);
        let heard = self.inventory.lock().listed();
        if heard.is_none() && published.ids().next().is_none() {
            return Err(away);
        }
        // The file names the live generations alone, and what was heard may be old: only both together are all.
        let mut ids = heard.unwrap_or_default();
        let heard: BTreeSet<_> = ids.iter().copied().collect();
        ids.extend(published.ids().filter(|id| !heard.contains(id)));
        Ok(ids)
    }

    fn by_id(&self, id: KeyId) -> Result<Vec<KeyId>, Unavailable> {
        let answer = self.backend.find_by_id(id, self.deadline);
        let learned = answer.and_then(|entry| self.inventory.lock().learn_keys(entry.into_iter().collect()));
        learned.or_else(|away| {
            let published = self.published(away);
            let is_known = published.key(&id).is_some() || self.inventory.lock().knows(&id);
            if is_known { Ok(vec![id]) } else { Err(away) }
        })
    }

    /// Of a label the file knows more than this process heard: it is written again with each new generation. But a generation that was
    /// heard to be superseded never lives again.
    fn by_label(&self, label: &Label) -> Result<Vec<KeyId>, Unavailable> {
        let answer = self.backend.find_by_label(label, self.deadline);
        let learned = answer.and_then(|entries| self.inventory.lock().learn_keys(entries));
        learned.or_else(|away| {
            let published = self.published(away);
            let inventory = self.inventory.lock();
            let current = published.labelled(label).filter(|id| !inventory.contradicts(id, label));
            let mut known: Vec<_> = current.collect();
            if known.is_empty() {
                known = inventory.labelled(label);
            }
            if known.is_empty() { Err(away) } else { Ok(known) }
        })
    }

    fn certificates(&self, ids: &[KeyId]) -> Result<Vec<Object>, Unavailable> {
        let mut objects = Vec::new();
        for id in ids {
            let answer = self.backend.chain(*id, self.deadline);
            let learned = answer.and_then(|chain| self.inventory.lock().learn_chain(*id, &chain));
            if let Err(away) = learned {
                let published = self.published(away);
                let is_known = published.chain(id).is_some() || self.inventory.lock().knows_chain(id);
                if !is_known {
                    return Err(away);
                }
            }
            objects.extend(self.inventory.lock().certificates(id));
        }
        Ok(objects)
    }

    /// What the agent wrote down, where it counts: while the service could not be asked. Anyone may read the file, so a service that was
    /// asked and refuses this process, or that is none, must not be overruled by it: no key appears to whom the service shows none.
    fn published(&self, why: Unavailable) -> Arc<Published> {
        match why {
            Unavailable::Protocol | Unavailable::Refused => Arc::default(),
            Unavailable::Unreachable | Unavailable::Busy | Unavailable::Stalled => {
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
    }
}

#[cfg(test)]
mod tests {
    use cryptoki_sys as ck;
    use enclave_wire::State;

    use super::super::deadline::CALL;
    use super::super::memory::{Memory, certificate, p256, rsa_2048};
    use super::*;

    struct Fixture {
        service: Memory,
        inventory: Lock<Inventory>,
    }

    impl Fixture {
        fn new() -> Self {
            let service = Memory::new(vec![p256("www", 1), rsa_2048("www", 2), p256("api", 3)]);
            let leaf = certificate(&p256("www", 1).spki, "leaf", "intermediate");
            let issuer = certificate(&p256("ca", 9).spki, "intermediate", "root");
            service.install(p256("www", 1).id, &[&leaf, &issuer]);
            Self {
                service,
                inventory: Lock::default(),
            }
        }

        fn find(&self, attributes: &[(u64, &[u8])]) -> Result<usize, Unavailable> {
            let template = Template::new(attributes.to_vec());
            let deadline = Deadline::within(CALL);
            find(&self.service, &self.inventory, &template, deadline).map(|found| found.len())
        }
    }

    const PRIVATE: (u64, &[u8]) = (ck::CKA_CLASS, &ck::CKO_PRIVATE_KEY.to_ne_bytes());
    const CERTIFICATE: (u64, &[u8]) = (ck::CKA_CLASS, &ck::CKO_CERTIFICATE.to_ne_bytes());
    const WWW: (u64, &[u8]) = (ck::CKA_LABEL, b"www");

    #[test]
    fn everything_is_keys_and_certificates() {
        let fixture = Fixture::new();
        assert_eq!(fixture.find(&[]), Ok(8));
        assert_eq!(fixture.find(&[PRIVATE]), Ok(3));
        assert_eq!(fixture.find(&[PRIVATE, WWW]), Ok(2));
        assert_eq!(fixture.find(&[WWW]), Ok(5));
        assert_eq!(fixture.find(&[CERTIFICATE]), Ok(2));
        assert_eq!(fixture.find(&[CERTIFICATE, (ck::CKA_LABEL, b"intermediate")]), Ok(1));
        assert_eq!(fixture.find(&[PRIVATE, (ck::CKA_ID, &[1; 5])]), Ok(0));
        let id = p256("api", 3).id.0;
        assert_eq!(fixture.find(&[PRIVATE, (ck::CKA_ID, &id)]), Ok(1));
    }

    #[test]
    fn a_second_listing_of_the_same_state_carries_no_keys() {
        let fixture = Fixture::new();
        fixture.find(&[PRIVATE]).unwrap();
        fixture.find(&[PRIVATE]).unwrap();
        assert_eq!(fixture.service.calls(), ["list all", "list unchanged"]);
        fixture.service.set_state(p256("www", 1).id, State::Superseded);
        assert_eq!(fixture.find(&[PRIVATE, WWW]), Ok(1));
        assert_eq!(fixture.find(&[PRIVATE]), Ok(3));
        assert_eq!(fixture.service.calls().last().map(String::as_str), Some("list all"));
    }

    #[test]
    fn no_chain_is_fetched_for_a_private_key() {
        let fixture = Fixture::new();
        fixture.find(&[PRIVATE, WWW]).unwrap();
        fixture.find(&[PRIVATE]).unwrap();
        fixture.find(&[(ck::CKA_KEY_TYPE, &ck::CKK_EC.to_ne_bytes())]).unwrap();
        assert!(fixture.service.calls().iter().all(|call| !call.starts_with("chain")));
    }

    #[test]
    fn while_the_service_is_away_what_is_known_answers() {
        let fixture = Fixture::new();
        fixture.service.leave(Unavailable::Unreachable);
        let away = Err(Unavailable::Unreachable);
        assert_eq!(fixture.find(&[PRIVATE]), away);
        assert_eq!(fixture.find(&[PRIVATE, WWW]), away);
        fixture.service.come_back();
        fixture.find(&[]).unwrap();
        fixture.service.leave(Unavailable::Unreachable);
        assert_eq!(fixture.find(&[]), Ok(8));
        assert_eq!(fixture.find(&[PRIVATE, WWW]), Ok(2));
        assert_eq!(fixture.find(&[PRIVATE, (ck::CKA_ID, &p256("api", 3).id.0)]), Ok(1));
        assert_eq!(fixture.find(&[PRIVATE, (ck::CKA_LABEL, b"unknown")]), away);
        assert_eq!(fixture.find(&[PRIVATE, (ck::CKA_ID, &[9; 32])]), away);
    }

    proptest::proptest! {
        #[test]
        fn threat_49_no_template_panics(attributes: Vec<(u16, Vec<u8>)>) {
            let fixture = Fixture::new();
            let attributes: Vec<_> = attributes.iter().map(|(kind, value)| (u64::from(*kind), value.as_slice())).collect();
            fixture.find(&attributes).unwrap();
        }
    }
}
