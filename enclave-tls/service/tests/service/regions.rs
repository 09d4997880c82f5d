//! Sealing keys in two regions: one region's KMS is enough, to open and to seal.

use std::sync::Arc;
use std::time::{Duration, Instant};

use emulator_kms::{Emulator, ErrorFault, Faults};
use enclave_wire::Mechanism;
use enclave_wire::control::{ControlError, KmsAnswer};

use super::aws::{Aws, Pair, SEALING as EAST, WEST, credentials};
use super::kept::{Kept, Manner};
use super::lab::{Lab, NOW, POLICY};

/// AWS for a policy that seals under a key in each of two regions, for one under either alone, and the first policy.
fn two_regions() -> (Aws, String) {
    let aws = Aws::new();
    let policies = [&[EAST, WEST][..], &[EAST], &[WEST]].map(|keys| aws.policy_of(POLICY, keys));
    let pairs: Vec<Pair> = policies.iter().map(|policy| aws.pair(policy)).collect();
    let [policy, ..] = policies;
    (Aws::for_pairs(aws.ca, &pairs), policy)
}

/// A service that does not leave a KMS key alone for long.
fn boot(aws: &Aws, policy: &str, kept: &Arc<Kept>) -> Lab {
    let mut setup = aws.setup_of(policy.to_owned(), kept);
    setup.limits.heartbeat = Duration::from_millis(100);
    setup.limits.kms_pause = Duration::from_millis(100);
    let mut lab = Lab::of(setup);
    lab.agent.install_aws(credentials()).unwrap();
    lab
}

fn fails(region: &Emulator, error: ErrorFault) {
    region.faults().set(Faults {
        error: Some(error),
        ..Faults::default()
    });
}

fn asked(region: &Emulator) -> u64 {
    let counters = region.counters();
    counters.operations.values().map(|count| count.requests).sum()
}

fn opened(region: &Emulator) -> u64 {
    region.counters().operation("Decrypt").succeeded
}

fn version_and_keys(blob: &[u8]) -> (u8, [bool; 2]) {
    let names = |arn: &str| blob.windows(arn.len()).any(|window| window == arn.as_bytes());
    (blob[18], [EAST, WEST].map(names))
}

const BOTH: (u8, [bool; 2]) = (2, [true, true]);

/// threat_37: days of one region's outage, a restart in them, and nobody does anything.
#[test]
fn threat_37_a_restart_in_an_outage_is_served_by_the_other_region() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &policy, &kept);
    let keys = ["lab-a", "lab-b"].map(|label| lab.agent.create_sealed(label, "web").unwrap().id);
    let other = lab.agent.create_sealed("lab-c", "other").unwrap().id;
    assert_eq!(version_and_keys(&kept.newest("lab-a")), BOTH);
    assert_eq!(
        [&aws.kms, &aws.west].map(asked),
        [2, 2],
        "one key of each region for each group"
    );
    drop(lab);

    let mut lab = boot(&aws, &policy, &kept);
    for (_, blob) in kept.all() {
        lab.agent.restore(&blob).unwrap();
    }
    assert_eq!([opened(&aws.kms), asked(&aws.west)], [2, 2], "the second is not asked");
    drop(lab);

    fails(&aws.kms, ErrorFault::Unavailable);
    let mut lab = boot(&aws, &policy, &kept);
    let begin = Instant::now();
    for (_, blob) in kept.all() {
        lab.agent.restore(&blob).unwrap();
    }
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    assert_eq!([opened(&aws.kms), opened(&aws.west)], [2, 2]);
    for day in 1..=10 {
        lab.clock.set(NOW + day * 86_400);
        let mut client = lab.client();
        for key in keys.iter().chain([&other]) {
            assert!(client.sign(*key, Mechanism::Ecdsa, &[1; 32]).is_ok());
        }
    }
    lab.clock.set(NOW);
    let changed = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!(changed.generation, 2);
    assert_eq!(
        version_and_keys(&kept.newest("lab-a")),
        BOTH,
        "what both opened before, both open after"
    );
}

/// A refusal in one region, as an outage: a key that is disabled there, or a policy that is wrong there.
#[test]
fn a_refusal_in_one_region_is_none_of_the_other() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &policy, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap().id;
    drop(lab);
    // The same regions, where the first one lets nobody in.
    let shut = Aws::for_pairs(aws.ca.clone(), &[]);
    aws.passage.lead(super::aws::KMS_HOST, shut.kms.address());
    let mut lab = boot(&aws, &policy, &kept);
    assert_eq!(lab.agent.restore(&kept.newest("lab-a")), Ok(vec![key]));
    assert_eq!([opened(&shut.kms), opened(&aws.west)], [0, 1]);
    assert_eq!(shut.kms.counters().operation("Decrypt").denied, 1);
    drop(lab);
    aws.passage.lead(super::aws::WEST_HOST, shut.west.address());
    let mut lab = boot(&aws, &policy, &kept);
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Err(ControlError::AwsDenied),
        "both said so"
    );
    fails(&shut.west, ErrorFault::Throttling);
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Err(ControlError::AwsUnavailable),
        "one of them may yet open it"
    );
}

/// What is sealed while a region is away is sealed for it too once it answers, without a request; and not before the agent has it.
#[test]
fn threat_37_a_region_that_comes_back_is_caught_up() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    fails(&aws.west, ErrorFault::Internal);
    let mut lab = boot(&aws, &policy, &kept);
    let labels = ["lab-a", "lab-b", "lab-c"];
    let keys = labels.map(|label| lab.agent.create_sealed(label, "web").unwrap().id);
    for label in labels {
        assert_eq!(version_and_keys(&kept.newest(label)), (2, [true, false]));
    }
    // The administrator's side names the key.
    let sealing = |lab: &mut Lab| -> Vec<(String, KmsAnswer, u32)> {
        let status = lab.agent.status();
        let keys = status.sealing.items().iter();
        keys.map(|key| (key.kms_key.as_str().to_owned(), key.answers, key.missing))
            .collect()
    };
    let (east, west) = (EAST.to_owned(), WEST.to_owned());
    let told = [(east.clone(), KmsAnswer::Well, 0), (west.clone(), KmsAnswer::Failed, 3)];
    assert_eq!(sealing(&mut lab), told);
    kept.behave(Manner::Refuses);
    let offered = kept.offered();
    aws.west.faults().clear();
    until(&mut lab, || kept.offered() > offered);
    assert_eq!(version_and_keys(&kept.newest("lab-a")), (2, [true, false]));
    assert!(lab.client().sign(keys[0], Mechanism::Ecdsa, &[1; 32]).is_ok());
    kept.behave(Manner::Keeps);
    until(&mut lab, || {
        labels.iter().all(|label| version_and_keys(&kept.newest(label)) == BOTH)
    });
    let told = [(east, KmsAnswer::Well, 0), (west, KmsAnswer::Well, 0)];
    assert_eq!(sealing(&mut lab), told);
    let made = [&aws.kms, &aws.west].map(|region| region.counters().operation("GenerateDataKey").succeeded);
    assert_eq!(made, [1, 1], "one for the group, as ever");
    let states = labels.map(|label| kept.states(label).len());
    std::thread::sleep(Duration::from_millis(500));
    lab.agent.list(0);
    assert_eq!(
        labels.map(|label| kept.states(label).len()),
        states,
        "and then there is nothing to do"
    );
    drop(lab);

    fails(&aws.kms, ErrorFault::Internal);
    let mut lab = boot(&aws, &policy, &kept);
    for (label, key) in labels.iter().zip(keys) {
        assert_eq!(lab.agent.restore(&kept.newest(label)), Ok(vec![key]));
    }
    assert_eq!([opened(&aws.kms), opened(&aws.west)], [0, 1]);
}

/// A state that was sealed while a region was away is caught up in a later run too.
#[test]
fn a_state_of_an_earlier_run_is_caught_up() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    fails(&aws.west, ErrorFault::Internal);
    let mut lab = boot(&aws, &policy, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap().id;
    drop(lab);
    let mut lab = boot(&aws, &policy, &kept);
    assert_eq!(lab.agent.restore(&kept.newest("lab-a")), Ok(vec![key]));
    assert_eq!(kept.states("lab-a").len(), 1, "nothing is gained by sealing it again");
    aws.west.faults().clear();
    until(&mut lab, || version_and_keys(&kept.newest("lab-a")) == BOTH);
    assert_eq!(kept.states("lab-a").len(), 2);
}

/// threat_37: without any region nothing is opened, nothing is lost, and the agent is told that it may pass.
#[test]
fn threat_37_with_both_regions_away_it_is_not_now() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &policy, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap().id;
    drop(lab);
    fails(&aws.kms, ErrorFault::Unavailable);
    fails(&aws.west, ErrorFault::Throttling);
    let mut lab = boot(&aws, &policy, &kept);
    let begin = Instant::now();
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Err(ControlError::AwsUnavailable)
    );
    assert!(begin.elapsed() < Duration::from_secs(21), "{:?}", begin.elapsed());
    assert_eq!(
        lab.agent.create_sealed("lab-b", "web").map(|info| info.id),
        Err(ControlError::AwsUnavailable)
    );
    assert_eq!((lab.agent.list(0).total, kept.states("lab-a").len()), (0, 1));
    aws.west.faults().clear();
    assert_eq!(lab.agent.restore(&kept.newest("lab-a")), Ok(vec![key]));
    assert!(lab.client().sign(key, Mechanism::Ecdsa, &[1; 32]).is_ok());
}

/// The policy names a second key, and later no longer the first: states follow, and what opens with the key that left is sealed no more.
#[test]
fn threat_33_states_follow_the_policys_keys() {
    let ((aws, both), kept) = (two_regions(), Arc::<Kept>::default());
    let [east, west] = [EAST, WEST].map(|key| aws.policy_of(POLICY, &[key]));
    let mut lab = boot(&aws, &east, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap().id;
    let one = kept.newest("lab-a");
    assert_eq!(version_and_keys(&one), (1, [true, false]));
    assert_eq!(asked(&aws.west), 0);
    drop(lab);

    let restore = |policy: &str, blob: &[u8]| {
        let mut lab = boot(&aws, policy, &kept);
        let restored = lab.agent.restore(blob);
        (lab, restored)
    };
    let (lab, restored) = restore(&both, &one);
    assert_eq!(restored, Ok(vec![key]));
    let two = kept.newest("lab-a");
    assert_eq!(version_and_keys(&two), BOTH);
    drop(lab);

    let before = asked(&aws.kms);
    let (mut lab, restored) = restore(&west, &two);
    assert_eq!(restored, Ok(vec![key]));
    let three = kept.newest("lab-a");
    assert_eq!(version_and_keys(&three), (1, [false, true]));
    lab.agent.create_sealed("lab-b", "web").unwrap();
    assert_eq!(version_and_keys(&kept.newest("lab-b")), (1, [false, true]));
    assert_eq!(asked(&aws.kms), before, "only the policy's are asked");
    drop(lab);

    let (lab, restored) = restore(&east, &three);
    assert_eq!(restored, Err(ControlError::KmsKeyRefused));
    drop(lab);
    let (lab, restored) = restore(&west, &one);
    assert_eq!(restored, Err(ControlError::KmsKeyRefused));
    drop(lab);
    let (_lab, restored) = restore(&east, &two);
    assert_eq!(restored, Ok(vec![key]), "an older state, which its keys open");
}

/// threat_58: two states of one run and two groups, their wraps exchanged.
#[test]
fn threat_58_wraps_of_two_groups_cannot_be_exchanged() {
    let ((aws, policy), kept) = (two_regions(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &policy, &kept);
    let key = lab.agent.create_sealed("lab-a", "aaa").unwrap().id;
    lab.agent.create_sealed("lab-b", "bbb").unwrap();
    drop(lab);
    let (a, b) = (kept.newest("lab-a"), kept.newest("lab-b"));
    let place = |blob: &[u8], arn: &str| {
        let found = blob.windows(arn.len()).position(|window| window == arn.as_bytes());
        found.unwrap()
    };
    let of_east = |blob: &[u8]| place(blob, EAST)..place(blob, WEST) - 2;
    assert_eq!(of_east(&a), of_east(&b));
    let mut mixed = a.clone();
    mixed[of_east(&a)].copy_from_slice(&b[of_east(&b)]);
    let mut lab = boot(&aws, &policy, &kept);
    assert_eq!(lab.agent.restore(&mixed), Err(ControlError::StateInvalid));
    assert_eq!(lab.agent.list(0).total, 0);
    assert_eq!(lab.agent.restore(&a), Ok(vec![key]));
}

/// Waits, as an agent does that only answers.
fn until(lab: &mut Lab, so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "it did not come to it");
        lab.agent.list(0);
        std::thread::sleep(Duration::from_millis(20));
    }
}
