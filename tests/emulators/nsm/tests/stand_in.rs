//! The stand-in, as its users see it: what a real NSM would do, and refuse.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod scratch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use emulator_nsm::{MARKER, Options, Pki, ROOT_FILE, StandIn, StartError, system_clock};
use enclave_attestation::{AWS_ROOT_SHA256, Bound, ChainError, Nsm, NsmError, SignedDocument, Verified, VerifyError};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use scratch::Scratch;

/// 2027-01-01 00:00:00 UTC.
const NOW: u64 = 1_798_761_600;

fn start(scratch: &Scratch) -> StandIn {
    start_at(scratch, Arc::new(|| NOW * 1_000))
}

fn start_at(scratch: &Scratch, clock: emulator_nsm::Clock) -> StandIn {
    let options = Options {
        dir: scratch.path().to_owned(),
        pcrs: BTreeMap::from([(0, [1; 48]), (1, [2; 48]), (2, [3; 48]), (4, [5; 48])]),
        clock,
    };
    StandIn::start(options).unwrap()
}

fn verified(nsm: &StandIn, bound: &Bound<'_>, at: u64) -> Result<Verified, VerifyError> {
    SignedDocument::decode(&nsm.attest(bound).unwrap())?.verify(&nsm.pki().root_sha256(), at)
}

#[test]
fn a_document_says_what_is_bound_to_it_and_is_untagged() {
    let scratch = Scratch::new("document");
    let nsm = start(&scratch);
    let bound = Bound {
        public_key: Some(&[1; 294]),
        user_data: Some(&[2; 48]),
        nonce: Some(&[3; 1_024]),
    };
    assert_eq!(nsm.attest(&bound).unwrap().first(), Some(&0x84));
    let verified_document = verified(&nsm, &bound, NOW).unwrap();
    let document = verified_document.document();
    assert_eq!(document.public_key.as_deref(), bound.public_key);
    assert_eq!(document.user_data.as_deref(), bound.user_data);
    assert_eq!(document.nonce.as_deref(), bound.nonce);
    assert_eq!((document.timestamp_ms, document.cabundle.len()), (NOW * 1_000, 3));
    let empty = verified(&nsm, &Bound::default(), NOW).unwrap();
    assert_eq!(empty.document().nonce, None);
    assert_eq!(empty.document().public_key, None);
}

#[test]
fn what_is_too_long_is_refused() {
    let scratch = Scratch::new("limits");
    let nsm = start(&scratch);
    let long = [0; 1_025];
    for bound in [
        Bound {
            public_key: Some(&long),
            ..Bound::default()
        },
        Bound {
            public_key: Some(&[]),
            ..Bound::default()
        },
        Bound {
            user_data: Some(&long),
            ..Bound::default()
        },
        Bound {
            nonce: Some(&long),
            ..Bound::default()
        },
    ] {
        assert_eq!(nsm.attest(&bound), Err(NsmError::Argument));
    }
    assert_eq!(nsm.extend(16, &long), Err(NsmError::Argument));
    assert_eq!(nsm.extend(32, &[1]), Err(NsmError::Argument));
    assert_eq!(nsm.register(32), Err(NsmError::Argument));
    assert_eq!(nsm.lock_below(33), Err(NsmError::Argument));
    assert!(!nsm.register(31).unwrap().locked);
}

/// 0 to 15 measure the enclave and are locked; 16 to 31 are zero and its own.
#[test]
fn registers_are_those_of_an_enclave_that_boots() {
    let scratch = Scratch::new("registers");
    let nsm = start(&scratch);
    for index in 0..16 {
        assert!(nsm.register(index).unwrap().locked);
        assert_eq!(nsm.extend(index, &[1]), Err(NsmError::Locked));
    }
    assert_eq!(nsm.register(4).unwrap().value, [5; 48]);
    assert_eq!(nsm.register(3).unwrap().value, [0; 48]);
    for index in 16..32 {
        let register = nsm.register(index).unwrap();
        assert_eq!((register.value, register.locked), ([0; 48], false));
    }
    let given = Options {
        dir: scratch.path().to_owned(),
        pcrs: BTreeMap::from([(16, [1; 48])]),
        clock: system_clock(),
    };
    assert!(matches!(StandIn::start(given), Err(StartError::Register)));
}

/// SHA-384 of 48 zero bytes and `abc`, by another implementation: `(head -c48 /dev/zero; printf abc) | sha384sum`.
#[test]
fn a_register_is_extended_until_it_is_locked() {
    let scratch = Scratch::new("extend");
    let nsm = start(&scratch);
    let value = nsm.extend(16, b"abc").unwrap();
    assert_eq!(hex::encode(value), EXTENDED);
    assert_eq!(nsm.register(16).unwrap().value, value);
    assert_ne!(nsm.extend(16, b"abc").unwrap(), value);
    let listed = |nsm: &StandIn| {
        let document = verified(nsm, &Bound::default(), NOW).unwrap();
        document.document().pcrs.keys().copied().collect::<Vec<u8>>()
    };
    assert_eq!(listed(&nsm), (0..16).collect::<Vec<u8>>());
    nsm.lock_below(18).unwrap();
    assert_eq!(nsm.extend(17, b"abc"), Err(NsmError::Locked));
    assert!(nsm.extend(18, b"abc").is_ok());
    assert_eq!(listed(&nsm), (0..18).collect::<Vec<u8>>());
    nsm.lock_below(32).unwrap();
    assert_eq!(listed(&nsm), (0..32).collect::<Vec<u8>>());
}

const EXTENDED: &str =
    "b1c16eb7634112b7c9d5ebd27e62a2d4528bbfcfd68b62d3afd9ecf98e0f413a84314acce78317fb69fd895155343e09";

/// Three hours, and another one well before they end; also when the clock is put back.
#[test]
fn a_leaf_lives_three_hours_and_is_renewed() {
    let scratch = Scratch::new("renewal");
    let now = Arc::new(AtomicU64::new(NOW * 1_000 + 999));
    let clock = Arc::clone(&now);
    let nsm = start_at(&scratch, Arc::new(move || clock.load(Ordering::SeqCst)));
    let leaf = |at: u64| {
        now.store(at * 1_000, Ordering::SeqCst);
        let document = verified(&nsm, &Bound::default(), at).unwrap();
        document.document().certificate.clone()
    };
    let first = leaf(NOW);
    let certificate = Certificate::from_der(&first).unwrap();
    let validity = certificate.tbs_certificate().validity();
    let life = [validity.not_before, validity.not_after].map(|time| time.to_unix_duration().as_secs());
    assert_eq!(life, [NOW, NOW + 3 * 3_600]);
    assert_eq!(leaf(NOW + 3_600), first);
    let second = leaf(NOW + 2 * 3_600);
    assert_ne!(second, first);
    assert_ne!(leaf(NOW), second);
    // Months later the intermediates are others too.
    leaf(NOW + 90 * 24 * 3_600);
    let old = SignedDocument::decode(&nsm.attest(&Bound::default()).unwrap()).unwrap();
    assert_eq!(
        old.verify(&nsm.pki().root_sha256(), NOW),
        Err(VerifyError::Chain(ChainError::NotYetValid))
    );
}

/// Several services, and the same one after a restart, are under one root; another directory has another.
#[test]
fn a_directory_has_one_root() {
    let (scratch, other) = (Scratch::new("one-root"), Scratch::new("another-root"));
    let roots = std::thread::scope(|scope| {
        let open = || Pki::open(scratch.path()).unwrap().root_sha256();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
    let nsm = start(&scratch);
    assert_eq!(nsm.pki().root_sha256(), roots[0]);
    assert_eq!(
        std::fs::read(scratch.path().join(ROOT_FILE)).unwrap(),
        nsm.pki().root_der()
    );
    assert!(verified(&nsm, &Bound::default(), NOW).is_ok());
    assert_ne!(Pki::open(other.path()).unwrap().root_sha256(), roots[0]);
    let left = std::fs::read_dir(scratch.path()).unwrap().count();
    assert_eq!(left, 2, "the key and the certificate, and nothing half written");
}

/// Whoever trusts AWS does not trust it, and every certificate says what it is.
#[test]
fn threat_19_it_is_not_aws() {
    let scratch = Scratch::new("not-aws");
    let nsm = start(&scratch);
    let signed = SignedDocument::decode(&nsm.attest(&Bound::default()).unwrap()).unwrap();
    let document = signed.unverified().clone();
    assert_eq!(
        signed.verify(&AWS_ROOT_SHA256, NOW),
        Err(VerifyError::Chain(ChainError::Root))
    );
    for der in document.cabundle.iter().chain([&document.certificate]) {
        let certificate = Certificate::from_der(der).unwrap();
        assert!(
            certificate
                .tbs_certificate()
                .subject()
                .to_string()
                .contains("stand-in NSM")
        );
        assert!(der.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()));
    }
}
