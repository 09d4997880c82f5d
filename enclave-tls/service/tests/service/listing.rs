//! What a credential sees, page by page.

use std::collections::BTreeSet;
use std::io::Write as _;

use enclave_wire::control::{ControlError, InstallChain, Reply, Request as ControlRequest};
use enclave_wire::signing::{Entry, List, Listing, Request, SignError};
use enclave_wire::{KeyId, State, Usage};

use super::client::{Client, Identity};
use super::lab::{Lab, chain};

/// Reads a whole listing, or says at which page it changed.
fn read(client: &mut Client) -> Result<(u64, Vec<Entry>, usize), SignError> {
    let (mut entries, mut pages) = (Vec::new(), 0);
    let (mut known, mut cursor) = (0, 0);
    loop {
        let Listing::Page(page) = client.list(known, cursor)? else {
            panic!("unchanged, to a reader who has nothing")
        };
        entries.extend(page.entries.0);
        (known, pages) = (page.version, pages + 1);
        match page.next {
            None => return Ok((known, entries, pages)),
            Some(next) => cursor = next,
        }
    }
}

#[test]
fn thousands_of_keys_come_in_pages() {
    let mut lab = Lab::new();
    let stranger = Identity::new();
    lab.agent.install("stranger", &stranger);
    let mut ids = BTreeSet::new();
    for number in 0..3_000 {
        let clients: &[&str] = if number % 10 == 0 {
            &["stranger"]
        } else {
            &["www", "stranger"]
        };
        let info = lab
            .agent
            .create(&format!("lab-{:04}", number % 1_000), "P-256", Usage::Digest, clients);
        assert_eq!(info.generation, number / 1_000 + 1);
        if number % 10 != 0 {
            ids.insert(info.id);
        }
    }
    let mut client = lab.client();
    let (version, entries, pages) = read(&mut client).unwrap();
    println!("{} keys in {pages} pages", entries.len());
    assert_eq!(entries.iter().map(|entry| entry.id).collect::<BTreeSet<KeyId>>(), ids);
    assert_eq!(entries.len(), ids.len());
    // A reply is at most 8 KiB, for as much as that may stay unread.
    assert!(pages >= entries.len() / 64, "{pages} pages");
    let frame = client.frame(&Request::List(List {
        known_version: 0,
        cursor: 0,
    }));
    client.stream.write_all(&frame).unwrap();
    assert!((4_096..=8_192).contains(&client.read_raw().unwrap().len()));
    assert!(entries.is_sorted_by_key(|entry| (entry.name.clone(), entry.generation)));
    assert_eq!(client.list(version, 0), Ok(Listing::Unchanged));

    // The administrator sees all of them, and each once, while keys come and go between pages.
    let (mut seen, mut cursor) = (BTreeSet::new(), Some(0));
    while let Some(at) = cursor {
        let page = lab.agent.list(at);
        assert!(page.keys.items().len() <= 256);
        for key in page.keys.items() {
            assert!(seen.insert(key.id));
        }
        if let (0, Some(first)) = (at, page.keys.items().first()) {
            lab.agent.retire(first.id).unwrap();
            lab.key("lab-new", "P-256");
        }
        cursor = page.next;
    }
    assert_eq!(seen.len(), 3_001);
}

#[test]
fn a_listing_that_changes_midway_begins_again() {
    let mut lab = Lab::new();
    for _ in 0..600 {
        lab.key("lab-a", "P-256");
    }
    let mut client = lab.client();
    let Ok(Listing::Page(first)) = client.list(0, 0) else {
        panic!("a page")
    };
    let next = first.next.unwrap();
    assert!(client.list(first.version, next).is_ok());
    let changed = lab.key("lab-b", "P-256").id;
    assert_eq!(client.list(first.version, next), Err(SignError::ListChanged));
    assert_eq!(client.list(0, next), Err(SignError::ListChanged));
    let (version, entries, _) = read(&mut client).unwrap();
    assert_eq!((version, entries.len()), (first.version + 1, 601));

    // Each change of what it sees counts; what another client sees does not.
    lab.agent.supersede(changed).unwrap();
    lab.agent.narrow(changed, Usage::Tls).unwrap();
    lab.agent.retire(changed).unwrap();
    let stranger = Identity::new();
    lab.agent.install("stranger", &stranger);
    lab.agent.create("lab-c", "P-256", Usage::Digest, &["stranger"]);
    assert_eq!(read(&mut client).unwrap().0, first.version + 4);
    assert_eq!(read(&mut lab.open(&stranger)).unwrap().1.len(), 1);
}

/// A client keeps the chains of a listing that did not change.
#[test]
fn a_chain_that_is_installed_changes_the_listing() {
    let mut lab = Lab::new();
    let (key, _) = lab.key_with_chain();
    let mut client = lab.client();
    let version = read(&mut client).unwrap().0;
    assert_eq!(client.list(version, 0), Ok(Listing::Unchanged));
    let again = ControlRequest::InstallChain(InstallChain { key, chain: chain() });
    assert!(matches!(lab.agent.call(&again), Reply::ChainInstalled(_)));
    assert_eq!(read(&mut client).unwrap().0, version + 1);
}

#[test]
fn labels_tell_the_live_from_the_superseded() {
    let mut lab = Lab::new();
    let [old, new] = [lab.key("lab-a", "P-256"), lab.key("lab-a", "Ed25519")];
    lab.key("lab-ab", "P-256");
    assert_eq!((old.generation, new.generation), (1, 2));
    let mut client = lab.client();
    let ids = |client: &mut Client, label: &str| -> Vec<KeyId> {
        let page = client.find_by_label(label, 0);
        assert_eq!(page.next, None);
        page.entries.0.iter().map(|entry| entry.id).collect()
    };
    assert_eq!(ids(&mut client, "lab-a"), [old.id, new.id]);
    assert_eq!(lab.agent.supersede(old.id).unwrap().state, State::Superseded);
    assert_eq!(ids(&mut client, "lab-a"), [new.id]);
    assert_eq!(ids(&mut client, "lab-a (superseded)"), [old.id]);
    assert_eq!(ids(&mut client, "nobody"), []);
    let entry = &client.find_by_id(old.id)[0];
    assert_eq!((entry.label().as_str(), &entry.spki), ("lab-a (superseded)", &old.spki));
    // An administrator goes back.
    assert_eq!(lab.agent.reinstate(old.id).unwrap().state, State::Live);
    assert_eq!(lab.agent.reinstate(old.id).unwrap().state, State::Live, "twice is once");
    assert_eq!(ids(&mut client, "lab-a"), [old.id, new.id]);
    assert_eq!(ids(&mut client, "lab-a (superseded)"), []);
    assert_eq!(lab.agent.reinstate(KeyId([0; 32])), Err(ControlError::NoSuchKey));

    // A label's pages repeat the version, and go on from a cursor.
    for _ in 0..600 {
        lab.key("lab-many", "P-256");
    }
    let first = client.find_by_label("lab-many", 0);
    let second = client.find_by_label("lab-many", first.next.unwrap());
    assert_eq!(first.version, second.version);
    let pages = first.entries.0.len() + second.entries.0.len();
    assert!(second.next.is_some() || pages == 600, "{pages}");
    assert_eq!(
        first.entries.0.last().unwrap().generation + 1,
        second.entries.0[0].generation
    );
}

#[test]
fn a_generation_is_never_used_twice() {
    let mut lab = Lab::new();
    for generation in 1..=3 {
        let info = lab.key("lab-a", "P-256");
        assert_eq!(info.generation, generation);
        lab.agent.retire(info.id).unwrap();
    }
    assert_eq!(lab.agent.list(0).total, 0);
    assert!(matches!(
        lab.agent.call(&ControlRequest::Ping),
        enclave_wire::control::Reply::Pong
    ));
}
