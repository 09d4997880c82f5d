//! The store: what is in it, for whom, and how much.

mod change;
mod restore;

use enclave_wire::control::{Listed, Origin};
use enclave_wire::credential::Verifier;
use enclave_wire::signing::{Listing, SignError};
use enclave_wire::{DnsName, KeyType, Mechanism, Usage};

use super::*;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

fn store(clients: &[&str]) -> KeyStore {
    let store = KeyStore::default();
    for (number, client) in (0u8..).zip(clients) {
        install(&store, client, number).unwrap();
    }
    store
}

fn install(store: &KeyStore, client: &str, number: u8) -> Result<(), ControlError> {
    store.install_credential(name(client), CredentialId([number; 16]), Verifier([number; 32]))
}

fn credential(store: &KeyStore, number: u8) -> Option<Arc<Credential>> {
    store.credential(&CredentialId([number; 16]))
}

fn new_key(label: &str, clients: &[&str]) -> NewKey {
    let clients: Vec<Name> = clients.iter().map(|client| name(client)).collect();
    NewKey {
        signing: SigningKey::generate(KeyType::P256).unwrap(),
        name: name(label),
        usage: Usage::Digest,
        origin: Origin::Born,
        dns_names: Listed::<DnsName, 100>::try_from(Vec::new()).unwrap(),
        clients: clients.try_into().unwrap(),
        chain: None,
        sealed: None,
    }
}

fn insert(store: &KeyStore, new: NewKey) -> Result<Arc<Key>, ControlError> {
    apply(store, Change::Insert(Box::new(new)))
}

/// As the agent stores every state.
fn apply(store: &KeyStore, change: Change) -> Result<Arc<Key>, ControlError> {
    store.commit(store.plan(change)?)
}

#[test]
fn a_third_credential_takes_the_oldests_place() {
    let store = store(&[]);
    for number in [1, 2] {
        install(&store, "www", number).unwrap();
    }
    let first = credential(&store, 1).unwrap();
    install(&store, "www", 1).unwrap();
    assert!(!first.is_replaced(), "the same again is the same");
    assert!(Arc::ptr_eq(&first, &credential(&store, 1).unwrap()));
    install(&store, "www", 3).unwrap();
    assert!(credential(&store, 2).is_none(), "1 was seen after 2");
    assert!(!first.is_replaced());
    // The same id with another verifier is another credential.
    store
        .install_credential(name("www"), CredentialId([1; 16]), Verifier([9; 32]))
        .unwrap();
    assert!(first.is_replaced());
    assert_eq!(install(&store, "other", 1), Err(ControlError::Failed));
}

#[test]
fn seats_are_given_back() {
    let store = store(&["www"]);
    let credential = credential(&store, 0).unwrap();
    let seats: Vec<Seat> = (0..2).map_while(|_| credential.take_seat(2)).collect();
    assert!(credential.take_seat(2).is_none());
    drop(seats);
    assert!(credential.take_seat(2).is_some());
}

#[test]
fn clients_are_limited() {
    let store = KeyStore::default();
    let install = |number: u32| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        store.install_credential(name(&format!("client-{number}")), CredentialId(id), Verifier([0; 32]))
    };
    for number in 0..512 {
        install(number).unwrap();
    }
    assert_eq!(install(512), Err(ControlError::LimitReached));
    assert_eq!(install(0), Ok(()), "those that are here are renewed");
}

#[test]
fn keys_and_names_are_limited() {
    let store = store(&["www"]);
    let known = |last_generation| NameRecord {
        last_generation,
        ..NameRecord::default()
    };
    store.write().names = (0..MAX_NAMES)
        .map(|number| (name(&format!("n{number}")), known(1)))
        .collect();
    assert_eq!(
        insert(&store, new_key("new", &[])).err(),
        Some(ControlError::LimitReached)
    );
    assert_eq!(
        insert(&store, new_key("n7", &[]))
            .map(|key| key.entry().generation)
            .ok(),
        Some(2)
    );
    let key = insert(&store, new_key("n7", &[])).unwrap();
    {
        let mut inner = store.write();
        for number in inner.keys.len()..MAX_KEYS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            inner.keys.insert(KeyId(id), Arc::clone(&key));
        }
    }
    assert_eq!(store.admits(&name("n7"), &[], None), Err(ControlError::LimitReached));
    store.write().names.insert(name("last"), known(u32::MAX));
    apply(&store, Change::Retire(key.id())).unwrap();
    assert_eq!(
        insert(&store, new_key("last", &[])).err(),
        Some(ControlError::LimitReached)
    );
}

/// A retired key is dropped, and with that wiped, once nothing signs with it.
#[test]
fn retire_forgets() {
    let store = store(&["www"]);
    let id = insert(&store, new_key("a", &["www"])).unwrap().id();
    let signing = store.get(&id).unwrap();
    let weak = Arc::downgrade(&signing);
    drop(apply(&store, Change::Retire(id)).unwrap());
    assert_eq!(apply(&store, Change::Retire(id)).err(), Some(ControlError::NoSuchKey));
    assert!(weak.upgrade().is_some(), "a signature is still being made");
    drop(signing);
    assert!(weak.upgrade().is_none());
    assert!(credential(&store, 0).unwrap().client().find(&id).is_none());
}

#[test]
fn pages_keep_to_their_budget() {
    let store = store(&["www"]);
    for _ in 0..9 {
        insert(&store, new_key("a", &["www"])).unwrap();
    }
    let credential = credential(&store, 0).unwrap();
    let one = store.page(0, usize::MAX, 1).keys[0].to_bytes().len();
    let page = store.page(0, 4 * one, 256);
    assert_eq!((page.keys.len(), page.next, page.total), (4, Some(4), 9));
    assert_eq!(store.page(4, usize::MAX, 2).next, Some(6));
    assert_eq!(store.page(9, usize::MAX, 2).keys.len(), 0);

    let Ok(Listing::Page(page)) = credential.client().list(0, 0, usize::MAX) else {
        panic!("a page")
    };
    let lengths: Vec<usize> = page.entries.0.iter().map(|entry| entry.to_bytes().len()).collect();
    let three: usize = lengths[..3].iter().sum();
    for (budget, count) in [(three, 3), (three - 1, 2), (three + 1, 3)] {
        let Ok(Listing::Page(page)) = credential.client().list(0, 0, budget) else {
            panic!("a page")
        };
        assert_eq!((page.entries.0.len(), page.next), (count, Some(count as u32)));
    }
    let Ok(Listing::Page(beyond)) = credential.client().list(page.version, 99, usize::MAX) else {
        panic!("a page")
    };
    assert_eq!((beyond.entries.0.len(), beyond.next), (0, None));
}

#[test]
fn counters_are_sorted_by_use() {
    let store = store(&[]);
    let [a, b] = ["a", "b"].map(|label| insert(&store, new_key(label, &[])).unwrap());
    a.count(Mechanism::Ecdsa, Ok(()));
    for outcome in [Ok(()), Err(SignError::UsageRefused), Err(SignError::Failed)] {
        b.count(Mechanism::EcdsaSha256, outcome);
    }
    // A record that took another's place counts on.
    let b = apply(&store, Change::Supersede(b.id())).unwrap();
    b.count(Mechanism::EcdsaSha256, Ok(()));
    let counters = store.counters(8);
    assert_eq!(counters.iter().map(|c| c.key).collect::<Vec<_>>(), [b.id(), a.id()]);
    assert_eq!((counters[0].signed, counters[0].refused, counters[0].failed), (2, 1, 1));
    assert_eq!(store.counters(1).len(), 1);
}
