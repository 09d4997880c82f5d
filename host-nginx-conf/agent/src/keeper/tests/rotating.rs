//! What administrators ask for: new keys, older ones again.

use enclave_tls_admin::report::{Ask, Change, Revoke, Rollback, Rotate, Told};

use super::*;

const ADMINISTRATOR: u32 = 1_000;

pub(super) fn ask(world: &mut World, ask: Ask) -> Result<Vec<Change>, String> {
    match world.keeper.command(&world.config, ask, ADMINISTRATOR) {
        Told::Changes(changes) => Ok(changes),
        Told::Failed(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

pub(super) fn rotate(world: &mut World, change: impl FnOnce(&mut Rotate)) -> Vec<Change> {
    let mut rotate = Rotate {
        certificate: Some("c0000".to_owned()),
        ..Rotate::default()
    };
    change(&mut rotate);
    ask(world, Ask::Rotate(rotate)).unwrap()
}

pub(super) fn roll_back(world: &mut World, to: Option<u32>, dry_run: bool) -> Result<Change, String> {
    let rollback = Rollback {
        certificate: "c0000".to_owned(),
        to,
        dry_run,
    };
    ask(world, Ask::Rollback(rollback)).map(|changes| changes[0].clone())
}

pub(super) fn outcomes(changes: &[Change]) -> Vec<(&str, &str)> {
    changes
        .iter()
        .map(|one| (one.certificate.as_str(), one.outcome.as_str()))
        .collect()
}

#[test]
fn a_rotation_makes_one_key_and_says_what_comes_next() {
    let mut world = World::serving(2);
    let would = rotate(&mut world, |rotate| rotate.dry_run = true);
    assert_eq!(outcomes(&would), [("c0000", "would-make")]);
    assert_eq!(world.asked("Create"), 0);
    let made = rotate(&mut world, |_| ());
    assert_eq!(outcomes(&made), [("c0000", "made")]);
    let key = world.key("c0000", 2).unwrap();
    assert_eq!(
        (made[0].generation, made[0].key.clone()),
        (Some(2), Some(key.id.to_string()))
    );
    assert!(
        made[0].says.contains(&format!("enclave-tlsctl csr {}", key.id)),
        "{}",
        made[0].says
    );
    assert_eq!(world.live("c0000"), Some(1), "it has no certificate yet");
    // Whoever asks again gets the same.
    let again = rotate(&mut world, |_| ());
    assert_eq!(
        (outcomes(&again), &again[0].key),
        (vec![("c0000", "waits")], &made[0].key)
    );
    assert_eq!(world.asked("Create"), 1);
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(2));
    world.run(DAY * 2);
    assert_eq!((world.key("c0000", 1), world.asked("Create")), (None, 1));
    let history = world.keeper.history.of("c0000").unwrap();
    let asked: Vec<_> = history
        .iter()
        .filter(|one| one.what == "rotation-asked")
        .map(|one| one.by)
        .collect();
    assert_eq!(asked, [Some(ADMINISTRATOR); 2]);
    let unknown = ask(
        &mut world,
        Ask::Rotate(Rotate {
            certificate: Some("other".to_owned()),
            ..Rotate::default()
        }),
    );
    assert!(unknown.unwrap_err().contains("has no certificate other"));
}

#[test]
fn all_are_rotated_one_after_another_or_now() {
    let mut world = World::serving(50);
    let all = rotate(&mut world, |rotate| rotate.certificate = None);
    assert_eq!(outcomes(&all)[..2], [("c0000", "made"), ("c0001", "due")]);
    assert!(all[2].due.unwrap() - all[1].due.unwrap() == 30, "{all:?}");
    assert_eq!(world.asked("Create"), 1);
    assert_eq!(
        world.state_of("c0049"),
        (
            "served".to_owned(),
            "a new key was asked for, and is made in its turn, within 25 minutes".to_owned()
        )
    );
    world.run(MINUTE * 5);
    assert!((10..=11).contains(&world.asked("Create")), "{}", world.asked("Create"));
    world.restart_agent();
    world.run(MINUTE * 30);
    assert_eq!(world.asked("Create"), 50, "the agent's end loses no request");
    let now = rotate(&mut world, |rotate| (rotate.certificate, rotate.now) = (None, true));
    assert!(
        now.iter().all(|one| one.outcome == "waits"),
        "they wait for their certificates"
    );

    let mut world = World::serving(50);
    let all = rotate(&mut world, |rotate| (rotate.certificate, rotate.now) = (None, true));
    assert!(all.iter().all(|one| one.outcome == "made"), "{all:?}");
}

#[test]
fn an_agent_that_is_killed_before_it_wrote_that_down_makes_no_second_key() {
    let mut world = World::serving(1);
    world.enclave.state().cut_off = Some("Create");
    rotate(&mut world, |_| ());
    assert_eq!(world.asked("Create"), 1);
    world.enclave.state().cut_off = None;
    world.restart_agent();
    world.run(MINUTE * 5);
    assert_eq!(world.asked("Create"), 1);
    assert!(world.key("c0000", 2).is_some() && world.key("c0000", 3).is_none());
}

#[test]
fn a_request_that_the_enclave_refuses_is_said_and_tried_again() {
    let mut world = World::serving(1);
    world.enclave.state().refuses = Some(("Create", enclave_wire::control::ControlError::AwsUnavailable));
    let failed = rotate(&mut world, |_| ());
    assert_eq!(outcomes(&failed), [("c0000", "failed")]);
    assert!(failed[0].says.contains("tried again"), "{}", failed[0].says);
    world.enclave.state().refuses = None;
    world.run(MINUTE * 3);
    assert!(world.key("c0000", 2).is_some());
    world.enclave.state().away = true;
    let away = ask(&mut world, Ask::Rotate(Rotate::default()));
    assert!(away.is_err(), "nothing is promised while the enclave is away");
}

#[test]
fn a_key_that_is_not_to_be_trusted_ends_as_soon_as_the_newer_one_is_live() {
    let mut world = World::serving(1);
    world.helper.state().older = vec![41];
    rotate(&mut world, |rotate| rotate.revoke = Some("key-compromise".to_owned()));
    world.run(HOUR);
    assert_eq!(
        (world.live("c0000"), world.asked("Retire")),
        (Some(1), 0),
        "nothing else is there yet"
    );
    world.enclave.install_all(world.clock.now());
    world.pass();
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(2), 0));
    world.run(MINUTE * 3);
    assert_eq!(
        (world.asked("Supersede"), world.asked("Retire")),
        (1, 1),
        "no grace time"
    );
    assert_eq!(world.key("c0000", 1), None);
    let history = world.keeper.history.of("c0000").unwrap();
    let retired = history.iter().find(|one| one.what == "retired").unwrap();
    assert_eq!(
        (retired.generation, retired.says.as_deref()),
        (Some(1), Some("key-compromise"))
    );
    assert!(
        retired.serial.as_ref().is_some_and(|serial| !serial.is_empty()),
        "the CA is told by it"
    );
    world.run(DAY * 2);
    assert!(world.key("c0000", 2).is_some());
}

#[test]
fn servers_get_an_older_generation_again_and_the_newer_one_is_there_for_later() {
    let mut world = World::serving(1);
    world.enclave.create_next("c0000", world.clock.now());
    world.run(HOUR);
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    let would = roll_back(&mut world, None, true).unwrap();
    assert_eq!((would.outcome.as_str(), would.generation), ("would-roll-back", Some(1)));
    assert_eq!(world.live("c0000"), Some(2));
    let back = roll_back(&mut world, None, false).unwrap();
    assert_eq!((back.outcome.as_str(), back.generation), ("rolled-back", Some(1)));
    assert!(back.says.contains("have it again"), "{}", back.says);
    assert_eq!(world.live("c0000"), Some(1));
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Live);
    assert_eq!(world.key("c0000", 2).unwrap().state, State::Superseded);
    world.run(DAY * 3);
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(1), 0));
    assert!(
        roll_back(&mut world, None, false)
            .unwrap_err()
            .contains("no older generation")
    );
    assert!(
        roll_back(&mut world, Some(1), false)
            .unwrap_err()
            .contains("live already")
    );
    assert!(
        roll_back(&mut world, Some(7), false)
            .unwrap_err()
            .contains("no generation 7")
    );
    let forward = roll_back(&mut world, Some(2), false).unwrap();
    assert_eq!((forward.generation, world.live("c0000")), (Some(2), Some(2)));
    // Its grace time begins anew.
    world.run(DAY - HOUR);
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    world.run(HOUR * 2);
    assert_eq!(world.key("c0000", 1), None);
    assert!(
        roll_back(&mut world, None, false)
            .unwrap_err()
            .contains("no older generation")
    );
}

#[test]
fn an_agent_that_is_killed_while_it_goes_back_leaves_one_that_is_live() {
    let mut world = World::serving(1);
    world.enclave.create_next("c0000", world.clock.now());
    world.run(HOUR);
    for step in ["Reinstate", "Supersede"] {
        world.enclave.state().cut_off = Some(step);
        drop(roll_back(&mut world, Some(1), false));
        world.enclave.state().cut_off = None;
        world.restart_agent();
        world.run(MINUTE);
        assert!(world.live("c0000").is_some());
        assert_eq!(world.state_of("c0000").0, "served");
    }
    assert_eq!(world.live("c0000"), Some(1), "it was done, only the answer was lost");
}

#[test]
fn what_has_ended_is_nothing_to_go_back_to() {
    let mut world = World::serving(1);
    world.leap(DAY * 80);
    world.enclave.create_next("c0000", world.clock.now());
    world.run(HOUR);
    world.clock.set(11 * 86_400);
    assert!(
        roll_back(&mut world, None, false)
            .unwrap_err()
            .contains("no older generation")
    );
    assert!(
        roll_back(&mut world, Some(1), false)
            .unwrap_err()
            .contains("no certificate that is valid now")
    );
    assert_eq!(world.live("c0000"), Some(2));
}

#[test]
fn a_revocation_is_for_the_ca_to_make_and_has_its_serial_number() {
    let mut world = World::serving(1);
    let revoke = |what: &str| {
        Ask::Revoke(Revoke {
            what: what.to_owned(),
            reason: "superseded".to_owned(),
            dry_run: false,
        })
    };
    let by_name = ask(&mut world, revoke("c0000")).unwrap();
    assert_eq!(outcomes(&by_name), [("c0000", "ask-ca")]);
    assert!(
        by_name[0].says.contains(by_name[0].serial.as_deref().unwrap()),
        "{}",
        by_name[0].says
    );
    let id = world.key("c0000", 1).unwrap().id.to_string();
    assert_eq!(ask(&mut world, revoke(&id)).unwrap(), by_name);
    assert!(ask(&mut world, revoke("nobody")).is_err());
    assert_eq!(world.asked("Retire"), 0);
}

/// A certificate that the enclave ordered.
pub(super) fn ordered() -> World {
    let text = "[enclave]\nimage = \"/image.eif\"\n[aws]\n[egress]\nallow = [\"ca.example:443\"]\n[acme.ca]\n\
                directory = \"https://ca.example/dir\"\nterms_agreed = true\n[clients.nginx]\ngroup = \"www-data\"\nrotate_days = 0\n\
                [servers.main]\nkind = \"nginx\"\nclient = \"nginx\"\n[[certificates]]\nname = \"c0000\"\nsource = \"acme\"\naccount = \"ca\"\n\
                key_type = \"p-256\"\ndns_names = [\"c.example\"]\nservers = [\"main\"]\n";
    let config = Config::parse(text, Path::new("config.toml")).map_err(|error| error.to_string());
    let mut world = World::new(config.unwrap());
    world.enclave.state().ca = super::ca::Ca::new(world.clock.clone());
    world.run(MINUTE * 5);
    assert_eq!(world.state_of("c0000").0, "served");
    world.forget_counts();
    world
}

#[test]
fn what_the_enclave_orders_is_rotated_and_revoked_without_anybodys_help() {
    let mut world = ordered();
    let made = rotate(&mut world, |rotate| rotate.revoke = Some("key-compromise".to_owned()));
    assert_eq!(outcomes(&made), [("c0000", "made")]);
    world.run(MINUTE * 10);
    assert_eq!(world.live("c0000"), Some(2));
    assert_eq!(world.key("c0000", 1), None, "revoked, then retired");
    let history: Vec<_> = world
        .keeper
        .history
        .of("c0000")
        .unwrap()
        .into_iter()
        .map(|one| one.what)
        .collect();
    let at = |what: &str| history.iter().position(|one| one == what);
    assert!(
        at("superseded") < at("revoked") && at("revoked") < at("retired"),
        "{history:?}"
    );
    assert_eq!(history.iter().filter(|one| *one == "revoked").count(), 1);
}

#[test]
fn what_shall_be_revoked_is_asked_of_the_ca_and_its_key_signs_on() {
    let mut world = ordered();
    let revoke = |dry_run| {
        Ask::Revoke(Revoke {
            what: "c0000".to_owned(),
            reason: "superseded".to_owned(),
            dry_run,
        })
    };
    assert_eq!(
        outcomes(&ask(&mut world, revoke(true)).unwrap()),
        [("c0000", "would-revoke")]
    );
    assert_eq!(
        outcomes(&ask(&mut world, revoke(false)).unwrap()),
        [("c0000", "revoke")]
    );
    world.run(MINUTE * 5);
    let history = world.keeper.history.of("c0000").unwrap();
    assert_eq!(history.iter().filter(|one| one.what == "revoked").count(), 1);
    assert!(world.key("c0000", 1).is_some());
}

#[test]
fn a_bundle_that_is_another_object_is_read_again_once() {
    let config = config(
        "[[certificates]]\nname = \"c0000\"\nsource = \"bundle\"\ns3 = \"s3://bkt/www.json\"\nregion = \"us-east-1\"\n\
         kms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"\nservers = [\"main\"]\n",
    );
    let mut world = World::new(config);
    world.run(MINUTE);
    assert_eq!(world.asked("Provision"), 1);
    let says = |world: &World, version: &str| {
        world
            .keeper
            .versions
            .lock()
            .insert("c0000".parse().unwrap(), version.to_owned());
    };
    says(&world, "one");
    world.run(MINUTE * 5);
    assert_eq!(
        world.asked("Provision"),
        2,
        "nobody knows whether that is the one that was read"
    );
    says(&world, "two");
    world.run(MINUTE * 5);
    assert_eq!(world.asked("Provision"), 3);
    world.restart_agent();
    says(&world, "two");
    world.run(MINUTE * 5);
    assert_eq!(world.asked("Provision"), 3);
    world.enclave.state().refuses = Some(("Provision", enclave_wire::control::ControlError::AwsUnavailable));
    says(&world, "three");
    world.run(MINUTE * 5);
    assert!(world.asked("Provision") > 4, "it is tried until it works");
    world.enclave.state().refuses = None;
    world.run(MINUTE * 2);
    let asked = world.asked("Provision");
    world.run(MINUTE * 5);
    assert_eq!(world.asked("Provision"), asked);
}

#[test]
fn what_ends_soon_is_said_at_each_mark_once() {
    let mut world = World::serving(1);
    let note = |world: &World| world.state_of("c0000").1;
    world.leap(DAY * 59);
    assert_eq!(note(&world), "");
    world.leap(DAY * 2);
    assert!(
        note(&world).contains("renew: the certificate of c0000 ends in less than 30 days"),
        "{}",
        note(&world)
    );
    assert_eq!(world.state_of("c0000").0, "served");
    world.leap(DAY * 26);
    assert!(note(&world).contains("less than 3 days"), "{}", note(&world));
    let made = rotate(&mut world, |_| ());
    assert_eq!(outcomes(&made), [("c0000", "made")]);
    assert!(note(&world).contains("enclave-tlsctl csr"), "{}", note(&world));
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
}
