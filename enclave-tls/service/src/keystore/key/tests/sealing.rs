//! What sealing writes of a key is the key.

use super::super::SigningKey;
use super::openssl::public_key;
use super::{imported_keys, vector};
use enclave_wire::{Mechanism, Usage};

#[test]
fn a_key_comes_back_from_what_sealing_writes() {
    let made = ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"];
    let made = made.map(|key_type| SigningKey::generate(key_type.parse().unwrap()).unwrap());
    let odd = [
        vector!("rsa-2056"),
        vector!("p-256-without-public-key"),
        vector!("p-256-with-compressed-public-key"),
        vector!("p-256-with-curve-twice"),
        vector!("ed25519-version-2"),
    ];
    let odd = odd.map(|der| SigningKey::from_pkcs8(der).unwrap());
    for key in imported_keys().into_iter().chain(made).chain(odd) {
        let pkcs8 = key.to_pkcs8().unwrap();
        let again = SigningKey::from_pkcs8(&pkcs8).unwrap();
        assert_eq!((again.spki(), again.key_type()), (key.spki(), key.key_type()));
        assert_eq!(*again.to_pkcs8().unwrap(), *pkcs8, "{}", key.key_type());
    }
}

#[test]
fn openssl_derives_the_public_key_from_what_sealing_writes() {
    for key in imported_keys() {
        let pkcs8 = key.to_pkcs8().unwrap();
        assert_eq!(public_key(&pkcs8), key.spki().as_bytes(), "{}", key.key_type());
    }
}

/// RSA and Ed25519 sign the same twice: the private half is the same, too.
#[test]
fn the_private_half_is_the_same() {
    for (key, mechanism) in [
        (vector!("rsa-2048"), Mechanism::RsaPkcs1Sha256),
        (vector!("ed25519"), Mechanism::Ed25519),
    ] {
        let key = SigningKey::from_pkcs8(key).unwrap();
        let again = SigningKey::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        let sign = |key: &SigningKey| key.sign(Usage::Digest, mechanism, b"message").unwrap();
        assert_eq!(sign(&key), sign(&again));
    }
}
