//! What is remembered of keys while AWS does not open what is stored of them, after a restart of the enclave.

use std::collections::BTreeMap;

use enclave_tls_admin::report::{Ask, Rotate};
use enclave_wire::{Chain, Name};

use super::ordering::{orders, serving, skip, told_to_come_again, world};
use super::revoking::{happened, in_an_emergency};
use super::rotating::{outcomes, rotate};
use super::*;

/// What is stored of an enclave.
struct Stored {
    keys: Vec<KeyInfo>,
    chains: BTreeMap<KeyId, Chain>,
    last_generation: BTreeMap<Name, u32>,
    run: u32,
}

/// The enclave restarts, and nothing of it is open.
fn close(world: &World) -> Stored {
    let stored = lose(world);
    let closed = |key: &KeyInfo| (key.name.clone(), "KMS is away".to_owned());
    world.enclave.state().not_open = stored.keys.iter().map(closed).collect();
    stored
}

/// The enclave restarts, and nothing says that something of it was stored.
fn lose(world: &World) -> Stored {
    let stored = {
        let state = world.enclave.state();
        Stored {
            keys: state.keys.clone(),
            chains: state.chains.clone(),
            last_generation: state.last_generation.clone(),
            run: state.run,
        }
    };
    world.enclave.restart();
    world.enclave.state().forget_jobs();
    stored
}

fn open(world: &World, stored: Stored) {
    let mut state = world.enclave.state();
    state.not_open.clear();
    (state.keys, state.chains, state.run) = (stored.keys, stored.chains, stored.run);
    state.last_generation = stored.last_generation;
}

/// Another enclave, and another agent, some hours before KMS is back.
fn outage(world: &mut World) {
    let stored = close(world);
    world.run(HOUR);
    world.restart_agent();
    world.run(HOUR * 2);
    open(world, stored);
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

#[test]
fn threat_37_an_account_is_known_again_after_an_outage_of_kms_and_renewals_go_on() {
    let mut world = serving(1);
    let stored = close(&world);
    world.run(HOUR);
    open(&world, stored);
    world.forget_counts();
    world.run(HOUR);
    let id = world.key("ca", 1).unwrap().id;
    assert!(world.keeper.memory.attempts().account(id).is_some());
    assert_eq!(
        (world.asked("Create"), world.asked("Begin")),
        (0, 0),
        "nothing is asked anew"
    );
    skip(&mut world, DAY * 63, HOUR);
    assert_eq!((orders(&world), world.live("c0000")), (2, Some(2)));
}

#[test]
fn an_account_whose_url_was_forgotten_is_registered_again_in_the_same_run() {
    let mut world = serving(1);
    let stored = lose(&world);
    world.pass();
    open(&world, stored);
    let id = world.key("ca", 1).unwrap().id;
    assert!(world.keeper.memory.attempts().account(id).is_none());
    world.run(MINUTE);
    assert!(world.keeper.memory.attempts().account(id).is_some());
    world.enclave.state().ca.orders.clear();
    skip(&mut world, DAY * 63, HOUR);
    assert_eq!((orders(&world), world.live("c0000")), (1, Some(2)));
}

#[test]
fn threat_52_a_ca_that_says_when_to_come_again_is_not_asked_before_whatever_restarts() {
    let mut world = told_to_come_again();
    world.run(HOUR);
    outage(&mut world);
    skip(&mut world, DAY * 3 - HOUR * 5, HOUR);
    assert_eq!(orders(&world), 1);
    world.enclave.state().ca.fails = None;
    skip(&mut world, HOUR * 14, MINUTE * 10);
    assert_eq!(world.live("c0000"), Some(1));
    let again = world.enclave.state().ca.orders.clone();
    assert_eq!(again.len(), 2);
    assert_eq!(
        again[1].2.as_ref().map(|url| url.as_str()),
        Some("https://ca.example/order/1"),
        "by its URL"
    );
}

#[test]
fn an_order_that_was_under_way_takes_nobodys_place_meanwhile_and_is_resumed() {
    let mut world = world(1);
    world.enclave.state().ca.takes = MINUTE * 5;
    world.run(MINUTE);
    assert_eq!(world.keeper.memory.attempts().under_way(), 1);
    let stored = close(&world);
    world.run(HOUR);
    assert_eq!(world.keeper.memory.attempts().under_way(), 0);
    open(&world, stored);
    world.run(MINUTE * 7);
    let again = world.enclave.state().ca.orders.clone();
    assert_eq!((again.len(), world.live("c0000")), (2, Some(1)));
    assert_eq!(
        again[1].2.as_ref().map(|url| url.as_str()),
        Some("https://ca.example/order/1")
    );
}

#[test]
fn threat_53_a_key_that_is_not_to_be_trusted_ends_all_the_same_after_an_outage() {
    let mut world = World::serving(1);
    let rotate = Rotate {
        certificate: Some("c0000".to_owned()),
        revoke: Some("key-compromise".to_owned()),
        ..Rotate::default()
    };
    world.keeper.command(&world.config, Ask::Rotate(rotate), 1_000);
    outage(&mut world);
    world.run(MINUTE);
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE * 5);
    assert_eq!(
        (world.live("c0000"), world.key("c0000", 1)),
        (Some(2), None),
        "no grace time"
    );
}

/// Which keys there are is known once they are open: all of them are meant.
#[test]
fn threat_53_an_emergency_that_was_asked_for_in_an_outage_begins_after_it() {
    let mut world = serving(2);
    rotate(&mut world, |_| ());
    world.run(MINUTE * 5);
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    world.forget_counts();
    let stored = close(&world);
    // The agent may not have looked since.
    let asked = rotate(&mut world, in_an_emergency);
    assert_eq!(outcomes(&asked), [("c0000", "due")]);
    let says = &asked[0].says;
    assert!(
        says.contains("(key-compromise)")
            && says.contains("once what is stored of it is open")
            && says.contains("KMS is away"),
        "{says}"
    );
    // Whoever asks for less takes nothing back.
    rotate(&mut world, |_| ());
    let (state, note) = world.state_of("c0000");
    assert!(note.contains("not to be trusted (key-compromise)"), "{state}: {note}");
    world.run(HOUR);
    world.restart_agent();
    world.run(HOUR);
    assert_eq!((world.asked("Create"), world.asked("Supersede")), (0, 0));
    assert!(world.state_of("c0000").1.contains("not to be trusted (key-compromise)"));
    open(&world, stored);
    world.run(MINUTE * 10);
    assert_eq!((world.live("c0000"), world.live("c0001")), (Some(3), Some(1)));
    assert_eq!((world.key("c0000", 1), world.key("c0000", 2)), (None, None));
    assert_eq!(happened(&world, "revoked").len(), 2);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

#[test]
fn new_keys_that_were_asked_for_in_an_outage_are_made_after_it_one_after_another() {
    let mut world = serving(4);
    let stored = close(&world);
    world.run(MINUTE);
    let all = rotate(&mut world, |rotate| rotate.certificate = None);
    assert!(all.iter().all(|one| one.outcome == "due"), "{all:?}");
    world.run(HOUR);
    open(&world, stored);
    world.enclave.state().ca.orders.clear();
    world.run(MINUTE);
    assert!((1..4).contains(&orders(&world)), "{}", orders(&world));
    world.run(MINUTE * 4);
    assert_eq!(orders(&world), 4);
    for n in 0..4 {
        assert_eq!(world.live(&format!("c000{n}")), Some(2));
    }
}

#[test]
fn threat_53_a_grace_time_goes_on_over_an_outage() {
    let mut world = World::serving(1);
    world.enclave.create_next("c0000", world.clock.now());
    world.pass();
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    world.run(DAY / 2);
    outage(&mut world);
    world.run(DAY / 2 - HOUR * 3 - MINUTE * 5);
    assert!(world.key("c0000", 1).is_some());
    world.run(MINUTE * 10);
    assert!(world.key("c0000", 1).is_none());
}

#[test]
fn what_was_taken_back_is_said_until_its_key_is_gone() {
    let mut world = World::serving(1);
    let (key, its) = (world.key("c0000", 1).unwrap(), name("c0000"));
    world.keeper.memory.rotations_mut().took_back(&its, &key, "no", 0);
    let stored = close(&world);
    world.pass();
    assert!(world.keeper.memory.rotations().taken_back(&its).is_some());
    // Another's is no reason.
    world.enclave.state().not_open = BTreeMap::from([(name("other"), "KMS is away".to_owned())]);
    world.pass();
    assert!(world.keeper.memory.rotations().taken_back(&its).is_none());
    open(&world, stored);
}

#[test]
fn what_is_open_and_gone_is_forgotten() {
    let mut world = World::serving(1);
    world.enclave.create_next("c0000", world.clock.now());
    world.pass();
    world.keeper.memory.save().unwrap();
    let written = |world: &World| std::fs::read_to_string(world.directory.path().join("keeper.json")).unwrap();
    let id = world.key("c0000", 1).unwrap().id.to_string();
    assert!(written(&world).contains(&id) && !written(&world).contains("absent"));
    let stored = close(&world);
    world.run(MINUTE);
    assert!(written(&world).contains("absent"));
    skip(&mut world, DAY * 31, HOUR);
    assert!(!written(&world).contains(&id), "not for ever");
    open(&world, stored);
}

#[test]
fn threat_53_what_left_the_configuration_before_it_was_open_is_distrusted_once_it_is() {
    let mut world = serving(2);
    let id = world.key("c0000", 1).unwrap().id;
    let stored = close(&world);
    world.run(MINUTE);
    let told = rotate(&mut world, in_an_emergency);
    assert_eq!(outcomes(&told), [("c0000", "due")]);
    world.config.certificates.retain(|name, _| name.as_str() != "c0000");
    world.run(MINUTE);
    world.restart_agent();
    world.run(MINUTE);
    let problems = || world.keeper.found.lock().problems.clone();
    assert!(
        problems().len() == 1 && problems()[0].contains("c0000") && problems()[0].contains("is not open"),
        "{:?}",
        problems()
    );
    open(&world, stored);
    world.run(MINUTE);
    let problems = world.keeper.found.lock().problems.clone();
    assert!(
        problems.len() == 1 && problems[0].contains(&format!("enclave-tlsctl retire {id}")),
        "{problems:?}"
    );
}

#[test]
fn an_order_that_waits_for_its_account_for_long_says_so() {
    let mut world = super::ordering::sealed(2);
    let closed = (name("ca"), "KMS is away".to_owned());
    world.enclave.state().not_open.extend([closed]);
    world.run(MINUTE);
    assert_eq!(world.state_of("c0000").0, "waiting-for-certificate");
    let said = world.said();
    world.run(HOUR);
    for certificate in ["c0000", "c0001"] {
        let (state, note) = world.state_of(certificate);
        assert_eq!(state, "failed");
        assert!(
            note.contains("its account ca") && note.contains("KMS is away"),
            "{note}"
        );
    }
    assert_eq!(world.said(), said, "the replay's line is enough");
    world.enclave.state().not_open.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.state_of("c0001"), ("served".to_owned(), String::new()));
}

#[test]
fn an_account_that_is_being_registered_for_long_is_a_trouble_in_one_line() {
    let mut world = super::ordering::world(2);
    world.enclave.state().ca.slow_accounts = true;
    world.run(MINUTE);
    let said = world.said();
    assert_eq!(world.keeper.found.lock().accounts[0].problem, None);
    world.run(HOUR);
    let problem = world.keeper.found.lock().accounts[0].problem.clone().unwrap();
    assert!(problem.contains("not been registered"), "{problem}");
    assert!(world.state_of("c0001").1.contains(&problem));
    assert_eq!(world.said(), said + 1);
    world.enclave.state().ca.slow_accounts = false;
    world.enclave.state().forget_jobs();
    world.run(MINUTE * 2);
    assert_eq!(world.state_of("c0001"), ("served".to_owned(), String::new()));
    assert_eq!(world.keeper.found.lock().accounts[0].problem, None);
}
