//! States that leave sealed, and come back.

use std::sync::Arc;
use std::time::Duration;

use enclave_wire::control::{ControlError, Freshness, InstallChain, KeyInfo, Reply, Request, Sealed};
use enclave_wire::{Mechanism, State, Usage};

use super::agent::{Agent, name};
use super::aws::{Aws, KMS_HOST, OLD_SEALING, OTHER, Pair, SEALING, credentials, provision};
use super::kept::{Kept, Manner};
use super::lab::{Lab, NOW};

/// A service with credentials.
fn boot(aws: &Aws, kept: &Arc<Kept>) -> Lab {
    boot_under(aws, aws.policy(), kept)
}

fn boot_under(aws: &Aws, policy: String, kept: &Arc<Kept>) -> Lab {
    let mut lab = Lab::of(aws.setup_of(policy, kept));
    lab.agent.install_aws(credentials()).unwrap();
    lab
}

fn sealed(info: &KeyInfo) -> (u64, Freshness) {
    let Sealed {
        group,
        number,
        freshness,
    } = info.sealed.clone().unwrap();
    assert_eq!(group, name("web"));
    (number, freshness)
}

fn keys(lab: &mut Lab) -> Vec<KeyInfo> {
    lab.agent.list(0).keys.into_items()
}

/// Everything that a name has comes back in a new run, without an operator, and signs.
#[test]
fn a_restart_restores_all() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    let first = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!(sealed(&first), (1, Freshness::Known));
    let second = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!((second.generation, sealed(&second)), (2, (2, Freshness::Known)));
    assert_eq!(lab.agent.supersede(first.id).map(|info| sealed(&info).0), Ok(3));
    assert_eq!(
        lab.agent.narrow(second.id, Usage::Tls).map(|info| sealed(&info).0),
        Ok(4)
    );
    let mut bundle = provision("lab-b", &aws.bundle("lab-b", &aws.ca.certify(&["b.test"])));
    bundle.sealed = Some(name("web"));
    lab.agent.provision(bundle).unwrap();
    let born = lab.key("lab-c", "P-256");
    let before = keys(&mut lab);
    assert_eq!(
        (aws.count("GenerateDataKey"), aws.count("Decrypt")),
        (2, 1),
        "one for each KMS key that seals"
    );
    assert!(kept.states("lab-c").is_empty(), "{}", born.name);
    drop(lab);

    let mut lab = boot(&aws, &kept);
    for (_, blob) in kept.all() {
        lab.agent.restore(&blob).unwrap();
    }
    let after = keys(&mut lab);
    assert_eq!(aws.count("Decrypt"), 2, "one call opens the data key of all");
    let expected: Vec<KeyInfo> = before
        .into_iter()
        .filter(|info| info.id != born.id)
        .map(unproven)
        .collect();
    assert_eq!(after, expected);
    assert_eq!((after[0].state, after[1].usage), (State::Superseded, Usage::Tls));
    let mut client = lab.client();
    assert!(client.sign(first.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
    let next = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!((next.generation, sealed(&next)), (3, (5, Freshness::Unproven)));
    assert_eq!(aws.count("GenerateDataKey"), 2, "the data key that was opened seals on");
    // Going back is a higher number, never a lower one.
    let again = lab.agent.reinstate(first.id).unwrap();
    assert_eq!((again.state, sealed(&again)), (State::Live, (6, Freshness::Unproven)));
}

fn unproven(info: KeyInfo) -> KeyInfo {
    let sealed = info.sealed.map(|sealed| Sealed {
        freshness: Freshness::Unproven,
        ..sealed
    });
    KeyInfo { sealed, ..info }
}

/// A change of a sealed name is made once the agent has stored the state, however it does not.
#[test]
fn what_is_not_stored_is_not_done() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut setup = aws.setup(&kept);
    // A silent agent is left after five of these.
    setup.limits.heartbeat = Duration::from_millis(100);
    let mut lab = Lab::of(setup);
    lab.agent.install_aws(credentials()).unwrap();
    let info = lab.agent.create_sealed("lab-a", "web").unwrap();
    let before = keys(&mut lab);
    for manner in [
        Manner::Refuses,
        Manner::AnswersSomethingElse,
        Manner::HangsUp,
        Manner::IsSilent,
    ] {
        let ends = manner != Manner::Refuses;
        for change in [
            Request::Supersede(info.id),
            Request::Reinstate(info.id),
            Request::Retire(info.id),
            Request::Narrow(enclave_wire::control::Narrow {
                key: info.id,
                usage: Usage::Tls,
            }),
        ] {
            kept.behave(manner);
            let what = format!("{manner:?} {}", change.name());
            if ends {
                let answer = lab.agent.ask(&change);
                assert!(
                    matches!(answer, None | Some(Reply::Error(ControlError::Malformed))),
                    "{what}"
                );
                lab.reconnect();
            } else {
                assert_eq!(
                    lab.agent.call(&change),
                    Reply::Error(ControlError::StateNotStored),
                    "{what}"
                );
            }
            kept.behave(Manner::Keeps);
            assert_eq!(keys(&mut lab), before, "{what}");
        }
        if !ends {
            kept.behave(manner);
            assert_eq!(
                lab.agent.create_sealed("lab-a", "web"),
                Err(ControlError::StateNotStored)
            );
            assert_eq!(
                lab.agent.create_sealed("lab-z", "web"),
                Err(ControlError::StateNotStored)
            );
            kept.behave(Manner::Keeps);
            assert_eq!(keys(&mut lab), before);
        }
    }
    assert_eq!(kept.states("lab-a").len(), 1);
    let second = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!((second.generation, sealed(&second).0), (2, 2), "nothing was used up");
}

/// A name is sealed all or none, in one group; without a key that seals there is none.
#[test]
fn a_name_is_sealed_all_or_none() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    lab.agent.create_sealed("lab-a", "web").unwrap();
    let plain = |lab: &mut Lab, label| lab.agent.try_create(label, "P-256", Usage::Tls, &["www"]).map(|_| ());
    assert_eq!(plain(&mut lab, "lab-a"), Err(ControlError::SealedOtherwise));
    assert_eq!(
        lab.agent.create_sealed("lab-a", "other"),
        Err(ControlError::SealedOtherwise)
    );
    plain(&mut lab, "lab-b").unwrap();
    assert_eq!(
        lab.agent.create_sealed("lab-b", "web"),
        Err(ControlError::SealedOtherwise)
    );
    drop(lab);

    let mut lab = boot_under(&aws, aws.policy_of(super::lab::POLICY, &[]), &kept);
    let asked = aws.asked();
    assert_eq!(
        lab.agent.create_sealed("lab-c", "web"),
        Err(ControlError::SealingRefused)
    );
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Err(ControlError::SealingRefused)
    );
    assert_eq!(aws.asked(), asked);
}

/// The last generation of a name leaves a state with none, which keeps the name's numbers.
#[test]
fn a_retired_name_keeps_its_numbers() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    let info = lab.agent.create_sealed("lab-a", "web").unwrap();
    lab.agent.retire(info.id).unwrap();
    drop(lab);
    let mut lab = boot(&aws, &kept);
    assert_eq!(lab.agent.restore(&kept.newest("lab-a")), Ok(Vec::new()));
    let next = lab.agent.create_sealed("lab-a", "web").unwrap();
    assert_eq!((next.generation, sealed(&next).0), (2, 3));
}

/// threat_35: an older state is refused in the same run; in a new one it is taken, and said to be unproven; and whatever came back,
/// a key whose certificate has expired does not sign.
#[test]
fn threat_35_an_older_state() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap();
    let certified = aws.ca.certify(&["b.test"]);
    let mut bundle = provision("lab-b", &aws.bundle("lab-b", &certified));
    bundle.sealed = Some(name("web"));
    bundle.usage = Usage::Digest;
    let expires = lab.agent.provision(bundle).unwrap();
    lab.agent.retire(key.id).unwrap();
    let states = kept.states("lab-a");
    let [older, newer] = [0, 1].map(|at: usize| states[at].blob.as_bytes());
    assert_eq!(lab.agent.restore(older), Err(ControlError::StateRollback));
    assert_eq!(lab.agent.restore(newer), Ok(Vec::new()), "the present one is no news");
    assert_eq!(lab.agent.list(0).total, 1);
    drop(lab);

    let mut lab = boot(&aws, &kept);
    assert_eq!(lab.agent.restore(older), Ok(vec![key.id]));
    assert_eq!(sealed(&keys(&mut lab)[0]), (1, Freshness::Unproven));
    lab.agent.restore(&kept.newest("lab-b")).unwrap();
    let mut client = lab.client();
    assert!(client.sign(expires.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
    lab.clock.set(expires.validity.unwrap().not_after + 1);
    assert!(client.sign(expires.id, Mechanism::Ecdsa, &[1; 32]).is_err());
    assert!(
        client.sign(key.id, Mechanism::Ecdsa, &[1; 32]).is_ok(),
        "it has no certificate"
    );
}

/// threat_33: only the policy's KMS keys are asked to open a state, whatever its header names.
#[test]
fn threat_33_a_state_under_another_kms_key_is_refused() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let other = aws.policy_of(super::lab::POLICY, &[OTHER]);
    let aws = Aws::for_pairs(aws.ca.clone(), &[aws.pair(&other), aws.pair(&aws.policy())]);
    let mut lab = boot_under(&aws, other, &kept);
    lab.agent.create_sealed("lab-a", "web").unwrap();
    drop(lab);
    let mut lab = boot(&aws, &kept);
    let asked = aws.asked();
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Err(ControlError::KmsKeyRefused)
    );
    assert_eq!(aws.asked(), asked);
}

/// threat_58: states of two names cannot be mixed, nor any byte of one be changed.
#[test]
fn threat_58_a_changed_state_is_refused() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    lab.agent.create_sealed("lab-a", "web").unwrap();
    lab.agent.create_sealed("lab-b", "web").unwrap();
    drop(lab);
    let (a, b) = (kept.newest("lab-a"), kept.newest("lab-b"));
    let mut renamed = a.clone();
    let at = a.windows(5).position(|five| five == b"lab-a").unwrap();
    renamed[at + 4] = b'b';
    let mut mixed = a.clone();
    let tail = mixed.len() - 200;
    mixed[tail..].copy_from_slice(&b[b.len() - 200..]);
    let mut lab = boot(&aws, &kept);
    for changed in [renamed, mixed, a[..a.len() - 1].to_vec(), Vec::new()] {
        assert_eq!(lab.agent.restore(&changed), Err(ControlError::StateInvalid));
    }
    assert_eq!(lab.agent.list(0).total, 0);
    assert_eq!(lab.agent.restore(&a).map(|ids| ids.len()), Ok(1));
}

/// The speed that was promised: a group is opened by one call, however many names it has.
#[test]
fn one_call_opens_a_hundred_names() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    for number in 0..100 {
        lab.agent.create_sealed(&format!("lab-{number}"), "web").unwrap();
    }
    drop(lab);
    let mut lab = boot(&aws, &kept);
    for (_, blob) in kept.all() {
        lab.agent.restore(&blob).unwrap();
    }
    assert_eq!(lab.agent.list(0).total, 100);
    assert_eq!((aws.count("Decrypt"), aws.count("GenerateDataKey")), (1, 2));
}

/// The upgrade of the design: while KMS takes the old and the new pair of image and policy, the new one opens and seals again; then
/// the old pair goes, and the states stay.
#[test]
fn an_upgrade_seals_again() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let (old_policy, new_policy) = (
        aws.policy_of(super::lab::POLICY, &[OLD_SEALING]),
        aws.policy().replace("imports = true", "imports = false"),
    );
    let old = aws.pair(&old_policy);
    let new = Pair {
        pcr0: [7; 48],
        ..aws.pair(&new_policy)
    };
    let boot_new = |aws: &Aws| {
        let mut setup = aws.setup_of(new_policy.clone(), &kept);
        setup.pcrs.insert(0, [7; 48]);
        let mut lab = Lab::of(setup);
        lab.agent.install_aws(credentials()).unwrap();
        lab
    };

    let aws = Aws::for_pairs(aws.ca, std::slice::from_ref(&old));
    let mut lab = boot_under(&aws, old_policy.clone(), &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap();
    drop(lab);
    let of_old = kept.newest("lab-a");
    let mut lab = boot_new(&aws);
    assert_eq!(
        lab.agent.restore(&of_old),
        Err(ControlError::AwsDenied),
        "the new pair is not allowed yet"
    );
    drop(lab);

    let aws = Aws::for_pairs(aws.ca, &[old, new.clone()]);
    let mut lab = boot_new(&aws);
    kept.behave(Manner::Refuses);
    assert_eq!(lab.agent.restore(&of_old), Ok(vec![key.id]));
    assert_eq!(kept.states("lab-a").len(), 1);
    kept.behave(Manner::Keeps);
    assert_eq!(
        lab.agent.restore(&of_old),
        Ok(vec![key.id]),
        "given again it is sealed again"
    );
    assert_eq!(sealed(&keys(&mut lab)[0]), (2, Freshness::Unproven));
    let of_new = kept.newest("lab-a");
    assert_ne!(of_old, of_new);
    assert!(contains(&of_old, OLD_SEALING) && contains(&of_new, SEALING));
    drop(lab);

    let aws = Aws::for_pairs(aws.ca, &[new]);
    let mut lab = boot_under(&aws, old_policy, &kept);
    assert_eq!(lab.agent.restore(&of_old), Err(ControlError::AwsDenied));
    assert_eq!(
        lab.agent.restore(&of_new),
        Err(ControlError::AwsDenied),
        "it names the old KMS key too"
    );
    drop(lab);
    let mut lab = boot_new(&aws);
    assert_eq!(lab.agent.restore(&of_new), Ok(vec![key.id]));
    assert_eq!(
        kept.states("lab-a").len(),
        2,
        "sealed under what is in force, it is not sealed again"
    );
    assert!(lab.client().sign(key.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
}

fn contains(blob: &[u8], text: &str) -> bool {
    blob.windows(text.len()).any(|window| window == text.as_bytes())
}

/// What a narrower policy refuses stays in its state, and signs nothing.
#[test]
fn what_the_policy_refuses_is_not_restored() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let narrow = aws
        .policy()
        .replace("usages = [\"tls\", \"tls-client\", \"digest\"]", "usages = [\"tls\"]");
    let aws = Aws::for_pairs(aws.ca.clone(), &[aws.pair(&aws.policy()), aws.pair(&narrow)]);
    let mut lab = boot(&aws, &kept);
    let digest = lab.agent.create_sealed("lab-a", "web").unwrap();
    let tls = lab.agent.create_sealed("lab-a", "web").unwrap();
    lab.agent.narrow(tls.id, Usage::Tls).unwrap();
    drop(lab);
    let mut lab = boot_under(&aws, narrow, &kept);
    assert_eq!(lab.agent.restore(&kept.newest("lab-a")), Ok(vec![tls.id]));
    assert_eq!(lab.agent.list(0).total, 1);
    assert!(lab.client().sign(digest.id, Mechanism::Ecdsa, &[1; 32]).is_err());
    drop(lab);
    let mut lab = boot(&aws, &kept);
    assert_eq!(
        lab.agent.restore(&kept.newest("lab-a")),
        Ok(vec![digest.id, tls.id]),
        "it was set aside, not lost"
    );
}

/// threat_37: with KMS gone, what is loaded signs on, and what does not need a new data key can even be changed.
#[test]
fn threat_37_what_is_loaded_does_not_need_kms() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    let key = lab.agent.create_sealed("lab-a", "web").unwrap();
    let certified = aws.ca.certify(&["b.test"]);
    let bundle = aws.bundle("lab-b", &certified);
    let loaded = lab.agent.provision(provision("lab-b", &bundle)).unwrap();
    aws.kms.faults().set(emulator_kms::Faults {
        error: Some(emulator_kms::ErrorFault::Internal),
        ..emulator_kms::Faults::default()
    });
    let other = aws.bundle("lab-c", &aws.ca.certify(&["c.test"]));
    for day in 1..=10 {
        lab.clock.set(NOW + day * 86_400);
        let mut client = lab.client();
        assert!(client.sign(key.id, Mechanism::Ecdsa, &[1; 32]).is_ok());
        assert_eq!(lab.agent.list(0).total, 2, "{}", loaded.id);
    }
    lab.clock.set(NOW);
    assert_eq!(
        lab.agent.provision(provision("lab-c", &other)),
        Err(ControlError::AwsUnavailable)
    );
    assert_eq!(
        lab.agent.create_sealed("lab-d", "another"),
        Err(ControlError::AwsUnavailable)
    );
    assert_eq!(
        lab.agent.create_sealed("lab-a", "web").map(|info| info.generation),
        Ok(2)
    );
    assert_eq!(
        lab.agent.supersede(key.id).map(|info| info.state),
        Ok(State::Superseded)
    );
    assert!(
        aws.passage
            .asked()
            .iter()
            .all(|host| *host == format!("{KMS_HOST}:443"))
    );
    aws.kms.faults().clear();
    assert!(lab.agent.provision(provision("lab-c", &other)).is_ok());
}

/// A chain is part of a name's state.
#[test]
fn a_chain_comes_back_with_its_key() {
    let (aws, kept) = (Aws::new(), Arc::<Kept>::default());
    let mut lab = boot(&aws, &kept);
    let pkcs8 = include_bytes!("../vectors/keys/p-256.der");
    let import = |agent: &mut Agent| agent.import_sealed("lab-chain", "web", pkcs8);
    let key = import(&mut lab.agent).unwrap().id;
    let request = Request::InstallChain(InstallChain {
        key,
        chain: super::lab::chain(),
    });
    let Reply::ChainInstalled(with_chain) = lab.agent.call(&request) else {
        panic!("installed")
    };
    assert_eq!(sealed(&with_chain).0, 2);
    drop(lab);
    let mut lab = boot(&aws, &kept);
    lab.agent.restore(&kept.newest("lab-chain")).unwrap();
    assert_eq!(keys(&mut lab)[0].validity, with_chain.validity);
}
