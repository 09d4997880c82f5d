//! What becomes of older generations.

use super::*;

/// One with a second generation, which is live after the next pass.
fn with_two() -> World {
    let world = World::serving(2);
    world.enclave.create_next("c0000", world.clock.now());
    world
}

#[test]
fn an_older_generation_is_superseded_at_once_and_retired_after_its_grace_time_only() {
    let mut world = with_two();
    world.pass();
    assert_eq!(world.live("c0000"), Some(2));
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    world.run(DAY - MINUTE);
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (1, 0));
    assert_eq!(world.helper.state().object_count(), 3, "workers may use it still");
    world.run(MINUTE * 2);
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (1, 1));
    assert_eq!(world.key("c0000", 1), None);
    assert_eq!(world.helper.state().object_count(), 2);
    let pruned = world.helper.state().pruned.clone();
    assert_eq!(pruned.len(), 1);
    let kept: Vec<_> = pruned[0].1.iter().map(|one| one.generation).collect();
    assert_eq!((pruned[0].0.as_str(), kept), ("c0000", vec![2]));
}

#[test]
fn what_an_administrator_has_wiped_is_in_the_history_and_says_who_it_was() {
    let mut world = with_two();
    world.pass();
    let id = world.key("c0000", 1).unwrap().id;
    world.enclave.retire(id, 1001);
    world.enclave.retire(KeyId([7; 32]), 1001);
    world.pass();
    let history = world.keeper.history.of("c0000").unwrap();
    let retired: Vec<_> = history.iter().filter(|one| one.what == "retired").collect();
    let [retired] = retired[..] else { panic!("{history:?}") };
    let id = id.to_string();
    assert_eq!(
        (retired.generation, retired.key.as_deref(), retired.by),
        (Some(1), Some(id.as_str()), Some(1001))
    );
    world.run(DAY * 2);
    assert_eq!(world.keeper.history.of("c0000").unwrap(), history);
}

#[test]
fn an_agent_that_is_killed_between_deploying_and_superseding_goes_on() {
    let mut world = with_two();
    world.enclave.state().cut_off = Some("Supersede");
    world.enclave.state().refuses = Some(("Supersede", enclave_wire::control::ControlError::AwsUnavailable));
    world.pass();
    assert_eq!(world.live("c0000"), Some(2));
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Live);
    world.restart_agent();
    world.enclave.state().cut_off = None;
    world.enclave.state().refuses = None;
    world.run(MINUTE);
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Superseded);
    assert_eq!(world.helper.state().deployments.len(), 2, "it was deployed once");
    for _ in 0..15 {
        world.run(HOUR * 2);
        world.restart_agent();
    }
    assert_eq!(
        world.key("c0000", 1),
        None,
        "restarts do not lengthen its grace time for ever"
    );
}

#[test]
fn threat_53_an_agent_that_is_killed_while_it_retires_goes_on() {
    let mut world = with_two();
    world.pass();
    world.enclave.state().cut_off = Some("Retire");
    world.run(DAY + MINUTE);
    assert_eq!(world.key("c0000", 1), None, "it was done, only the answer was lost");
    world.enclave.state().cut_off = None;
    world.restart_agent();
    world.run(MINUTE * 5);
    assert_eq!(
        (world.live("c0000"), world.state_of("c0000").0.as_str()),
        (Some(2), "served")
    );
    assert_eq!(world.helper.state().object_count(), 2, "nobody is shown it any more");
}

#[test]
fn threat_18_a_clock_that_jumps_retires_nothing() {
    let years = 10 * 365 * 86_400;
    let mut world = with_two();
    world.pass();
    for step in [years, -years, -years, years] {
        world.clock.set(step);
        world.run(HOUR);
    }
    assert_eq!(world.asked("Retire"), 0);
    world.run(DAY);
    assert_eq!(world.asked("Retire"), 1);
}

#[test]
fn threat_53_what_a_server_was_not_reloaded_from_stays_live() {
    let mut world = with_two();
    world.helper.state().deaf = true;
    world.run(DAY * 3);
    assert_eq!(world.live("c0000"), Some(2), "its files are there");
    assert_eq!(
        (world.asked("Supersede"), world.asked("Retire")),
        (0, 0),
        "and the server signs with the older key"
    );
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(note.contains("another program"), "{note}");
    world.helper.state().deaf = false;
    world.run(MINUTE * 2);
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (1, 0));
    world.run(DAY + MINUTE);
    assert_eq!(world.asked("Retire"), 1);
}

#[test]
fn what_an_administrator_went_back_to_is_not_superseded_while_servers_have_the_newer() {
    let mut world = with_two();
    world.pass();
    world
        .enclave
        .state()
        .keys
        .iter_mut()
        .filter(|key| key.name.as_str() == "c0000")
        .for_each(|key| {
            key.state = if key.generation == 1 {
                State::Live
            } else {
                State::Superseded
            };
        });
    world.helper.state().full = true;
    world.forget_counts();
    world.run(HOUR);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(2), 0));
    world.helper.state().full = false;
    world.run(DAY * 3);
    assert_eq!((world.live("c0000"), world.asked("Retire")), (Some(1), 0));
}

#[test]
fn an_enclave_that_lost_its_keys_counts_from_one_again_and_nothing_of_it_is_retired() {
    let mut world = with_two();
    world.pass();
    world.run(DAY * 2);
    world.forget_counts();
    world.enclave.restart();
    world.run(DAY);
    assert_eq!(world.asked("Create"), 2, "one for each");
    assert_eq!(world.live("c0000"), Some(2), "until the new one has its certificate");
    assert_eq!(world.state_of("c0000").0, "waiting-for-certificate");
    world.enclave.install_all(world.clock.now());
    world.helper.state().pruned.clear();
    world.run(DAY * 3);
    assert_eq!(world.live("c0000"), Some(1));
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (0, 0));
    assert_eq!(world.state_of("c0000").0, "served");
    let pruned = world.helper.state().pruned.clone();
    assert_eq!(pruned.len(), 2, "files of keys that nobody has any more");
    assert!(pruned.iter().all(|(_, keep)| keep.len() == 1));
}
