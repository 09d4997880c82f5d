//! Outages: of the enclave, and of what opens its keys.

use super::*;

#[test]
fn threat_37_an_enclave_that_is_away_for_days_changes_nothing_and_comes_back_without_a_storm() {
    let mut world = World::serving(4);
    let (live, objects) = {
        let helper = world.helper.state();
        (helper.live.clone(), helper.objects.clone())
    };
    let said = world.said();
    world.enclave.state().away = true;
    world.run(DAY * 3);
    let asked: Vec<_> = world.enclave.state().asked.clone().into_iter().collect();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].1 <= 3 * 2_881, "{asked:?}");
    {
        let helper = world.helper.state();
        assert_eq!((&helper.live, &helper.objects), (&live, &objects));
        assert_eq!(helper.asked.len(), 1, "it is only looked at: {:?}", helper.asked);
    }
    assert_eq!(world.said(), said);
    assert_eq!(world.state_of("c0000").0, "waiting-for-enclave");
    assert_eq!(
        world.keeper.found.lock().certificates[0].generations.len(),
        1,
        "what was known stays known"
    );
    world.enclave.state().away = false;
    world.forget_counts();
    world.run(HOUR);
    assert_eq!(
        (world.asked("Create"), world.asked("Chain"), world.helped("deploy")),
        (0, 0, 0)
    );
    assert_eq!(world.state_of("c0000").0, "served");
}

#[test]
fn an_enclave_that_goes_away_in_the_middle_ends_the_pass() {
    let mut world = World::new(certificates(300));
    world.enclave.state().cut_off = Some("Create");
    let wait = world.pass();
    assert_eq!(world.asked("Create"), 1);
    assert_eq!(wait, super::super::NOW_AND_THEN);
    assert_eq!(world.said(), 1);
    // The one that was cut off waits; another goes first.
    world.pass();
    assert_eq!(world.asked("Create"), 2);
    world.enclave.state().cut_off = None;
    world.run(MINUTE * 3);
    assert_eq!(
        world.enclave.state().keys.len(),
        300,
        "what was made without an answer is not made again"
    );
}

#[test]
fn threat_37_what_is_stored_and_not_open_is_never_made_anew_nor_left_out_of_the_objects() {
    let mut world = World::serving(3);
    let objects = world.helper.state().objects.clone();
    let keys = world.enclave.state().keys.clone();
    let chains = world.enclave.state().chains.clone();
    world.enclave.restart();
    world.enclave.state().not_open = keys
        .iter()
        .map(|key| (key.name.clone(), "KMS is away".to_owned()))
        .collect();
    world.forget_counts();
    world.run(DAY * 3);
    assert_eq!(
        (world.asked("Create"), world.asked("Supersede"), world.asked("Retire")),
        (0, 0, 0)
    );
    assert_eq!(world.helper.state().objects, objects);
    assert_eq!(world.live("c0000"), Some(1));
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "waiting-for-kms");
    assert!(note.contains("KMS is away"));
    {
        let mut enclave = world.enclave.state();
        enclave.not_open.clear();
        (enclave.keys, enclave.chains, enclave.run) = (keys, chains, 0);
    }
    world.run(HOUR);
    assert_eq!((world.asked("Create"), world.helped("deploy")), (0, 0));
    assert_eq!(world.state_of("c0000").0, "served");
}

#[test]
fn a_full_disk_under_the_agent_is_said_once_and_ends() {
    let mut world = World::serving(1);
    let file = world.directory.path().join("keeper.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir_all(file.join("in-the-way")).unwrap();
    let said = world.said();
    let passes = world.run(DAY);
    assert!(passes < 2_881 * 2, "{passes} passes a day");
    assert_eq!(world.said(), said + 1);
    std::fs::remove_dir_all(&file).unwrap();
    world.run(HOUR);
    assert!(file.is_file());
}

#[test]
fn what_left_the_configuration_wakes_nobody() {
    let mut world = World::new(certificates(5));
    world.enclave.state().refuses = Some(("Create", enclave_wire::control::ControlError::NameRefused));
    world.run(HOUR);
    world.config = certificates(0);
    world.forget_counts();
    let passes = world.run(HOUR);
    assert!(passes <= 121, "{passes} passes an hour");
    assert_eq!(world.asked("Create"), 0);
}

#[test]
fn a_key_that_a_restart_ended_stays_shown_so_that_servers_start_for_the_sake_of_the_others() {
    let mut world = World::serving(3);
    let shown = |world: &World| {
        let file = world.helper.state().objects.clone().unwrap();
        let objects = enclave_wire::objects::Objects::parse(&file).unwrap();
        objects
            .as_slice()
            .iter()
            .map(|object| object.entry.id)
            .collect::<Vec<_>>()
    };
    let before = shown(&world);
    assert_eq!(before.len(), 3);
    world.enclave.restart();
    world.run(MINUTE);
    assert_eq!(
        world.state_of("c0000").0,
        "waiting-for-certificate",
        "it has a successor"
    );
    assert_eq!(shown(&world), before, "servers have it still");
    world.restart_agent();
    world.run(MINUTE);
    assert_eq!(shown(&world), before, "the agent's copy says so too");
}

/// Keys sign by the enclave's clock: one of this machine's that was set says nothing of them.
#[test]
fn threat_18_whether_a_certificate_has_ended_goes_by_the_enclaves_time() {
    let mut world = World::serving(1);
    let end = world.enclave.state().keys[0].validity.unwrap().not_after;
    let said = |world: &mut World, enclave: Option<i64>| {
        world.enclave.state().time = enclave;
        world.pass();
        world.state_of("c0000")
    };
    let left = end - world.clock.now();
    world.clock.set(left + 1);
    // Long before its end nothing is to be said, not even that it comes near.
    let begin = world.enclave.state().keys[0].validity.unwrap().not_before;
    let (state, note) = said(&mut world, Some(begin));
    assert_eq!((state.as_str(), note.as_str()), ("served", ""));
    let (state, note) = said(&mut world, Some(end - 1));
    assert_eq!(state, "served", "to the last second");
    assert!(!note.contains("has ended"), "{note}");
    let (state, note) = said(&mut world, None);
    assert_eq!(state, "served-with-a-problem");
    assert!(note.contains("has ended"));
    world.clock.set(-2);
    let (state, note) = said(&mut world, Some(end + 1));
    assert_eq!(state, "served-with-a-problem");
    assert!(note.contains("has ended"));
}
