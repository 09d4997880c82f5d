//! From keys to what servers have.

use super::*;

#[test]
fn a_thousand_certificates_are_made_live_at_once_and_then_cost_nothing() {
    let mut world = World::new(certificates(1_000));
    world.pass();
    assert_eq!(world.asked("Create"), 1_000);
    assert_eq!(world.state_of("c0000").0, "waiting-for-certificate");
    world.enclave.install_all(world.clock.now());
    world.pass();
    assert_eq!(world.helper.state().deployments, [1_000]);
    assert_eq!(world.state_of("c0999"), ("served".to_owned(), String::new()));
    assert_eq!(world.helper.state().object_count(), 1_000);
    world.pass();
    for _ in 0..10 {
        world.forget_counts();
        let wait = world.pass();
        assert_eq!(wait, super::super::NOW_AND_THEN);
        let asked = world.enclave.state().asked.clone();
        assert_eq!(
            asked.into_iter().collect::<Vec<_>>(),
            [("Credentials".to_owned(), 1), ("List".to_owned(), 5)]
        );
        let helped = world.helper.state().asked.clone();
        assert_eq!(helped.into_iter().collect::<Vec<_>>(), [("state".to_owned(), 1)]);
    }
}

#[test]
fn one_bad_certificate_among_a_thousand_holds_up_no_other_and_has_the_servers_words() {
    let mut world = World::serving(1_000);
    let names: Vec<_> = (0..1_000).map(|n| format!("c{n:04}")).collect();
    for name in &names {
        world.enclave.create_next(name, world.clock.now());
    }
    world.helper.state().bad = ["c0333".parse().unwrap()].into();
    world.helper.state().deployments.clear();
    world.pass();
    assert!(
        names
            .iter()
            .all(|name| world.live(name) == Some(if name == "c0333" { 1 } else { 2 }))
    );
    let attempts = world.helper.state().deployments.len();
    assert!(attempts <= 21, "{attempts} attempts");
    let (state, note) = world.state_of("c0333");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("main: nginx: [emerg]") && note.contains("cannot load c0333"),
        "{note}"
    );
    assert_eq!(world.state_of("c0334").0, "served");
    let said = world.said();
    world.helper.state().deployments.clear();
    world.run(HOUR);
    let attempts = world.helper.state().deployments.len();
    assert!((40..=200).contains(&attempts), "{attempts} attempts an hour");
    assert_eq!(world.said(), said, "it was said");
    assert_eq!(world.key("c0333", 1).unwrap().state, State::Live, "servers use it");
    world.helper.state().bad.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.live("c0333"), Some(2));
    assert_eq!(world.state_of("c0333").0, "served");
}

#[test]
fn a_server_that_refuses_everything_is_not_tested_without_end() {
    let mut world = World::serving(64);
    for n in 0..64 {
        world.enclave.create_next(&format!("c{n:04}"), world.clock.now());
    }
    world.helper.state().bad = world.config.certificates.keys().cloned().collect();
    world.helper.state().deployments.clear();
    let said = world.said();
    world.run(HOUR);
    let attempts = world.helper.state().deployments.len();
    assert!(attempts <= 48 + 60 * 2 * 8 + 100, "{attempts} attempts an hour");
    assert!(world.said() - said < 100, "{} lines", world.said() - said);
    assert_eq!(world.live("c0000"), Some(1));
    world.helper.state().bad.clear();
    world.run(MINUTE * 2);
    assert!((0..64).all(|n| world.live(&format!("c{n:04}")) == Some(2)));
}

#[test]
fn a_helper_that_is_away_or_a_full_disk_is_one_trouble_and_not_one_of_each_certificate() {
    for (away, full) in [(true, false), (false, true)] {
        let mut world = World::serving(20);
        for n in 0..20 {
            world.enclave.create_next(&format!("c{n:04}"), world.clock.now());
        }
        let said = world.said();
        {
            let mut helper = world.helper.state();
            (helper.away, helper.full) = (away, full);
        }
        world.run(HOUR * 5);
        assert!(world.helped("deploy") <= 5 * 130, "{}", world.helped("deploy"));
        assert!(world.said() - said <= 3, "{} lines", world.said() - said);
        assert_eq!(world.state_of("c0000").0, "being-deployed");
        assert_eq!((world.asked("Supersede"), world.asked("Create")), (0, 0));
        {
            let mut helper = world.helper.state();
            (helper.away, helper.full) = (false, false);
        }
        world.run(MINUTE * 2);
        assert_eq!(world.live("c0019"), Some(2));
        assert_eq!(world.asked("Supersede"), 20);
    }
}

#[test]
fn a_server_that_is_started_later_is_reloaded_once_if_it_lags_behind() {
    let mut world = World::new(certificates(3));
    world.helper.state().runs.clear();
    world.pass();
    world.enclave.install_all(world.clock.now());
    world.run(HOUR);
    assert_eq!(world.helper.state().deployments, [3]);
    world.helper.state().runs.insert("main".parse().unwrap());
    world.run(HOUR);
    assert_eq!(world.helper.state().deployments, [3, 0]);
    assert!(world.keeper.found.lock().servers[0].reloaded.is_some());
}

#[test]
fn another_chain_for_the_same_key_is_deployed() {
    let mut world = World::serving(2);
    let key = world.key("c0000", 1).unwrap();
    let validity = key.validity;
    world.enclave.install(&key, world.clock.now(), 2);
    // Its dates say nothing of it.
    world
        .enclave
        .state()
        .keys
        .iter_mut()
        .for_each(|key| key.validity = validity);
    let before = world.helper.state().live.clone();
    world.run(MINUTE);
    let after = world.helper.state().live.clone();
    let name = "c0000".parse().unwrap();
    assert_ne!(after[&name], before[&name]);
    assert_eq!(after[&name].generation(), 1);
    assert_eq!(world.asked("Supersede"), 0);
    assert_eq!(world.helped("objects"), 1, "clients see the newer chain");
}

#[test]
fn keys_that_the_enclave_refuses_to_make_are_one_certificates_trouble_each() {
    let mut world = World::new(certificates(20));
    world.enclave.state().refuses = Some(("Create", enclave_wire::control::ControlError::NameRefused));
    world.run(DAY);
    assert!(world.asked("Create") < 20 * 24 * 130, "{}", world.asked("Create"));
    assert_eq!(world.said(), 20);
    assert_eq!(world.state_of("c0007").0, "failed");
    assert_eq!(world.enclave.ids().len(), 1, "the client has its credential");
    world.enclave.state().refuses = None;
    world.run(MINUTE * 2);
    assert_eq!(world.state_of("c0007").0, "waiting-for-certificate");
}

#[test]
fn a_bundle_is_given_once_and_again_when_its_file_is_another() {
    let files = Directory::new();
    let file = files.path().join("bundle.json");
    let mut world = World::new(config(&format!(
        "[[certificates]]\nname = \"www\"\nsource = \"bundle\"\nbundle = \"{}\"\nservers = [\"main\"]\n\
         kms_key = \"arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\"\n",
        file.display()
    )));
    world.run(HOUR);
    assert_eq!(world.asked("Provision"), 0);
    assert_eq!((world.state_of("www").0.as_str(), world.said()), ("failed", 1));
    std::fs::write(&file, "one").unwrap();
    world.run(HOUR);
    assert_eq!(world.asked("Provision"), 1);
    std::fs::write(&file, "another").unwrap();
    world.run(HOUR);
    assert_eq!(world.asked("Provision"), 2, "the enclave has its key already");
    world.restart_agent();
    world.run(HOUR);
    assert_eq!(world.asked("Provision"), 2);
    std::fs::remove_file(&file).unwrap();
    world.run(HOUR);
    assert_eq!(world.asked("Provision"), 2);
}

#[test]
fn a_first_generation_that_a_server_refuses_is_found_and_nobody_says_that_it_is_used() {
    let mut world = World::new(certificates(8));
    world.pass();
    world.enclave.install_all(world.clock.now());
    world.helper.state().bad = ["c0003".parse().unwrap()].into();
    world.pass();
    let (state, note) = world.state_of("c0003");
    assert_eq!(state, "failed");
    assert!(note.contains("cannot load c0003"), "{note}");
    assert_eq!((world.live("c0003"), world.live("c0004")), (None, Some(1)));
    assert_eq!(world.state_of("c0004").0, "served");
    let deployed = world.deployed();
    assert!(
        deployed.len() == 7 && !deployed.contains(&"c0003".to_owned()),
        "{deployed:?}"
    );
    world.helper.state().bad.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.state_of("c0003").0, "served");
    assert_eq!(world.deployed().len(), 8);
}

#[test]
fn what_is_live_with_a_server_that_refuses_its_configuration_is_not_served() {
    for runs in [false, true] {
        let mut world = World::new(certificates(2));
        if !runs {
            world.helper.state().runs.clear();
        }
        world.pass();
        world.enclave.install_all(world.clock.now());
        world.helper.state().broken = true;
        world.run(MINUTE);
        assert_eq!(world.live("c0000"), Some(1));
        let (state, note) = world.state_of("c0000");
        assert_eq!(state, "failed", "{runs}");
        assert!(note.contains("unknown directive"), "{note}");
        assert_eq!(world.deployed(), [""; 0]);
        world.run(HOUR * 10);
        let attempts = world.helper.state().deployments.len();
        assert!(attempts < 10 * 130, "{attempts} attempts");
        world.helper.state().broken = false;
        world.run(MINUTE * 2);
        assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
        assert_eq!(world.deployed(), ["c0000", "c0001"]);
    }
}

#[test]
fn ends_are_those_of_what_servers_have_and_not_of_what_they_refuse() {
    let mut world = World::serving(1);
    let ends = world.ends("c0000");
    let key = world.key("c0000", 1).unwrap();
    world.helper.state().bad = ["c0000".parse().unwrap()].into();
    world.enclave.install(&key, world.clock.now() + 30 * 86_400, 2);
    world.run(MINUTE);
    assert_eq!(world.state_of("c0000").0, "served-with-a-problem");
    assert_eq!(world.ends("c0000"), ends);
    world.restart_agent();
    world.run(MINUTE);
    assert_eq!(world.ends("c0000"), ends);
    // A newer generation does not hide it either.
    world.enclave.create_next("c0000", world.clock.now() + 60 * 86_400);
    world.run(MINUTE);
    assert_eq!((world.live("c0000"), world.ends("c0000")), (Some(1), ends));
    world.helper.state().bad.clear();
    world.run(MINUTE * 2);
    assert_eq!(world.live("c0000"), Some(2));
    assert!(world.ends("c0000") >= ends + 60 * 86_400);
    // What was forgotten is as the enclave says.
    std::fs::remove_file(world.directory.path().join("keeper.json")).unwrap();
    world.restart_agent();
    world.pass();
    assert!(world.ends("c0000") >= ends + 60 * 86_400);
}

#[test]
fn another_chain_that_cannot_be_given_is_not_served() {
    let mut world = World::serving(1);
    let (ends, key) = (world.ends("c0000"), world.key("c0000", 1).unwrap());
    world.helper.state().full = true;
    world.enclave.install(&key, world.clock.now() + 30 * 86_400, 2);
    world.run(MINUTE);
    assert_eq!(
        (world.state_of("c0000").0.as_str(), world.ends("c0000")),
        ("being-deployed", ends)
    );
}

#[test]
fn what_waits_for_its_certificate_says_so_whatever_its_server_is_in_trouble_with() {
    let mut world = World::new(certificates(2));
    world.pass();
    let other = world.key("c0001", 1).unwrap();
    world.enclave.install(&other, world.clock.now(), 1);
    world.helper.state().broken = true;
    world.run(MINUTE);
    let waits = world.key("c0000", 1).unwrap();
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "waiting-for-certificate");
    assert!(note.contains(&format!("enclave-tlsctl csr {}", waits.id)), "{note}");
    assert_eq!(world.state_of("c0001").0, "failed");
}

#[test]
fn what_is_wrong_with_the_agent_itself_is_in_the_report() {
    let mut world = World::serving(1);
    assert_eq!(world.keeper.found.lock().problems, [""; 0]);
    let file = world.directory.path().join("keeper.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    world.enclave.state().refuses = Some(("Credentials", enclave_wire::control::ControlError::AwsUnavailable));
    world.run(HOUR);
    let problems = world.keeper.found.lock().problems.clone();
    assert!(
        problems[0].starts_with("keeper.json: ") && problems[1].starts_with("credentials: "),
        "{problems:?}"
    );
    std::fs::remove_dir(&file).unwrap();
    world.enclave.state().refuses = None;
    world.run(MINUTE * 2);
    assert_eq!(world.keeper.found.lock().problems, [""; 0]);
}
