//! Keys: which are taken, and what they sign.

mod fault;
mod import;
pub(in crate::keystore) mod openssl;
mod pem;
mod poison;
mod sealing;
mod signatures;

use enclave_wire::{Mechanism, Usage};

use super::SigningKey;

/// A private key of `tests/vectors/keys`.
macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/keys/",
            $name,
            ".der"
        ))
        .as_slice()
    };
}
use vector;

/// A key of every kind, as an administrator imports them.
fn imported_keys() -> Vec<SigningKey> {
    [
        vector!("rsa-2048"),
        vector!("p-256"),
        vector!("p-384"),
        vector!("p-521"),
        vector!("ed25519"),
    ]
    .map(|der| SigningKey::from_pkcs8(der).unwrap())
    .into()
}

/// Threat 48: what cannot be printed or copied is in no log and no panic, and is wiped where it lies.
#[test]
fn threat_48_a_key_can_be_neither_printed_nor_copied() {
    struct Probe<T>(std::marker::PhantomData<T>);
    trait Absent {
        const PRINTS: bool = false;
        const COPIES: bool = false;
    }
    impl<T> Absent for Probe<T> {}
    // Where the bound holds, this comes before the trait's.
    impl<T: std::fmt::Debug> Probe<T> {
        const PRINTS: bool = true;
    }
    impl<T: Clone> Probe<T> {
        const COPIES: bool = true;
    }
    assert_eq!((Probe::<u8>::PRINTS, Probe::<u8>::COPIES), (true, true));
    assert_eq!(
        (Probe::<SigningKey>::PRINTS, Probe::<SigningKey>::COPIES),
        (false, false)
    );
}

/// Connections sign with one key at the same time: nothing is parsed, and nothing but RSA's blinding is locked.
#[test]
fn a_key_is_shared_by_threads() {
    for key in imported_keys() {
        let mechanism = *Mechanism::ALL
            .iter()
            .rfind(|m| m.allowed_for(key.key_type(), Usage::Digest))
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..20).for_each(|_| drop(key.sign(Usage::Digest, mechanism, b"message").unwrap())));
            }
        });
    }
}
