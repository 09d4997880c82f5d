//! Keys that are not to be trusted: what is revoked, what waits for it, and what is said meanwhile.

use enclave_tls_admin::report::{Ask, Change, Revoke, Rotate};
use enclave_wire::control::JobError;

use super::rotating::{ask, ordered, outcomes, roll_back, rotate};
use super::*;

pub(super) fn in_an_emergency(rotate: &mut Rotate) {
    (rotate.now, rotate.revoke) = (true, Some("key-compromise".to_owned()));
}

fn revoke(world: &mut World, what: &str) -> Vec<Change> {
    let revoke = Revoke {
        what: what.to_owned(),
        reason: "key-compromise".to_owned(),
        dry_run: false,
    };
    ask(world, Ask::Revoke(revoke)).unwrap()
}

pub(super) fn happened(world: &World, what: &str) -> Vec<u32> {
    let history = world.keeper.history.of("c0000").unwrap();
    let its = history.into_iter().filter(|one| one.what == what);
    its.filter_map(|one| one.generation).collect()
}

fn serial(world: &World, generation: u32) -> String {
    let key = world.key("c0000", generation).unwrap();
    world.keeper.chains.serial(&key).unwrap()
}

/// The CA refuses to revoke.
fn that_refuses() -> World {
    let world = ordered();
    world.enclave.state().ca.refuses_revocations = Some(super::ca::failure(JobError::Order));
    world
}

#[test]
fn what_was_superseded_before_the_emergency_is_revoked_too() {
    let mut world = ordered();
    rotate(&mut world, |_| ());
    world.run(MINUTE * 10);
    assert_eq!(world.live("c0000"), Some(2));
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE * 10);
    assert_eq!(world.live("c0000"), Some(3));
    assert_eq!((world.key("c0000", 1), world.key("c0000", 2)), (None, None));
    assert_eq!(happened(&world, "revoked"), [1, 2]);
    assert_eq!(happened(&world, "retired"), [1, 2]);
    assert_eq!(world.enclave.state().ca.revocations.len(), 2, "once each");
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

#[test]
fn threat_53_a_key_that_waits_from_before_an_emergency_is_never_served() {
    let mut world = World::serving(1);
    rotate(&mut world, |_| ());
    let older = world.key("c0000", 2).unwrap();
    let would = rotate(&mut world, |rotate| {
        in_an_emergency(rotate);
        rotate.dry_run = true;
    });
    assert_eq!(outcomes(&would), [("c0000", "would-make")]);
    assert!(
        would[0].says.contains("generation 1, generation 2"),
        "{}",
        would[0].says
    );
    let made = rotate(&mut world, in_an_emergency);
    assert_eq!(
        (outcomes(&made), made[0].generation),
        (vec![("c0000", "made")], Some(3))
    );
    // Its certificate comes all the same.
    world.enclave.install(&older, world.clock.now(), 1);
    world.run(HOUR);
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(1), 0));
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE * 3);
    assert_eq!(world.live("c0000"), Some(3));
    assert_eq!((world.key("c0000", 1), world.key("c0000", 2)), (None, None));
    // One from after it is as good as any.
    rotate(&mut world, |_| ());
    assert_eq!(outcomes(&rotate(&mut world, |_| ())), [("c0000", "waits")]);
}

/// An emergency ten minutes ago, and an order from before it, of this key, that is still under way.
pub(super) fn late() -> (World, KeyId) {
    let mut world = ordered();
    world.enclave.state().ca.takes = MINUTE * 20;
    rotate(&mut world, |_| ());
    world.run(MINUTE);
    let older = world.key("c0000", 2).unwrap().id;
    rotate(&mut world, in_an_emergency);
    world.enclave.state().ca.takes = Duration::from_secs(1);
    world.enclave.state().ca.slow = Some((older, MINUTE * 20));
    world.run(MINUTE * 10);
    (world, older)
}

/// Its certificate would be valid, so it is waited for and revoked.
#[test]
fn threat_53_an_order_from_before_an_emergency_is_revoked_once_it_comes() {
    let (mut world, _) = late();
    assert_eq!(world.live("c0000"), Some(3));
    assert!(world.key("c0000", 1).is_none() && world.key("c0000", 2).is_some());
    world.run(MINUTE * 30);
    assert_eq!((world.live("c0000"), world.key("c0000", 2)), (Some(3), None));
    assert_eq!(happened(&world, "revoked"), [1, 2]);
}

#[test]
fn threat_53_a_key_from_before_an_emergency_that_cannot_be_set_aside_is_tried_again() {
    let mut world = World::serving(1);
    rotate(&mut world, |_| ());
    world.enclave.state().refuses = Some(("Supersede", enclave_wire::control::ControlError::AwsUnavailable));
    rotate(&mut world, in_an_emergency);
    assert_eq!(world.state_of("c0000").0, "served-with-a-problem");
    world.run(MINUTE * 5);
    world.enclave.state().refuses = None;
    world.run(MINUTE);
    assert_eq!(world.key("c0000", 2).unwrap().state, State::Superseded);
    assert!(world.key("c0000", 3).is_some());
}

#[test]
fn a_certificate_that_has_ended_is_not_revoked() {
    let mut world = ordered();
    rotate(&mut world, |_| ());
    world.run(MINUTE * 10);
    let id = world.key("c0000", 1).unwrap().id;
    let now = world.clock.now();
    for key in world.enclave.state().keys.iter_mut().filter(|key| key.id == id) {
        key.validity = key.validity.map(|validity| Validity {
            not_after: now - 86_400 * 365 * 30,
            ..validity
        });
    }
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE * 10);
    assert_eq!(happened(&world, "revoked"), [2]);
    assert_eq!(happened(&world, "retired"), [1, 2]);
}

#[test]
fn a_ca_that_refuses_for_days_is_asked_until_it_has_revoked() {
    let mut world = that_refuses();
    let first = world.key("c0000", 1).unwrap().id;
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE * 10);
    let serial = serial(&world, 1);
    world.run(DAY * 2);
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(2), 0));
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("its revocation was asked for (key-compromise)") && note.contains("said the CA"),
        "{note}"
    );
    assert!(
        note.contains(&format!("generation 1, serial number {serial}")),
        "{note}"
    );
    let asked = world.enclave.state().ca.revocations.len();
    assert!(asked > 5, "{asked}");
    world.restart_agent();
    world.enclave.state().ca.refuses_revocations = None;
    world.run(HOUR * 2);
    assert_eq!(happened(&world, "revoked"), [1]);
    assert_eq!(world.key("c0000", 1), None);
    assert!(world.enclave.state().ca.revocations.iter().all(|id| *id == first));
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

#[test]
fn one_that_the_ca_refuses_does_not_hold_up_another() {
    let mut world = that_refuses();
    rotate(&mut world, |_| ());
    world.run(MINUTE * 10);
    rotate(&mut world, in_an_emergency);
    world.run(HOUR * 3);
    let asked = world.enclave.state().ca.revocations.clone();
    for generation in [1, 2] {
        let id = world.key("c0000", generation).unwrap().id;
        assert!(asked.contains(&id), "generation {generation}");
    }
}

#[test]
fn what_was_wiped_before_it_was_revoked_is_said_until_somebody_says_that_it_is_done() {
    let mut world = that_refuses();
    let id = world.key("c0000", 1).unwrap().id;
    rotate(&mut world, in_an_emergency);
    world.run(HOUR);
    let serial = serial(&world, 1);
    world.enclave.state().keys.retain(|key| key.id != id);
    world.run(DAY);
    world.restart_agent();
    world.run(HOUR);
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains(&format!("have the CA revoke serial number {serial}")),
        "{note}"
    );
    let told = revoke(&mut world, &id.to_string());
    assert_eq!(outcomes(&told), [("c0000", "ask-ca")]);
    assert_eq!(told[0].serial.as_ref(), Some(&serial));
    world.run(MINUTE);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

/// Nothing newer is served, so nobody has begun to have it revoked.
#[test]
fn threat_53_what_is_wiped_in_an_emergency_before_another_is_served_is_said_until_it_is_revoked() {
    let mut world = ordered();
    let id = world.key("c0000", 1).unwrap().id;
    world.enclave.state().ca.takes = HOUR * 5;
    rotate(&mut world, in_an_emergency);
    let serial = serial(&world, 1);
    world.enclave.state().keys.retain(|key| key.id != id);
    world.run(MINUTE);
    let by_hand = format!("have the CA revoke serial number {serial}");
    assert!(
        world.state_of("c0000").1.contains(&by_hand),
        "{:?}",
        world.state_of("c0000")
    );
    world.restart_agent();
    world.run(HOUR * 6);
    assert_eq!(world.live("c0000"), Some(2));
    assert!(
        world.state_of("c0000").1.contains(&by_hand),
        "{:?}",
        world.state_of("c0000")
    );
    assert!(!world.state_of("c0000").1.contains("by itself"));
    assert_eq!(outcomes(&revoke(&mut world, &id.to_string())), [("c0000", "ask-ca")]);
    assert_eq!(
        (happened(&world, "gone"), happened(&world, "revoked")),
        (vec![1], vec![1])
    );
    world.run(MINUTE);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

#[test]
fn threat_53_a_key_that_is_lost_in_an_emergency_with_its_enclave_is_said_too() {
    let mut world = World::serving(1);
    rotate(&mut world, in_an_emergency);
    let serial = serial(&world, 1);
    world.enclave.restart();
    world.restart_agent();
    world.run(MINUTE);
    let note = world.state_of("c0000").1;
    assert!(
        note.contains(&format!("have the CA revoke serial number {serial}")),
        "{note}"
    );
}

#[test]
fn threat_53_an_agent_that_is_killed_by_what_an_emergency_begins_goes_on_with_it() {
    let mut world = ordered();
    world.enclave.state().kills = Some("Create");
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rotate(&mut world, in_an_emergency)));
    assert!(killed.is_err());
    world.enclave.state().kills = None;
    world.restart_agent();
    world.run(MINUTE * 10);
    assert_eq!((world.live("c0000"), world.key("c0000", 1)), (Some(2), None));
    assert_eq!(happened(&world, "revoked"), [1]);
}

#[test]
fn what_was_wiped_before_it_was_revoked_is_said_no_longer_than_its_certificate_lasts() {
    let mut world = that_refuses();
    let id = world.key("c0000", 1).unwrap().id;
    revoke(&mut world, "c0000");
    rotate(&mut world, |_| ());
    world.run(HOUR);
    world.enclave.state().keys.retain(|key| key.id != id);
    world.run(HOUR);
    assert!(world.state_of("c0000").1.contains("have the CA revoke"));
    world.leap(DAY * 91);
    world.run(HOUR);
    assert!(
        !world.state_of("c0000").1.contains("revoke"),
        "{}",
        world.state_of("c0000").1
    );
}

#[test]
fn what_is_revoked_of_a_certificate_that_left_the_configuration_is_said_all_the_same() {
    let mut world = that_refuses();
    revoke(&mut world, "c0000");
    world.run(HOUR);
    let serial = serial(&world, 1);
    world.config.certificates.clear();
    world.run(MINUTE);
    let said = world.said();
    world.run(HOUR);
    assert_eq!(world.said(), said, "once");
    let problems = world.keeper.found.lock().problems.clone();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains(&serial) && problems[0].contains("certificate c0000"),
        "{problems:?}"
    );
}

#[test]
fn threat_53_a_key_that_is_not_to_be_trusted_and_left_the_configuration_is_said() {
    let mut world = ordered();
    world.enclave.state().ca.takes = HOUR * 5;
    rotate(&mut world, in_an_emergency);
    let (id, serial) = (world.key("c0000", 1).unwrap().id, serial(&world, 1));
    world.config.certificates.clear();
    world.run(HOUR);
    let problems = world.keeper.found.lock().problems.clone();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("certificate c0000, which is not in the configuration any more")
            && problems[0].contains(&format!("serial number {serial}"))
            && problems[0].contains(&format!("enclave-tlsctl retire {id}")),
        "{problems:?}"
    );
    world.enclave.state().keys.retain(|key| key.id != id);
    world.run(MINUTE);
    let problems = world.keeper.found.lock().problems.clone();
    assert!(
        problems.len() == 1 && problems[0].contains(&format!("have the CA revoke serial number {serial}")),
        "{problems:?}"
    );
}

#[test]
fn threat_53_what_was_revoked_for_less_is_revoked_again_as_compromised() {
    for refuses in [false, true] {
        let mut world = if refuses { that_refuses() } else { ordered() };
        let superseded = Revoke {
            what: "c0000".to_owned(),
            reason: "superseded".to_owned(),
            dry_run: false,
        };
        ask(&mut world, Ask::Revoke(superseded)).unwrap();
        world.run(MINUTE * 5);
        let says = rotate(&mut world, in_an_emergency)[0].says.clone();
        assert!(
            says.contains("revoked by the CA, which the enclave asks: generation 1"),
            "{says}"
        );
        world.run(MINUTE * 10);
        world.enclave.state().ca.refuses_revocations = None;
        world.run(HOUR * 2);
        let reasons = world.enclave.state().ca.reasons.clone();
        assert_eq!((reasons.first(), reasons.last()), (Some(&4), Some(&1)));
        assert_eq!(world.key("c0000", 1), None);
        let history = world.keeper.history.of("c0000").unwrap();
        let mut revoked = history
            .iter()
            .filter(|one| one.what == "revoked")
            .filter_map(|one| one.says.clone());
        assert_eq!(revoked.next_back(), Some("key-compromise".to_owned()));
    }
}

#[test]
fn a_live_certificate_that_is_revoked_needs_attention() {
    let mut world = ordered();
    revoke(&mut world, "c0000");
    world.run(MINUTE * 5);
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("generation 1 is still served, and its certificate is revoked (key-compromise)"),
        "{note}"
    );
    rotate(&mut world, |_| ());
    world.run(MINUTE * 10);
    assert_eq!(
        (world.live("c0000"), world.state_of("c0000").0),
        (Some(2), "served".to_owned())
    );
}

#[test]
fn servers_do_not_go_back_to_what_is_revoked_or_not_to_be_trusted() {
    let mut world = ordered();
    revoke(&mut world, "c0000");
    rotate(&mut world, |_| ());
    world.run(MINUTE * 10);
    assert_eq!(world.live("c0000"), Some(2));
    for (to, dry_run) in [(None, true), (None, false), (Some(1), false)] {
        let refused = roll_back(&mut world, to, dry_run).unwrap_err();
        assert!(
            refused.contains("its certificate is revoked") && refused.contains("enclave-tlsctl rotate c0000 --now"),
            "{refused}"
        );
    }
    let mut world = that_refuses();
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE * 10);
    for to in [None, Some(1)] {
        let refused = roll_back(&mut world, to, false).unwrap_err();
        assert!(refused.contains("not to be trusted (key-compromise)"), "{refused}");
    }
    assert_eq!((world.live("c0000"), world.asked("Reinstate")), (Some(2), 0));
}

#[test]
fn a_dry_run_says_what_an_emergency_ends_and_who_revokes_it() {
    let dry_run = |rotate: &mut Rotate| {
        in_an_emergency(rotate);
        rotate.dry_run = true;
    };
    let mut world = ordered();
    let says = rotate(&mut world, dry_run)[0].says.clone();
    let number = serial(&world, 1);
    let by_ca = format!("revoked by the CA, which the enclave asks: generation 1 (serial number {number})");
    assert!(
        says.contains("wiped once servers have a newer key: generation 1") && says.contains(&by_ca),
        "{says}"
    );
    assert!(!says.contains("you must"), "{says}");
    world.run(MINUTE * 5);
    assert_eq!(world.state_of("c0000").0, "served", "nothing was done");

    let mut world = World::serving(1);
    let says = rotate(&mut world, dry_run)[0].says.clone();
    let number = serial(&world, 1);
    let by_hand = format!("you must have your CA revoke, by serial number: generation 1 (serial number {number})");
    assert!(says.contains(&by_hand) && !says.contains("by the CA"), "{says}");
    assert!(
        !rotate(&mut world, |rotate| rotate.dry_run = true)[0]
            .says
            .contains("wiped")
    );
}

#[test]
fn a_key_that_is_not_to_be_trusted_and_still_served_needs_attention() {
    let mut world = World::serving(1);
    rotate(&mut world, in_an_emergency);
    world.run(MINUTE);
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("generation 1 is still served, and its key was declared not to be trusted (key-compromise)"),
        "{note}"
    );
    // What is to be done about it is not hidden by that.
    let next = world.key("c0000", 2).unwrap().id;
    assert!(
        note.contains(&format!("`enclave-tlsctl csr {next}`")) && note.contains("install"),
        "{note}"
    );
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE * 5);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}

#[test]
fn an_emergency_of_a_bundle_that_nobody_wrote_again_is_not_done() {
    let mut world = World::new(config(
        "[[certificates]]\nname = \"c0000\"\nsource = \"bundle\"\ns3 = \"s3://bkt/www.json\"\nregion = \"us-east-1\"\n\
         kms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"\nservers = [\"main\"]\n",
    ));
    world.pass();
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE * 2);
    assert_eq!(world.state_of("c0000").0, "served");
    let made = rotate(&mut world, in_an_emergency);
    assert_eq!(outcomes(&made), [("c0000", "failed")]);
    let number = serial(&world, 1);
    let says = &made[0].says;
    assert!(says.contains("enclave-tlsctl seal") && says.contains(&number), "{says}");
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("generation 1 is still served") && note.contains("enclave-tlsctl seal"),
        "{note}"
    );
}

#[test]
fn a_key_whose_certificate_is_being_revoked_outlives_its_grace_time() {
    let mut world = that_refuses();
    revoke(&mut world, "c0000");
    rotate(&mut world, |_| ());
    world.run(DAY * 3);
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(2), 0));
    world.enclave.state().ca.refuses_revocations = None;
    world.run(HOUR * 2);
    assert_eq!(
        (happened(&world, "revoked"), happened(&world, "retired")),
        (vec![1], vec![1])
    );
}
