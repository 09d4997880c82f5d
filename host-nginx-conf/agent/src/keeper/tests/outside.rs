//! What clients see decides what becomes of the older generation.

use enclave_tls_config::Config;

use super::super::outside::{Leaf, Unseen};
use super::*;

/// One certificate of a server with two listeners.
fn looked_at() -> Config {
    config(
        "listeners = [\"0.0.0.0:443\", \"[::1]:8443\"]\n[[certificates]]\nname = \"c0000\"\nsource = \"csr\"\nkey_type = \"p-256\"\n\
         dns_names = [\"a.example\", \"*.b.example\"]\nservers = [\"main\"]\n",
    )
}

/// It is served and seen in its first generation.
fn serving() -> World {
    let mut world = World::new(looked_at());
    world.pass();
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE);
    world.enclave.connect_all();
    world.forget_counts();
    world.outside.state.lock().unwrap().looks = 0;
    world
}

/// Its second generation has its certificate.
fn with_two() -> World {
    let world = serving();
    world.enclave.create_next("c0000", world.clock.now());
    world
}

fn shows(world: &World, name: &str, what: Result<Leaf, Unseen>) {
    world.outside.state.lock().unwrap().shows.insert(name.to_owned(), what);
}

/// The same, once the server has been reloaded with the second generation.
fn breaks(world: &World, name: &str, what: Result<Leaf, Unseen>) {
    let mut state = world.outside.state.lock().unwrap();
    state.breaks.insert(name.to_owned(), what);
}

fn happened(world: &World) -> Vec<String> {
    let history = world.keeper.history.of("c0000").unwrap();
    history
        .iter()
        .map(|one| {
            format!(
                "{} {}",
                one.what,
                one.generation
                    .map_or_else(|| "-".to_owned(), |number| number.to_string())
            )
        })
        .collect()
}

fn outside(world: &World) -> String {
    let found = world.keeper.found.lock();
    found.certificates[0].outside.clone().unwrap()
}

#[test]
fn threat_53_the_older_is_superseded_only_once_twenty_in_a_row_saw_the_newer_everywhere() {
    let mut world = with_two();
    world.outside.state.lock().unwrap().lags = 12;
    world.helper.state().older = vec![41, 42];
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(2));
    assert!(
        outside(&world).contains("generation 2: clients see it at each listener"),
        "{}",
        outside(&world)
    );
    assert!(
        outside(&world).contains("older workers finish their connections: main 41, main 42"),
        "{}",
        outside(&world)
    );
    let looks = world.outside.state.lock().unwrap().looks;
    // Four views: twenty each, twelve that lag, and one each from before.
    assert!((4 * 20 + 12..4 * 20 + 12 + 5 * 20).contains(&looks), "{looks}");
    let views: Vec<_> = world.outside.state.lock().unwrap().views.iter().cloned().collect();
    assert_eq!(
        views,
        [
            "0.0.0.0:443 for a.example (ECDSA)",
            "0.0.0.0:443 for enclave-tls.b.example (ECDSA)",
            "[::1]:8443 for a.example (ECDSA)",
            "[::1]:8443 for enclave-tls.b.example (ECDSA)",
        ]
    );
    assert_eq!(world.asked("Supersede"), 0, "older workers run");
    world.helper.state().older.clear();
    world.run(MINUTE);
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (1, 0));
    world.run(DAY + MINUTE);
    assert_eq!(world.asked("Retire"), 1);
    assert_eq!(
        world.outside.state.lock().unwrap().looks,
        looks,
        "what was seen is not looked at again"
    );
    assert_eq!(
        happened(&world),
        [
            "made 1",
            "deployed 1",
            "looked-at 1",
            "deployed 2",
            "looked-at 2",
            "superseded 1",
            "retired 1"
        ]
    );
}

#[test]
fn threat_53_servers_do_not_go_back_to_a_key_that_is_not_to_be_trusted_whatever_clients_see() {
    let mut world = serving();
    super::rotating::rotate(&mut world, super::revoking::in_an_emergency);
    breaks(&world, "a.example", Ok(Leaf([9; 32])));
    world.enclave.install_all(world.clock.now());
    world.run(MINUTE * 10);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(2), 0));
    let note = world.state_of("c0000").1;
    assert!(
        note.contains(
            "servers do not go back to the generation before: its key was declared not to be trusted (key-compromise)"
        ),
        "{note}"
    );
}

#[test]
fn workers_that_never_end_are_waited_for_as_long_as_grace_and_said() {
    let mut world = with_two();
    world.helper.state().older = vec![41];
    world.run(DAY - HOUR);
    assert_eq!(world.asked("Supersede"), 0);
    world.restart_agent();
    world.run(HOUR * 3);
    assert_eq!((world.asked("Supersede"), world.asked("Retire")), (1, 0));
    world.run(DAY);
    assert_eq!(world.asked("Retire"), 1);
}

#[test]
fn threat_53_what_was_well_and_now_shows_a_stranger_is_taken_back() {
    let mut world = with_two();
    // The look before sees the older one; the change is what breaks it.
    breaks(&world, "a.example", Ok(Leaf([9; 32])));
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(1), "the older one is back");
    assert_eq!(world.key("c0000", 1).unwrap().state, State::Live);
    assert_eq!(world.key("c0000", 2).unwrap().state, State::Superseded);
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("generation 2 was taken back")
            && note.contains("0.0.0.0:443 for a.example (ECDSA) shows another"),
        "{note}"
    );
    assert!(note.contains("enclave-tlsctl rollback c0000 --to 2"), "{note}");
    world.outside.state.lock().unwrap().shows.clear();
    let deployments = world.helper.state().deployments.len();
    world.restart_agent();
    world.run(HOUR);
    world.leap(DAY * 3);
    assert_eq!(
        (world.live("c0000"), world.asked("Retire")),
        (Some(1), 0),
        "nobody asked for it"
    );
    assert_eq!(world.helper.state().deployments.len(), deployments);
    // A newer one is tried.
    world.enclave.create_next("c0000", world.clock.now());
    world.run(MINUTE);
    assert_eq!(
        (world.live("c0000"), world.state_of("c0000").0.as_str()),
        (Some(3), "served")
    );
    world.run(DAY * 2);
    assert_eq!((world.key("c0000", 1), world.key("c0000", 2)), (None, None));
    let history = happened(&world);
    assert_eq!(
        history.iter().filter(|one| *one == "taken-back 2").count(),
        1,
        "{history:?}"
    );
}

#[test]
fn a_handshake_that_fails_now_and_did_not_before_is_taken_back() {
    let mut world = with_two();
    breaks(
        &world,
        "enclave-tls.b.example",
        Err(Unseen("no handshake: alert".to_owned())),
    );
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(1));
    assert!(
        world.state_of("c0000").1.contains("no handshake: alert"),
        "{}",
        world.state_of("c0000").1
    );
}

#[test]
fn what_was_amiss_before_is_said_and_takes_nothing_back() {
    let mut world = serving();
    shows(&world, "a.example", Err(Unseen("nobody can connect".to_owned())));
    world.enclave.create_next("c0000", world.clock.now());
    world.run(MINUTE);
    assert_eq!(world.live("c0000"), Some(2));
    assert!(
        outside(&world).contains("but as before: 0.0.0.0:443 for a.example"),
        "{}",
        outside(&world)
    );
    assert_eq!(
        world.key("c0000", 1).unwrap().state,
        State::Superseded,
        "other names show it"
    );
}

#[test]
fn where_nothing_can_be_seen_the_older_key_signs_on() {
    let mut world = serving();
    for name in ["a.example", "enclave-tls.b.example"] {
        shows(&world, name, Err(Unseen("nobody can connect".to_owned())));
    }
    world.enclave.create_next("c0000", world.clock.now());
    world.run(HOUR);
    world.leap(DAY * 3);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(2), 0));
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(note.contains("nobody can connect"), "{note}");
    world.outside.state.lock().unwrap().shows.clear();
    world.run(MINUTE * 5);
    assert_eq!(world.state_of("c0000"), ("served".to_owned(), String::new()));
    assert_eq!(world.asked("Supersede"), 1);
}

#[test]
fn a_first_generation_that_is_not_seen_is_a_trouble_and_nothing_is_taken_back() {
    let mut world = World::new(looked_at());
    world.pass();
    world.enclave.install_all(world.clock.now());
    shows(&world, "a.example", Ok(Leaf([9; 32])));
    world.run(MINUTE);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(1), 0));
    let (state, note) = world.state_of("c0000");
    assert_eq!(state, "served-with-a-problem");
    assert!(
        note.contains("shows another certificate") && note.contains("no older generation"),
        "{note}"
    );
    let said = world.said();
    world.run(HOUR);
    assert_eq!(world.said(), said, "it was said");
}

#[test]
fn the_older_one_is_no_fault_while_older_workers_run_and_one_afterwards() {
    let mut world = with_two();
    world.helper.state().older = vec![41];
    world.outside.state.lock().unwrap().lags = u32::MAX;
    world.run(HOUR);
    assert_eq!(world.live("c0000"), Some(2));
    assert!(
        outside(&world).contains("shows the one before, by an older worker"),
        "{}",
        outside(&world)
    );
    world.helper.state().older.clear();
    world.run(MINUTE * 5);
    assert_eq!(
        world.live("c0000"),
        Some(1),
        "the server does not use what it was given"
    );
}

#[test]
fn without_listeners_workers_and_grace_time_alone_decide_and_it_is_said() {
    let mut world = World::serving(1);
    world.enclave.create_next("c0000", world.clock.now());
    world.helper.state().older = vec![41];
    world.run(HOUR);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(2), 0));
    world.helper.state().older.clear();
    world.run(MINUTE);
    assert_eq!(
        (world.asked("Supersede"), world.outside.state.lock().unwrap().looks),
        (1, 0)
    );
    assert!(outside(&world).contains("no `listeners`"), "{}", outside(&world));
}

#[test]
fn an_agent_that_is_killed_while_it_looks_looks_again() {
    let mut world = with_two();
    world.outside.state.lock().unwrap().lags = u32::MAX;
    world.helper.state().older = vec![41];
    world.run(MINUTE);
    world.restart_agent();
    world.outside.state.lock().unwrap().lags = 0;
    world.helper.state().older.clear();
    world.run(MINUTE);
    assert_eq!((world.live("c0000"), world.asked("Supersede")), (Some(2), 1));
    assert_eq!(world.helper.state().deployments.len(), 2, "it was deployed once");
}

#[test]
fn listeners_that_do_not_answer_hold_up_a_pass_by_seconds() {
    let mut world = with_two();
    let silent = Err(Unseen("no answer within 5 s".to_owned()));
    shows(&world, "a.example", silent.clone());
    shows(&world, "enclave-tls.b.example", silent);
    let takes = Duration::from_secs(5);
    world.outside.state.lock().unwrap().takes = Some((Arc::clone(&world.clock), takes));
    for _ in 0..10 {
        let (before, looks) = (world.clock.monotonic(), world.outside.state.lock().unwrap().looks);
        world.pass();
        let looks = world.outside.state.lock().unwrap().looks - looks;
        assert!(looks <= 2, "{looks} of four views, before the change and after it");
        assert!(world.clock.monotonic() - before <= takes * 2, "{looks}");
    }
    // What was not looked at before is not held against the newer generation.
    world.run(MINUTE * 30);
    assert_eq!(world.live("c0000"), Some(2));
}
