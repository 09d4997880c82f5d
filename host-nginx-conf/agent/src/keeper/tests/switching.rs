//! Certificates whose configuration names another account, or another CA, than the one that was asked before.

use enclave_wire::control::JobError;

use super::ca::failure;
use super::ordering::{orders, parsed, text, world};
use super::revoking::{happened, in_an_emergency};
use super::rotating::rotate;
use super::*;

/// The certificate c0000, by the account `ca` or by `other`, which is at another CA.
fn two_cas(account: &str) -> Config {
    let other = "[acme.other]\ndirectory = \"https://other.example/dir\"\nterms_agreed = true\n";
    let text = text(1, other).replace("account = \"ca\"", &format!("account = \"{account}\""));
    parsed(&text.replace("[\"ca.example:443\"]", "[\"ca.example:443\", \"other.example:443\"]"))
}

#[test]
fn an_order_that_is_open_at_one_ca_does_not_hold_up_the_next_ca() {
    let mut world = world(1);
    world.config = two_cas("ca");
    world.enclave.state().ca.fails = Some(failure(JobError::Deadline));
    world.run(MINUTE * 5);
    let before = orders(&world);
    assert!(before > 1);
    world.enclave.state().ca.fails = None;
    world.config = two_cas("other");
    world.run(MINUTE * 2);
    let after = world.enclave.state().ca.orders[before..].to_vec();
    assert_eq!((after.len(), world.live("c0000")), (1, Some(1)));
    assert_eq!(after[0].2, None, "the other CA has no such order");
}

#[test]
fn what_one_ca_is_at_work_on_is_noted_as_its_own_after_a_change_to_another() {
    let mut world = world(1);
    world.config = two_cas("ca");
    world.enclave.state().ca.takes = MINUTE * 10;
    world.run(MINUTE * 5);
    assert_eq!(orders(&world), 1);
    world.config = two_cas("other");
    world.run(MINUTE * 2);
    world.enclave.state().forget_jobs();
    world.run(MINUTE * 12);
    let resumed: Vec<_> = world
        .enclave
        .state()
        .ca
        .orders
        .iter()
        .map(|one| one.2.clone())
        .collect();
    assert_eq!((resumed, world.live("c0000")), (vec![None, None], Some(1)));
}

#[test]
fn a_certificate_is_revoked_by_the_account_and_at_the_ca_that_ordered_it() {
    let mut world = world(1);
    world.config = two_cas("ca");
    world.run(MINUTE * 3);
    assert_eq!(world.live("c0000"), Some(1));
    let first = world.key("ca", 1).unwrap().id;
    world.config = two_cas("other");
    world.run(MINUTE * 3);
    let would = rotate(&mut world, |rotate| {
        in_an_emergency(rotate);
        rotate.dry_run = true;
    });
    assert!(would[0].says.contains("revoked by the CA"), "{}", would[0].says);
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE * 10);
    assert_eq!((happened(&world, "revoked"), world.live("c0000")), (vec![1], Some(2)));
    let asked = world.enclave.state().ca.revokers.clone();
    let asked: Vec<_> = asked
        .iter()
        .map(|(key, directory)| (*key, directory.as_str()))
        .collect();
    assert_eq!(asked, [(first, "https://ca.example/dir")]);
}
