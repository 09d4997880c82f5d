//! What the machine's kernel says binds the service: what counts its time, and whether there is memory for another key.

use std::path::PathBuf;

use enclave_attestation::{Nsm as _, Statement};
use enclave_tls::machine::Machine;
use enclave_wire::control::{ControlError, Phase, Reply, Request};
use enclave_wire::{Mechanism, Usage};

use super::lab::{Lab, POLICY, Setup, attestation_root, unique};

/// The `/proc` and `/sys` of a machine, as a test says.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        let tree = Self(std::env::temp_dir().join(unique("machine")));
        tree.write(CLOCK_SOURCE, "kvm-clock\n");
        tree.write(MEMORY, "MemAvailable:     100000 kB\n");
        tree
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn machine(&self) -> Machine {
        Machine::below(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn threat_16_the_merged_policy_says_which_clock_source_may_be() {
    let tree = Tree::new();
    tree.write(CLOCK_SOURCE, "tsc\n");
    let attestation = format!("[attestation]\nroot_sha256 = \"{}\"\n", hex::encode(attestation_root()));
    let image = format!("{POLICY}{attestation}[clock]\nany_source = true\n");
    let mut lab = Lab::before_policy(Setup {
        policy: image.clone(),
        machine: tree.machine(),
        ..Setup::default()
    });
    assert_eq!(lab.agent.status().clock_source.as_str(), "tsc");
    let strict = image.replace("any_source = true", "any_source = false");
    let strict = Request::Policy(Some(strict.into_bytes().try_into().unwrap()));
    assert_eq!(lab.agent.call(&strict), Reply::Error(ControlError::ClockSourceRefused));
    assert_eq!(lab.agent.status().phase, Phase::AwaitingPolicy);
    assert_eq!(lab.nsm.register(16).unwrap().value, [0; 48], "nothing was measured");
    assert_eq!(lab.agent.call(&Request::Policy(None)), Reply::PolicyTaken);
    assert_eq!(stated(&mut lab).clock_source.as_deref(), Some("tsc"));
    tree.write(CLOCK_SOURCE, "kvm-clock\n");
    assert_eq!(stated(&mut lab).clock_source, None);
    assert_eq!(lab.agent.status().clock_source.as_str(), "kvm-clock");
}

fn stated(lab: &mut Lab) -> Statement {
    let proof = lab.agent.attest(&[7; 16], &[]).unwrap();
    Statement::decode(proof.statement.as_bytes()).unwrap()
}

#[test]
fn a_key_that_does_not_fit_is_refused_and_the_others_stay() {
    let tree = Tree::new();
    let mut lab = Lab::of(Setup {
        machine: tree.machine(),
        ..Setup::default()
    });
    let key = lab.key("lab-first", "P-256");
    tree.write(MEMORY, "MemAvailable:     10000 kB\n");
    assert_eq!(
        lab.agent.try_create("lab-second", "P-256", Usage::Digest, &["www"]),
        Err(ControlError::MemoryFull)
    );
    let signature = lab.client().sign(key.id, Mechanism::Ecdsa, &[7; 32]);
    assert_eq!(signature.unwrap().len(), 64);
    assert_eq!(
        lab.agent.call(&Request::Retire(key.id)),
        Reply::Retired,
        "what makes room is not refused"
    );
    tree.write(MEMORY, "MemAvailable:     100000 kB\n");
    lab.key("lab-second", "P-256");
}

const CLOCK_SOURCE: &str = "sys/devices/system/clocksource/clocksource0/current_clocksource";
const MEMORY: &str = "proc/meminfo";
