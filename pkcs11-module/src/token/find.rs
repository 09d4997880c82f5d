//! Finding objects: which of those that a search brings match what the caller looks for.

use std::collections::BTreeSet;

use cryptoki_sys::CK_OBJECT_HANDLE;

use super::backend::{Backend, Unavailable};
use super::deadline::Deadline;
use super::inventory::Inventory;
use super::lock::Lock;
use super::object::Object;
use super::search::Search;
use super::template::{Query, Template};

/// Finds every object that matches, in the service's order, and then what it does not have.
///
/// A server starts and reloads without the service, or without one certificate's key in it: what is missing there, the public objects file
/// shows. While the service is away this process's own knowledge answers too, and where both are not enough to say more than "nothing",
/// the call fails instead.
pub(super) fn find(
    backend: &dyn Backend,
    inventory: &Lock<Inventory>,
    template: &Template<'_>,
    deadline: Deadline,
) -> Result<Vec<CK_OBJECT_HANDLE>, Unavailable> {
    let search = Search::new(backend, inventory, deadline);
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

/// Learns which keys there are: from what the agent wrote down, and from the service, or it says why not.
pub(super) fn learn(backend: &dyn Backend, inventory: &Lock<Inventory>, deadline: Deadline) -> Result<(), Unavailable> {
    Search::new(backend, inventory, deadline).learn()
}

/// The handles of those that match, each once: two chains may share an issuer.
fn matching(template: &Template<'_>, objects: Vec<Object>, inventory: &Lock<Inventory>) -> Vec<CK_OBJECT_HANDLE> {
    let inventory = inventory.lock();
    let (mut handles, mut seen) = (Vec::new(), BTreeSet::new());
    for object in objects.iter().filter(|object| template.matches(object)) {
        let handle = object.handle();
        let known = inventory.object(handle).is_some_and(|known| known.same(object));
        if known && seen.insert(handle) {
            handles.push(handle);
        }
    }
    handles
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
    fn a_chain_of_the_same_state_is_fetched_once() {
        let fixture = Fixture::new();
        let chains = || {
            let calls = fixture.service.calls();
            calls.iter().filter(|call| call.starts_with("chain")).count()
        };
        assert_eq!(fixture.find(&[]), Ok(8));
        assert_eq!(chains(), 3, "one a key");
        assert_eq!(fixture.find(&[]), Ok(8));
        assert_eq!(chains(), 3, "also of the two that have none");
        let leaf = certificate(&p256("api", 3).spki, "other", "intermediate");
        fixture.service.install(p256("api", 3).id, &[&leaf]);
        assert_eq!(fixture.find(&[]), Ok(9));
        assert_eq!(chains(), 6, "another state");
        let renewed = certificate(&p256("www", 1).spki, "renewed", "intermediate");
        fixture.service.install(p256("www", 1).id, &[&renewed]);
        let found = fixture.find(&[CERTIFICATE, (ck::CKA_ID, &p256("www", 1).id.0)]);
        assert_eq!(found, Ok(1), "without a listing nothing is known to be current");
        assert_eq!(fixture.find(&[CERTIFICATE]), Ok(2));
    }

    #[test]
    fn a_search_that_ran_out_of_time_goes_on_where_it_ended() {
        let fixture = Fixture::new();
        let entry = rsa_2048("www", 2);
        let leaf = certificate(&entry.spki, "other", "intermediate");
        fixture.service.install(entry.id, &[&leaf]);
        let stalled = Err(Unavailable::Stalled);
        // One of the three has no chain.
        for expected in [stalled, stalled, Ok(3)] {
            fixture.service.leave_after(2, Unavailable::Stalled);
            assert_eq!(fixture.find(&[CERTIFICATE]), expected);
            fixture.service.come_back();
        }
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
    fn of_a_class_that_the_service_knows_nothing_of_it_is_not_asked() {
        let fixture = Fixture::new();
        fixture.service.leave(Unavailable::Unreachable);
        for class in [ck::CKO_PROFILE, ck::CKO_MECHANISM, ck::CKO_SECRET_KEY, ck::CKO_DATA] {
            assert_eq!(fixture.find(&[(ck::CKA_CLASS, &class.to_ne_bytes())]), Ok(0));
        }
        assert_eq!(fixture.service.calls(), [""; 0]);
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
