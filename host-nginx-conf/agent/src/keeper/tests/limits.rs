//! A CA's limits: of an account, and of what else it is asked than orders.

use enclave_wire::control::{ControlError, JobError, JobFailure};

use super::ca::failure;
use super::ordering::{orders, serving, skip, world};
use super::revoking::in_an_emergency;
use super::rotating::rotate;
use super::*;

fn in_three_days(world: &World) -> JobFailure {
    JobFailure {
        retry_at: Some(world.enclave.state().ca.now() + 3 * 86_400),
        ..failure(JobError::RateLimited)
    }
}

#[test]
fn threat_52_a_limit_is_not_met_by_each_certificate_of_the_account_in_turn_and_holds_up_none_for_long() {
    let mut world = world(24);
    let limited = in_three_days(&world);
    world.enclave.state().ca.fails = Some(limited);
    world.run(MINUTE * 10);
    assert_eq!(orders(&world), 16, "as many as are under way at once");
    world.enclave.state().ca.fails = None;
    world.run(MINUTE * 20);
    assert_eq!(
        (orders(&world), world.live("c0000"), world.live("c0023")),
        (24, None, Some(1))
    );
}

#[test]
fn threat_52_a_ca_that_says_when_to_come_again_is_not_asked_about_renewal_before() {
    let mut world = serving(1);
    let limited = in_three_days(&world);
    world.enclave.state().ca.refuses_renewals = Some(limited);
    skip(&mut world, DAY, HOUR);
    let asked = world.enclave.state().ca.asked.len();
    skip(&mut world, DAY + HOUR * 12, HOUR);
    assert_eq!(world.enclave.state().ca.asked.len(), asked);
    skip(&mut world, DAY * 2, HOUR);
    assert!(world.enclave.state().ca.asked.len() > asked);
}

#[test]
fn threat_52_a_ca_that_says_when_to_come_again_is_not_asked_to_revoke_before_and_one_that_refuses_is_not_stormed() {
    let mut world = serving(1);
    let limited = in_three_days(&world);
    world.enclave.state().ca.refuses_revocations = Some(limited);
    rotate(&mut world, in_an_emergency);
    world.run(HOUR);
    let asked = |world: &World| world.enclave.state().ca.revocations.len();
    assert_eq!(asked(&world), 1);
    world.restart_agent();
    skip(&mut world, DAY * 2, HOUR);
    assert_eq!(asked(&world), 1, "over a restart too");
    world.enclave.state().ca.refuses_revocations = Some(failure(JobError::Order));
    skip(&mut world, DAY + HOUR * 2, HOUR);
    let before = asked(&world);
    world.run(HOUR * 12);
    let (_, note) = world.state_of("c0000");
    assert!(note.contains("the CA refuses to revoke it"), "{note}");
    let more = asked(&world) - before;
    assert!((6..=20).contains(&more), "{more} in twelve hours");
}

#[test]
fn an_order_that_fails_at_once_is_said_to_have_failed_and_not_to_wait_for_its_turn() {
    let mut world = serving(1);
    world.enclave.state().refuses = Some(("Begin", ControlError::EgressRefused));
    let made = rotate(&mut world, |_| ());
    let says = &made[0].says;
    assert!(
        says.starts_with("its order failed") && says.contains("[egress]"),
        "{says}"
    );
    assert!(made[0].due.is_some());
}
