//! A service that answers, but lacks keys that the agent wrote down.

use cryptoki_sys as ck;
use cryptoki_sys::{CK_ATTRIBUTE_TYPE, CK_OBJECT_HANDLE};
use enclave_wire::objects::Object as Written;
use enclave_wire::signing::Entry;
use enclave_wire::{Chain, State, Usage};

use super::super::attributes::Attribute;
use super::super::deadline::CALL;
use super::super::find::find;
use super::super::memory::{Memory, certificate, p256};
use super::super::template::Template;
use super::*;

/// Three keys that were written down, the first with a chain; then the service lost the first two.
struct Fixture {
    service: Memory,
    inventory: Lock<Inventory>,
}

type Found = Result<Vec<CK_OBJECT_HANDLE>, Unavailable>;

impl Fixture {
    fn new() -> Self {
        let fixture = Self::whole();
        fixture.lose();
        fixture
    }

    fn whole() -> Self {
        let service = Memory::new(vec![www(), api(), mail()]);
        let leaf = certificate(&www().spki, "leaf", "intermediate");
        let issuer = certificate(&p256("ca", 9).spki, "intermediate", "root");
        service.install(www().id, &[&leaf, &issuer]);
        service.publish();
        Self {
            service,
            inventory: Lock::default(),
        }
    }

    fn lose(&self) {
        self.service.remove(www().id);
        self.service.remove(api().id);
    }

    fn find(&self, attributes: &[(CK_ATTRIBUTE_TYPE, &[u8])]) -> Found {
        let template = Template::new(attributes.to_vec());
        find(&self.service, &self.inventory, &template, Deadline::within(CALL))
    }

    fn by_id(&self, entry: &Entry) -> Found {
        self.find(&[PRIVATE, (ck::CKA_ID, &entry.id.0)])
    }

    fn by_label(&self, label: &str) -> Found {
        self.find(&[PRIVATE, (ck::CKA_LABEL, label.as_bytes())])
    }

    /// The values of all attributes that the object has.
    fn attributes(&self, handle: CK_OBJECT_HANDLE) -> Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)> {
        let object = self.inventory.lock().object(handle).unwrap();
        let kinds = (0..0x700).chain([ck::CKA_ALLOWED_MECHANISMS]);
        let value = |kind| match object.attribute(kind) {
            Attribute::Value(value) => Some((kind, value.into_owned())),
            Attribute::Sensitive | Attribute::Absent => None,
        };
        kinds.filter_map(value).collect()
    }

    /// The calls that this makes, and how often it looks at what is written down.
    fn cost(&self, of: impl FnOnce(&Self)) -> (usize, usize) {
        let (calls, looks) = (self.service.calls().len(), self.service.looks());
        of(self);
        let calls = self.service.calls().len().abs_diff(calls);
        (calls, self.service.looks().abs_diff(looks))
    }
}

fn www() -> Entry {
    p256("www", 1)
}

fn api() -> Entry {
    p256("api", 2)
}

fn mail() -> Entry {
    p256("mail", 3)
}

fn sorted(found: Found) -> Vec<CK_OBJECT_HANDLE> {
    let mut handles = found.unwrap();
    handles.sort_unstable();
    handles
}

const PRIVATE: (CK_ATTRIBUTE_TYPE, &[u8]) = (ck::CKA_CLASS, &ck::CKO_PRIVATE_KEY.to_ne_bytes());
const CERTIFICATE: (CK_ATTRIBUTE_TYPE, &[u8]) = (ck::CKA_CLASS, &ck::CKO_CERTIFICATE.to_ne_bytes());

#[test]
fn what_the_service_lacks_is_found_by_every_search_as_if_it_were_there() {
    let told = Fixture::whole();
    let searches: [&[(CK_ATTRIBUTE_TYPE, &[u8])]; 9] = [
        &[],
        &[PRIVATE],
        &[CERTIFICATE],
        &[(ck::CKA_ID, &www().id.0)],
        &[(ck::CKA_LABEL, b"www")],
        &[PRIVATE, (ck::CKA_LABEL, b"api")],
        &[CERTIFICATE, (ck::CKA_LABEL, b"intermediate")],
        &[CERTIFICATE, (ck::CKA_ID, &p256("ca", 9).id.0)],
        &[PRIVATE, (ck::CKA_KEY_TYPE, &ck::CKK_EC.to_ne_bytes())],
    ];
    for search in searches {
        let expected = sorted(told.find(search));
        assert!(!expected.is_empty(), "{search:?}");
        let fixture = Fixture::new();
        assert_eq!(sorted(fixture.find(search)), expected, "{search:?}");
        for handle in &expected {
            assert_eq!(fixture.attributes(*handle), told.attributes(*handle));
        }
        let heard = Fixture::whole();
        heard.find(search).unwrap();
        heard.lose();
        assert_eq!(sorted(heard.find(search)), expected, "{search:?}, after it was there");
    }
    let mut listed = Fixture::new().find(&[]).unwrap();
    listed.sort_unstable();
    listed.dedup();
    assert_eq!(listed.len(), 8, "each once");
}

#[test]
fn what_no_one_names_is_not_found() {
    let fixture = Fixture::new();
    assert_eq!(fixture.by_id(&p256("unknown", 9)), Ok(vec![]));
    assert_eq!(fixture.by_label("unknown"), Ok(vec![]));
    assert_eq!(fixture.find(&[CERTIFICATE, (ck::CKA_LABEL, b"unknown")]), Ok(vec![]));
    let key = fixture.by_id(&www()).unwrap();
    fixture.service.publish();
    assert_eq!(fixture.by_id(&www()), Ok(vec![]), "retired");
    assert_eq!(fixture.by_label("www"), Ok(vec![]));
    assert_eq!(fixture.find(&[PRIVATE]).map(|found| found.len()), Ok(1));
    assert!(
        fixture.inventory.lock().object(key[0]).is_some(),
        "the handle keeps its meaning"
    );
}

#[test]
fn a_key_that_the_service_has_costs_one_call_and_no_look() {
    let fixture = Fixture::new();
    assert_eq!(fixture.cost(|fixture| drop(fixture.by_id(&mail()))), (1, 0));
    assert_eq!(fixture.cost(|fixture| drop(fixture.by_label("mail"))), (1, 0));
    assert_eq!(fixture.cost(|fixture| drop(fixture.find(&[PRIVATE]))), (1, 1));
    assert_eq!(fixture.cost(|fixture| drop(fixture.by_id(&www()))), (1, 1));
    assert_eq!(fixture.cost(|fixture| drop(fixture.by_label("www"))), (2, 1));
    assert_eq!(fixture.cost(|fixture| drop(fixture.find(&[]))), (4, 1), "a chain a key");
}

#[test]
fn the_services_word_about_a_key_that_it_has_goes_before_the_files() {
    let fixture = Fixture::new();
    let mut other = www();
    other.usage = Usage::Digest;
    let handle = fixture.by_id(&www()).unwrap()[0];
    fixture.service.add(other);
    let written = fixture.attributes(handle);
    assert_eq!(fixture.by_id(&www()), Ok(vec![handle]));
    assert_ne!(fixture.attributes(handle), written, "other mechanisms");
    assert_eq!(fixture.find(&[PRIVATE]).map(|found| found.len()), Ok(3), "once");
}

#[test]
fn a_label_is_the_live_keys_of_the_service_and_else_that_of_the_file() {
    let fixture = Fixture::new();
    let old = fixture.by_label("www").unwrap();
    let born_again = p256("www", 7);
    fixture.service.add(born_again.clone());
    let new = fixture.by_label("www").unwrap();
    assert_eq!((old.len(), new.len()), (1, 1));
    assert_ne!(old, new);
    assert_eq!(
        fixture.by_id(&www()),
        Ok(old.clone()),
        "servers name it until they reload"
    );
    let both = fixture.find(&[PRIVATE]).unwrap();
    let place = |handles: &[CK_OBJECT_HANDLE]| both.iter().position(|handle| handles.contains(handle));
    assert!(place(&new) < place(&old), "the service's first");
    assert_eq!(fixture.by_id(&born_again), Ok(new));
}

#[test]
fn a_key_that_the_service_has_under_another_label_is_not_found_by_the_files() {
    let fixture = Fixture::new();
    let mut superseded = www();
    superseded.state = State::Superseded;
    fixture.service.add(superseded);
    assert_eq!(
        fixture.by_label("www"),
        Ok(vec![]),
        "though this process never heard of it"
    );
    assert_eq!(fixture.by_label("www (superseded)").map(|found| found.len()), Ok(1));
}

#[test]
fn a_generation_that_was_heard_to_be_superseded_stays_so_when_it_is_lost() {
    let fixture = Fixture::whole();
    fixture.service.set_state(www().id, State::Superseded);
    fixture.find(&[]).unwrap();
    fixture.lose();
    for _ in 0..2 {
        assert_eq!(fixture.by_label("www"), Ok(vec![]));
        assert_eq!(
            fixture.find(&[(ck::CKA_LABEL, b"www")]),
            Ok(vec![]),
            "nor its certificate"
        );
        assert_eq!(fixture.by_label("www (superseded)"), fixture.by_id(&www()));
        assert_eq!(fixture.by_id(&www()).map(|found| found.len()), Ok(1));
        fixture.find(&[]).unwrap();
    }
}

#[test]
fn what_was_heard_of_a_key_that_is_lost_gives_way_to_the_file() {
    let fixture = Fixture::whole();
    fixture.find(&[]).unwrap();
    fixture.lose();
    let mut superseded = www();
    superseded.state = State::Superseded;
    let chain = Chain::default();
    let objects = vec![Written {
        entry: superseded,
        chain,
    }];
    fixture.service.publish_these(objects.try_into().unwrap());
    let found = fixture.find(&[PRIVATE]);
    assert_eq!(found.map(|found| found.len()), Ok(2), "api is gone from both");
    assert_eq!(fixture.by_label("www"), Ok(vec![]));
    assert_eq!(fixture.by_label("www (superseded)").map(|found| found.len()), Ok(1));
    fixture.service.add(www());
    assert_eq!(
        fixture.by_label("www").map(|found| found.len()),
        Ok(1),
        "the service's word again"
    );
}

#[test]
fn a_chain_that_the_service_lacks_is_the_files() {
    let fixture = Fixture::new();
    fixture.service.add(api());
    let leaf = certificate(&api().spki, "renewed", "intermediate");
    assert_eq!(fixture.find(&[CERTIFICATE]).map(|found| found.len()), Ok(2));
    fixture.service.install(api().id, &[&leaf]);
    fixture.service.publish();
    fixture.service.forget_chains();
    let found = fixture.find(&[CERTIFICATE, (ck::CKA_ID, &api().id.0)]);
    assert_eq!(found.map(|found| found.len()), Ok(1));
    fixture.service.leave(Unavailable::Stalled);
    let found = fixture.find(&[CERTIFICATE, (ck::CKA_ID, &api().id.0)]);
    assert_eq!(found.map(|found| found.len()), Ok(1), "and while it is away");
}

#[test]
fn a_service_that_goes_or_refuses_in_mid_search_is_one_that_is_away_or_refuses() {
    let expected = sorted(Fixture::new().find(&[]));
    for calls in 0..4 {
        let fixture = Fixture::new();
        fixture.service.leave_after(calls, Unavailable::Unreachable);
        assert_eq!(sorted(fixture.find(&[])), expected, "{calls}");
        let fixture = Fixture::new();
        fixture.service.leave_after(calls, Unavailable::Refused);
        assert_eq!(fixture.find(&[]), Err(Unavailable::Refused), "{calls}");
        assert_eq!(fixture.by_label("www"), Err(Unavailable::Refused));
        assert_eq!(fixture.by_id(&www()), Err(Unavailable::Refused));
    }
    for why in [Unavailable::Refused, Unavailable::Protocol] {
        let fixture = Fixture::new();
        fixture.service.leave_after(1, why);
        assert_eq!(fixture.by_label("www"), Err(why));
    }
    let fixture = Fixture::new();
    fixture.service.leave_after(1, Unavailable::Busy);
    assert_eq!(fixture.by_label("www").map(|found| found.len()), Ok(1));
}

#[test]
fn threat_10_a_service_that_refuses_later_takes_back_what_only_the_file_named() {
    let fixture = Fixture::whole();
    fixture.find(&[]).unwrap();
    fixture.lose();
    fixture.find(&[]).unwrap();
    fixture.service.leave(Unavailable::Refused);
    assert_eq!(fixture.by_id(&www()), Err(Unavailable::Refused));
    assert_eq!(fixture.by_label("www"), Err(Unavailable::Refused));
    assert_eq!(
        fixture.find(&[PRIVATE]).map(|found| found.len()),
        Ok(1),
        "what it listed"
    );
}
