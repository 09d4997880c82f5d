//! Against the stand-in NSM, and against one that lies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use emulator_nsm::{Options, StandIn, system_clock};
use enclave_attestation::{Bound, Expectations, Nsm, NsmError, Pcr, Register, SignedDocument};
use enclave_policy::Policy;

use super::*;

/// A stand-in in a directory of its own.
struct Fresh {
    nsm: StandIn,
    dir: PathBuf,
}

impl Fresh {
    fn new() -> Self {
        static FRESH: AtomicU32 = AtomicU32::new(0);
        let number = FRESH.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("enclave-tls-measure-{}-{number}", std::process::id()));
        let nsm = StandIn::start(Options {
            dir: dir.clone(),
            pcrs: BTreeMap::from([(0, [1; 48]), (1, [2; 48]), (2, [3; 48])]),
            clock: system_clock(),
        });
        Self { nsm: nsm.unwrap(), dir }
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn example() -> Policy {
    Policy::parse(b"version = 1\nimports = false\n[keys]\ncurves = [\"P-256\"]\n").unwrap()
}

/// The registers that documents name, and that nothing can change them afterwards.
#[test]
fn threat_29_the_policy_is_measured_and_then_locked() {
    let fresh = Fresh::new();
    let nsm = &fresh.nsm;
    assert!(!nsm.register(16).unwrap().locked);
    assert_eq!(policy(nsm, &example()), Ok(()));
    for index in 16..32 {
        assert_eq!(nsm.extend(index, b"more"), Err(NsmError::Locked), "PCR{index}");
    }
    let signed = SignedDocument::decode(&nsm.attest(&Bound::default()).unwrap()).unwrap();
    let at = signed.unverified().timestamp_ms / 1_000;
    let verified = signed.verify(&nsm.pki().root_sha256(), at).unwrap();
    assert_eq!(verified.document().pcrs.len(), 32);
    let expected = Expectations {
        pcrs: BTreeMap::from([(0, [1; 48]), (16, example().pcr16()), (17, [0; 48]), (31, [0; 48])]),
        ..Expectations::default()
    };
    assert_eq!(expected.check(&verified, at * 1_000), Ok(()));
}

#[test]
fn threat_29_what_was_measured_before_is_not_added_to() {
    let fresh = Fresh::new();
    fresh.nsm.extend(16, b"someone was here").unwrap();
    assert_eq!(policy(&fresh.nsm, &example()), Err(MeasureError::NotFresh));
    let again = Fresh::new();
    assert_eq!(policy(&again.nsm, &example()), Ok(()));
    assert_eq!(policy(&again.nsm, &example()), Err(MeasureError::NotFresh));
}

/// An NSM that says yes and does not do it.
struct Lying {
    lock_below: u8,
    extends_by: &'static [u8],
    behind: Fresh,
}

impl Nsm for Lying {
    fn attest(&self, bound: &Bound<'_>) -> Result<Vec<u8>, NsmError> {
        self.behind.nsm.attest(bound)
    }

    fn extend(&self, index: u8, data: &[u8]) -> Result<Pcr, NsmError> {
        self.behind.nsm.extend(index, &[data, self.extends_by].concat())
    }

    fn lock_below(&self, count: u8) -> Result<(), NsmError> {
        self.behind.nsm.lock_below(count.min(self.lock_below))
    }

    fn register(&self, index: u8) -> Result<Register, NsmError> {
        self.behind.nsm.register(index)
    }
}

/// What the registers are afterwards is looked at, not believed.
#[test]
fn threat_29_an_unlocked_register_or_another_value_is_found() {
    let lying = |lock_below, extends_by| Lying {
        lock_below,
        extends_by,
        behind: Fresh::new(),
    };
    assert_eq!(policy(&lying(32, b""), &example()), Ok(()));
    assert_eq!(policy(&lying(31, b""), &example()), Err(MeasureError::Unlocked(31)));
    assert_eq!(policy(&lying(16, b""), &example()), Err(MeasureError::Unlocked(16)));
    assert_eq!(policy(&lying(32, b"x"), &example()), Err(MeasureError::Differs));
}
