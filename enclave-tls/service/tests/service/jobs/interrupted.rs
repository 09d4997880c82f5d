//! Orders that are cut in the middle: by the agent, by the service's end, by whoever retires the key.

use enclave_wire::control::{Freshness, Job, JobError, JobPhase};
use enclave_wire::{KeyId, Mechanism};
use lab_pebble::Options;

use super::agent::Manner;
use super::*;
use crate::aws::{Aws, OLD_SEALING, SEALING, credentials};
use crate::lab::NOW;

fn is_published(ca: &Ca) -> bool {
    !ca.publisher.inner().published.is_empty()
}

/// While an order waits, keys sign and requests are answered; it goes on while control is lost.
#[test]
fn an_order_waits_for_an_agent_and_nobody_waits_for_the_order() {
    let Some(ca) = Ca::start("lost", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    ca.publisher.is(Manner::Delays);
    let job = Job::Order(ca.order(key, account));
    assert_eq!(begin(&mut lab, job.clone()).unwrap().phase, JobPhase::Waiting);
    lab.until(|_| is_published(&ca));
    // A second one of its kind for this key is the same.
    let known = begin(&mut lab, job.clone()).unwrap();
    assert!(matches!(known.phase, JobPhase::Running(_)), "{known:?}");
    assert!(known.order.is_some());
    certificate_key(&mut lab, "lab-b", &["b.jobs.test"]);
    assert!(lab.client().sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());

    lab.agent.disconnect();
    lab.reconnect();
    ca.publisher.is(Manner::Publishes);
    assert!(matches!(ended(&mut lab, job.id()), Ok(JobOutcome::Certificate(_))));
    assert_eq!(ca.publisher.inner().published.len(), 1, "one order, and one challenge");
}

/// threat_53: a service that is ended in the middle of an order begins it again by its address; what it then gets is sealed, and signs
/// after another restart.
#[test]
fn threat_53_a_service_that_was_ended_in_mid_order_goes_on_by_the_orders_address() {
    let profiles = [("default".to_owned(), 20 * 365 * 86_400)];
    let options = Options {
        profiles: profiles.into(),
        ..Options::default()
    };
    let Some(ca) = Ca::start("ended", options) else { return };
    // The policy is in the key policies, which the CA's directory changes.
    let probe = Aws::new();
    let policy = probe.policy_of(&ca.policy(), &[SEALING, OLD_SEALING]);
    let pair = probe.pair(&policy);
    let aws = Aws::for_pairs(probe.ca.clone(), &[pair]);
    ca.beside(&aws);
    let boot = || {
        let mut setup = aws.setup_of(policy.clone(), &ca.kept);
        setup.limits.kms_pause = Duration::from_millis(200);
        let mut lab = Lab::of(setup);
        lab.agent.install_aws(credentials()).unwrap();
        for (_, blob) in ca.kept.all() {
            lab.agent.restore(&blob).unwrap();
        }
        lab
    };
    let mut lab = boot();
    let account = account_key(&mut lab, Some("web")).id;
    let key = create(
        &mut lab,
        "lab-a",
        Usage::Digest,
        &["a.jobs.test"],
        &["www"],
        Some("web"),
    );
    let key: KeyId = key.unwrap().id;
    ca.publisher.is(Manner::Delays);
    let order = ca.order(key, account);
    let id = Job::Order(order.clone()).id();
    begin(&mut lab, Job::Order(order.clone())).unwrap();
    lab.until(|_| is_published(&ca));
    let begun = state(&mut lab, id).unwrap().order.unwrap();
    drop(lab);

    let mut lab = boot();
    assert_eq!(state(&mut lab, id), None, "nothing of jobs is sealed");
    ca.publisher.is(Manner::Publishes);
    // KMS was asked at its own time; pebble's certificates are of the machine's.
    lab.clock.set(soon().max(NOW));
    let resume = Some(begun.clone());
    let outcome = run(
        &mut lab,
        Job::Order(Order {
            resume,
            ..order.clone()
        }),
    );
    let Ok(JobOutcome::Certificate(issued)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(state(&mut lab, id).unwrap().order, Some(begun.clone()));
    assert_eq!(
        ca.publisher.inner().published.len(),
        1,
        "the same challenge of the same order"
    );
    let chain = lab.agent.chain(key).unwrap();
    let sealed = ca.kept.states("lab-a").len();
    // The agent may not have heard of its end: the same again changes nothing.
    let again = run(
        &mut lab,
        Job::Order(Order {
            resume: Some(begun),
            ..order
        }),
    );
    assert_eq!(again, Ok(JobOutcome::Certificate(issued.clone())));
    assert_eq!(ca.kept.states("lab-a").len(), sealed);
    drop(lab);

    let mut lab = boot();
    assert_eq!(lab.agent.chain(key).unwrap(), chain);
    let infos = lab.agent.list(0).keys.into_items();
    let info = infos.iter().find(|info| info.id == key).unwrap();
    assert_eq!(info.validity, Some(issued.validity));
    assert_eq!(info.sealed.as_ref().unwrap().freshness, Freshness::Unproven);
    assert!(lab.client().sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
    assert!(
        infos
            .iter()
            .any(|info| info.id == account && info.usage == Usage::AcmeAccount)
    );
}

#[test]
fn a_key_that_is_retired_meanwhile_gets_no_certificate() {
    let Some(ca) = Ca::start("retired", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    ca.publisher.is(Manner::Delays);
    let job = Job::Order(ca.order(key, account));
    begin(&mut lab, job.clone()).unwrap();
    lab.until(|_| is_published(&ca));
    lab.agent.retire(key).unwrap();
    ca.publisher.is(Manner::Publishes);
    let failed = ended(&mut lab, job.id()).unwrap_err();
    assert_eq!(
        (failed.error, failed.rule),
        (JobError::Service, Some(ControlError::NoSuchKey))
    );
}

/// A CA's clock may be a little before the enclave's.
#[test]
fn a_certificate_that_begins_a_moment_later_is_waited_for() {
    let Some(ca) = Ca::start("clocks", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let key = certificate_key(&mut lab, "lab-a", &["a.jobs.test"]).id;
    lab.clock.set(soon() - 3_610);
    let job = Job::Order(ca.order(key, account));
    begin(&mut lab, job.clone()).unwrap();
    let installs = |state: &JobState| match &state.phase {
        JobPhase::Running(at) => at.as_str() == "installs the certificate",
        JobPhase::Waiting | JobPhase::Done(_) | JobPhase::Failed(_) => false,
    };
    until(&mut lab, job.id(), installs);
    // Time for one that does not wait to fail.
    std::thread::sleep(Duration::from_secs(1));
    assert!(installs(&state(&mut lab, job.id()).unwrap()));
    assert_eq!(lab.agent.chain(key), Ok(None));
    lab.clock.set(soon());
    assert!(matches!(ended(&mut lab, job.id()), Ok(JobOutcome::Certificate(_))));
}

/// Eight at once, the others in their order; and one that ends lets the next begin.
#[test]
fn eight_orders_run_at_once_and_the_others_wait() {
    let Some(ca) = Ca::start("eight", Options::default()) else {
        return;
    };
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    ca.publisher.is(Manner::Delays);
    let jobs: Vec<Job> = (0..10)
        .map(|n| {
            let key = certificate_key(&mut lab, &format!("lab-{n}"), &[&format!("n{n}.jobs.test")]);
            Job::Order(ca.order(key.id, account))
        })
        .collect();
    for job in &jobs {
        begin(&mut lab, job.clone()).unwrap();
    }
    lab.until(|_| ca.publisher.inner().published.len() == 8);
    let waiting = |lab: &mut Lab| -> Vec<usize> {
        let waits = |job: &Job| state(lab, job.id()).unwrap().phase == JobPhase::Waiting;
        let states: Vec<bool> = jobs.iter().map(waits).collect();
        (0..10).filter(|n| states[*n]).collect()
    };
    assert_eq!(waiting(&mut lab), [8, 9]);
    // What is no order does not wait for them.
    let other = Job::Account(ca.account(account));
    begin(&mut lab, other.clone()).unwrap();
    assert!(ended(&mut lab, other.id()).is_ok());
    assert_eq!(waiting(&mut lab), [8, 9]);
    ca.publisher.is(Manner::Publishes);
    for job in &jobs {
        assert!(matches!(ended(&mut lab, job.id()), Ok(JobOutcome::Certificate(_))));
    }
    assert_eq!(waiting(&mut lab), [0_usize; 0]);
}
