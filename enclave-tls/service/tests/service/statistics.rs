//! What the agent is told of the service's work.

use enclave_wire::control::Request;
use enclave_wire::{Mechanism, Usage};

use super::lab::Lab;

#[test]
fn signatures_are_timed_by_mechanism() {
    let mut lab = Lab::new();
    let ec = lab.key("lab-a", "P-256").id;
    let rsa = lab.agent.create("lab-b", "RSA-2048", Usage::Digest, &["www"]).id;
    let mut client = lab.client();
    for _ in 0..5 {
        client.sign(ec, Mechanism::Ecdsa, &[1; 32]).unwrap();
    }
    client.sign(rsa, Mechanism::RsaPssSha256, b"a message").unwrap();
    assert!(
        client.sign(ec, Mechanism::EcdsaSha384, &[0; 20_000]).is_err(),
        "too long"
    );
    let mut client = lab.client();
    assert!(client.sign(ec, Mechanism::RsaPkcs1, b"nothing").is_err());

    // A reply is counted once it is written, just after its reader has it.
    lab.until(|lab| {
        lab.statistics
            .times
            .report()
            .iter()
            .all(|times| times.total.count() == times.execution.count())
    });
    let counters = lab.agent.counters();
    let [pss, ecdsa] = counters.mechanisms.into_items().try_into().unwrap();
    assert_eq!(
        (pss.mechanism, ecdsa.mechanism),
        (Mechanism::RsaPssSha256, Mechanism::Ecdsa)
    );
    assert_eq!(
        (pss.execution.count(), ecdsa.execution.count()),
        (1, 5),
        "what was refused is not timed"
    );
    for times in [pss, ecdsa] {
        assert!(
            times.execution.sum_us > 0 && times.execution.sum_us <= times.total.sum_us,
            "{times:?}"
        );
    }
    assert_eq!(
        (counters.queue.done, counters.queue.waiting, counters.queue.shed),
        (1, 0, 0)
    );
    assert_eq!(counters.queue.waiting_most, 0, "one that is alone waits for nobody");
    drop(lab.statistics.rsa_waiting.enter(1));
    let queue = lab.agent.counters().queue;
    assert_eq!((queue.waiting, queue.waiting_most), (0, 1));
}

#[test]
fn the_machine_the_nsm_and_the_agent_are_told_of() {
    let mut lab = Lab::new();
    let counters = lab.agent.counters();
    assert_eq!((counters.control_connections, counters.attestation_age_s), (1, None));
    assert!(counters.memory.available.is_some_and(|available| available > 0) && counters.memory.reserved > 0);
    lab.agent.disconnect();
    lab.reconnect();
    assert!(matches!(
        lab.agent.call(&Request::Ping),
        enclave_wire::control::Reply::Pong
    ));
    assert_eq!(lab.agent.counters().control_connections, 2);

    let aws = super::aws::Aws::new();
    let mut lab = Lab::of(aws.setup(&std::sync::Arc::default()));
    assert_eq!(lab.agent.counters().attestation_age_s, None);
    lab.agent.attest(b"a nonce", &[]).unwrap();
    assert!(lab.agent.counters().attestation_age_s.is_some_and(|age| age < 60));
}
