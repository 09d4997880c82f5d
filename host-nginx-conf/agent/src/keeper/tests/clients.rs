//! Clients' credentials.

use super::*;

fn world() -> World {
    World::new(certificates(0))
}

/// One in which the client has its first credential, and uses it.
fn with_one() -> World {
    let mut world = world();
    world.run(MINUTE);
    world.enclave.connect_all();
    world.forget_counts();
    world
}

fn on_disk(world: &World) -> Option<enclave_wire::credential::CredentialId> {
    world.helper.state().credential
}

#[test]
fn a_client_gets_its_first_credential_and_no_second() {
    let mut world = world();
    world.run(DAY);
    assert_eq!(world.enclave.ids().len(), 1);
    assert_eq!(on_disk(&world), world.enclave.ids().first().copied());
    assert_eq!((world.asked("InstallCredential"), world.helped("credential")), (1, 1));
    let found = world.keeper.found.lock();
    assert!(found.clients[0].credential.is_some() && found.clients[0].problem.is_none());
}

#[test]
fn while_the_helper_is_away_none_is_made() {
    let mut world = world();
    world.helper.state().away = true;
    world.run(DAY);
    assert_eq!((world.asked("InstallCredential"), world.said()), (0, 1));
    world.helper.state().away = false;
    world.run(MINUTE);
    assert_eq!(on_disk(&world), world.enclave.ids().first().copied());
}

#[test]
fn what_the_enclave_took_and_the_file_did_not_is_placed_later_and_never_a_third_is_made() {
    for loses_answer in [false, true] {
        let mut world = with_one();
        let old = on_disk(&world);
        world.helper.state().full = true;
        world.enclave.state().cut_off = loses_answer.then_some("InstallCredential");
        world.keeper.rotate("nginx".parse().unwrap());
        world.run(HOUR);
        world.enclave.state().cut_off = None;
        world.run(DAY);
        assert_eq!(on_disk(&world), old);
        assert_eq!(
            world.enclave.state().installed.len(),
            2,
            "the first, and one that waits"
        );
        assert!(world.helped("credential") < 24 * 150, "{}", world.helped("credential"));
        world.helper.state().full = false;
        world.run(MINUTE * 2);
        assert_ne!(on_disk(&world), old);
        assert_eq!(on_disk(&world), world.enclave.ids().last().copied());
        let state = world.enclave.state();
        assert_eq!((state.installed.len(), state.most_credentials), (2, 2));
        assert!(
            state.credentials.iter().any(|one| Some(one.id) == old),
            "servers use it still"
        );
    }
}

#[test]
fn a_credential_that_an_earlier_agent_did_not_place_is_revoked_and_the_one_in_use_is_not() {
    let mut world = with_one();
    let old = on_disk(&world).unwrap();
    world.helper.state().full = true;
    world.keeper.rotate("nginx".parse().unwrap());
    world.pass();
    assert_eq!(world.enclave.ids().len(), 2);
    world.restart_agent();
    world.helper.state().full = false;
    world.run(MINUTE);
    assert_eq!((world.enclave.ids(), on_disk(&world)), (vec![old], Some(old)));
}

#[test]
fn one_that_was_taken_away_meanwhile_is_not_placed() {
    let mut world = with_one();
    world.helper.state().full = true;
    world.keeper.rotate("nginx".parse().unwrap());
    world.pass();
    world.enclave.state().credentials.truncate(1);
    world.helper.state().full = false;
    world.run(MINUTE * 2);
    assert!(world.enclave.ids().contains(&on_disk(&world).unwrap()));
    assert_eq!(world.enclave.state().most_credentials, 2);
}

#[test]
fn a_credential_is_rotated_after_its_days_and_the_older_one_goes_when_nobody_uses_it() {
    let mut world = with_one();
    let old = on_disk(&world).unwrap();
    world.run(DAY * 29);
    assert_eq!(on_disk(&world), Some(old));
    world.run(DAY + HOUR);
    assert_ne!(on_disk(&world), Some(old));
    assert_eq!(world.enclave.ids().len(), 2, "servers use the older still");
    assert!(world.keeper.found.lock().clients[0].older.is_some());
    world.enclave.move_servers();
    world.run(MINUTE * 2);
    assert_eq!(world.enclave.ids(), [on_disk(&world).unwrap()]);
    assert!(world.keeper.found.lock().clients[0].older.is_none());
}

#[test]
fn an_older_credential_that_an_administrator_takes_away_is_said_no_more_and_the_next_rotation_begins() {
    let mut world = with_one();
    world.keeper.rotate("nginx".parse().unwrap());
    world.run(MINUTE);
    let newer = on_disk(&world).unwrap();
    assert!(world.keeper.found.lock().clients[0].older.is_some());
    world.keeper.rotate("nginx".parse().unwrap());
    world.run(MINUTE);
    assert_eq!(on_disk(&world), Some(newer), "the enclave holds two");
    world.enclave.state().credentials.retain(|one| one.id == newer);
    world.pass();
    assert_ne!(on_disk(&world), Some(newer));
    world.enclave.state().credentials.retain(|one| one.id != newer);
    world.pass();
    assert!(world.keeper.found.lock().clients[0].older.is_none());
}

#[test]
fn an_older_credential_in_use_goes_when_its_grace_time_has_ended() {
    let mut world = with_one();
    world.keeper.rotate("nginx".parse().unwrap());
    world.run(DAY - HOUR);
    assert_eq!(world.enclave.ids().len(), 2);
    world.run(HOUR * 2);
    assert_eq!(world.enclave.ids(), [on_disk(&world).unwrap()]);
    assert_eq!(world.asked("InstallCredential"), 1);
}

#[test]
fn an_older_credential_that_nobody_uses_stays_a_minute_for_workers_that_start() {
    let mut world = with_one();
    world.keeper.rotate("nginx".parse().unwrap());
    world.pass();
    world.enclave.move_servers();
    world.clock.pass(MINUTE / 2);
    world.pass();
    assert_eq!(world.enclave.ids().len(), 2);
    world.clock.pass(MINUTE);
    world.pass();
    assert_eq!(world.enclave.ids().len(), 1);
}

#[test]
fn threat_18_a_clock_that_jumps_ten_years_rotates_nothing_and_ends_no_overlap() {
    let years = 10 * 365 * 86_400;
    let mut world = with_one();
    for step in [years, -years, -years, years] {
        world.clock.set(step);
        world.run(HOUR);
    }
    assert_eq!(world.asked("InstallCredential"), 0);
    world.keeper.rotate("nginx".parse().unwrap());
    world.pass();
    for step in [years, -years, -years, years] {
        world.clock.set(step);
        world.run(HOUR);
        assert_eq!(world.enclave.ids().len(), 2, "the older one is in use");
    }
    assert_eq!(
        (world.asked("InstallCredential"), world.asked("RevokeCredential")),
        (1, 0)
    );
    // One that jumped while no agent ran.
    world.clock.set(years);
    world.restart_agent();
    world.run(MINUTE * 30);
    assert_eq!(
        (world.asked("InstallCredential"), world.asked("RevokeCredential")),
        (1, 0)
    );
}

#[test]
fn a_file_that_never_holds_what_was_written_makes_no_storm() {
    let mut world = world();
    world.helper.state().lies = true;
    world.run(DAY);
    let made = world.asked("InstallCredential");
    assert!((10..2_000).contains(&made), "{made}");
    assert!(world.said() < 10, "{}", world.said());
    assert!(world.keeper.found.lock().clients[0].problem.is_some());
}

#[test]
fn a_credential_whose_verifier_is_not_on_disk_is_not_placed_and_never_a_third_is_made() {
    for loses_answer in [false, true] {
        let mut world = with_one();
        let old = on_disk(&world);
        {
            let mut state = world.enclave.state();
            match loses_answer {
                true => state.cut_off = Some("InstallCredential"),
                false => state.unrecorded = Some("InstallCredential"),
            }
        }
        world.keeper.rotate("nginx".parse().unwrap());
        world.run(DAY);
        assert_eq!((on_disk(&world), world.helped("credential")), (old, 0));
        assert!(world.asked("InstallCredential") < 24 * 150);
        {
            let found = world.keeper.found.lock();
            let problem = found.clients[0].problem.clone().unwrap_or_default();
            assert!(loses_answer || problem.contains("cannot be written"), "{problem}");
        }
        {
            let mut state = world.enclave.state();
            (state.cut_off, state.unrecorded) = (None, None);
        }
        world.run(MINUTE * 2);
        assert_ne!(on_disk(&world), old);
        assert_eq!(on_disk(&world), world.enclave.ids().last().copied());
        let state = world.enclave.state();
        assert_eq!((state.installed.len(), state.most_credentials), (2, 2));
        drop(state);
        assert_eq!(world.keeper.found.lock().clients[0].problem, None);
    }
}
