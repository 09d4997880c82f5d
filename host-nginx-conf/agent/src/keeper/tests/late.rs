//! Certificates that a CA issues once nobody waits for them any more.

use enclave_wire::control::JobError;

use super::ca::failure;
use super::revoking::{happened, late};
use super::*;

/// The CA may issue it after the enclave's patience has ended.
#[test]
fn threat_53_an_order_from_before_an_emergency_that_took_too_long_is_looked_at_again() {
    let (mut world, older) = late();
    world.enclave.state().ca.fails = Some(failure(JobError::Deadline));
    world.run(MINUTE * 11);
    assert!(world.key("c0000", 2).is_some());
    world.enclave.state().ca.fails = None;
    world.enclave.state().ca.slow = None;
    world.run(MINUTE * 30);
    assert_eq!((world.live("c0000"), world.key("c0000", 2)), (Some(3), None));
    assert_eq!(happened(&world, "revoked"), [1, 2]);
    assert!(
        world
            .enclave
            .state()
            .ca
            .orders
            .iter()
            .any(|one| one.1 == older && one.2.is_some())
    );
}
