//! Which private keys are taken. `tests/vectors/keys/make.py` made them; each refused one breaks one rule.

use aws_lc_rs::signature::{EcdsaKeyPair, RsaKeyPair};
use der::asn1::UintRef;
use der::{Encode, Reader, SliceReader};
use enclave_wire::KeyType;
use enclave_wire::control::ControlError;

use super::super::{Curve, KeyError, SigningKey, pkcs8};
use super::{imported_keys, vector};

fn refusal(der: &[u8]) -> Option<KeyError> {
    SigningKey::from_pkcs8(der).err()
}

#[test]
fn keys_of_every_kind_are_taken() {
    let types = imported_keys()
        .iter()
        .map(|key| key.key_type().to_string())
        .collect::<Vec<_>>();
    assert_eq!(types, ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"]);
    let odd = SigningKey::from_pkcs8(vector!("rsa-2056")).unwrap();
    assert_eq!(odd.key_type().to_string(), "RSA-2056");
}

#[test]
fn a_key_is_the_same_in_every_form() {
    let p256 = SigningKey::from_pkcs8(vector!("p-256")).unwrap();
    for der in [
        vector!("p-256-without-public-key"),
        vector!("p-256-with-compressed-public-key"),
        vector!("p-256-with-curve-twice"),
    ] {
        let same = SigningKey::from_pkcs8(der).unwrap();
        assert_eq!(same.spki(), p256.spki());
        assert_eq!(same.id(), p256.id());
    }
    let ed25519 = SigningKey::from_pkcs8(vector!("ed25519")).unwrap();
    assert_eq!(
        SigningKey::from_pkcs8(vector!("ed25519-version-2")).unwrap().id(),
        ed25519.id()
    );
}

#[test]
fn public_keys_are_those_that_openssl_derives() {
    let vectors = [
        vector!("rsa-2048"),
        vector!("p-256"),
        vector!("p-384"),
        vector!("p-521"),
        vector!("ed25519"),
    ];
    for (key, der) in imported_keys().into_iter().zip(vectors) {
        assert_eq!(
            key.spki().as_bytes(),
            super::openssl::public_key(der),
            "{}",
            key.key_type()
        );
    }
}

#[test]
fn other_algorithms_curves_and_sizes_are_refused() {
    for der in [
        vector!("rsa-pss-only"),
        vector!("p-224"),
        vector!("secp256k1"),
        vector!("x25519"),
        vector!("p-256-explicit"),
    ] {
        assert_eq!(refusal(der), Some(KeyError::Unsupported));
    }
    assert_eq!(refusal(vector!("rsa-1024")), Some(KeyError::RsaSize));
    assert_eq!(refusal(vector!("rsa-2052")), Some(KeyError::RsaSize));
}

#[test]
fn other_forms_are_refused() {
    for der in [
        vector!("rsa-pkcs1"),
        vector!("p-256-sec1"),
        vector!("encrypted"),
        vector!("trailing-byte"),
        vector!("rsa-version-2"),
        vector!("p-256-explicit-inside"),
        &[],
        b"-----BEGIN PRIVATE KEY-----",
    ] {
        assert_eq!(refusal(der), Some(KeyError::Malformed));
    }
    let whole = vector!("p-256");
    for length in 0..whole.len() {
        assert_eq!(refusal(&whole[..length]), Some(KeyError::Malformed), "{length}");
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    for der in [
        vector!("p-256-wrong-public-key"),
        vector!("p-256-zero"),
        vector!("ed25519-wrong-public-key"),
        vector!("rsa-without-factors"),
        vector!("rsa-without-exponent"),
        vector!("rsa-composite-factor"),
    ] {
        assert_eq!(refusal(der), Some(KeyError::Inconsistent));
    }
}

/// Why this crate reads the key itself before the library does: the library takes these.
/// The library refuses them as well, one way or the other; but of such a key it would not check the results.
#[test]
fn threat_44_an_rsa_key_without_all_its_numbers_does_not_get_as_far_as_the_library() {
    for der in [vector!("rsa-without-factors"), vector!("rsa-without-exponent")] {
        assert_eq!(pkcs8::rsa_private_key(&der[26..]), Err(KeyError::Inconsistent));
    }
    assert_eq!(pkcs8::rsa_private_key(&vector!("rsa-2048")[26..]), Ok(()));
}

#[test]
fn the_library_alone_would_take_more() {
    assert!(RsaKeyPair::from_pkcs8(vector!("rsa-composite-factor")).is_ok());
    for der in [
        vector!("trailing-byte"),
        vector!("p-256-explicit"),
        vector!("p-256-explicit-inside"),
    ] {
        assert!(EcdsaKeyPair::from_pkcs8(Curve::P256.algorithm(), der).is_ok());
    }
}

/// One bit of n, e, d, p, q, dP, dQ or qInv.
#[test]
fn threat_44_a_flipped_bit_of_any_rsa_number_is_refused() {
    let numbers = rsa_numbers(vector!("rsa-2048"));
    assert_eq!(rsa_pkcs8(&numbers), vector!("rsa-2048"));
    for place in 0..numbers.len() {
        let mut wrong = numbers.clone();
        let middle = wrong[place].len() / 2;
        wrong[place][middle] ^= 0x10;
        assert_eq!(
            refusal(&rsa_pkcs8(&wrong)),
            Some(KeyError::Inconsistent),
            "number {place}"
        );
    }
}

#[test]
fn every_byte_of_a_key_counts() {
    for whole in [vector!("p-256"), vector!("ed25519-version-2")] {
        for place in 0..whole.len() {
            let mut changed = whole.to_vec();
            changed[place] ^= 1;
            assert!(refusal(&changed).is_some(), "byte {place}");
        }
    }
}

#[test]
fn each_refusal_has_its_control_error() {
    let errors = [
        KeyError::SizeNotGenerated,
        KeyError::Malformed,
        KeyError::Unsupported,
        KeyError::RsaSize,
        KeyError::Inconsistent,
    ]
    .map(ControlError::from);
    let expected = [
        ControlError::SizeNotGenerated,
        ControlError::KeyInvalid,
        ControlError::KeyTypeRefused,
        ControlError::KeyTypeRefused,
        ControlError::KeyInvalid,
    ];
    assert_eq!(errors, expected);
}

#[test]
fn keys_are_made_in_every_type_and_in_four_rsa_sizes() {
    for text in ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"] {
        let key_type: KeyType = text.parse().unwrap();
        let (one, other) = (
            SigningKey::generate(key_type).unwrap(),
            SigningKey::generate(key_type).unwrap(),
        );
        assert_eq!(one.key_type(), key_type);
        assert!(one.id() != other.id() && one.spki() != other.spki());
    }
    for text in ["RSA-2056", "RSA-6144"] {
        assert_eq!(
            SigningKey::generate(text.parse().unwrap()).err(),
            Some(KeyError::SizeNotGenerated)
        );
    }
}

fn rsa_numbers(pkcs8: &[u8]) -> Vec<Vec<u8>> {
    // The RSAPrivateKey begins after 26 bytes of PKCS#8, and its numbers after the version.
    let mut reader = SliceReader::new(&pkcs8[26..]).unwrap();
    let read = reader.sequence(|fields| {
        fields.decode::<u8>()?;
        (0..8)
            .map(|_| Ok(fields.decode::<UintRef<'_>>()?.as_bytes().to_vec()))
            .collect::<der::Result<Vec<_>>>()
    });
    read.unwrap()
}

fn rsa_pkcs8(numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut fields = vec![UintRef::new(&[0]).unwrap()];
    fields.extend(numbers.iter().map(|number| UintRef::new(number).unwrap()));
    let key = fields.to_der().unwrap();
    let [high, low] = u16::try_from(key.len()).unwrap().to_be_bytes();
    let [outer_high, outer_low] = u16::try_from(key.len() + 22).unwrap().to_be_bytes();
    let mut pkcs8 = vec![0x30, 0x82, outer_high, outer_low, 2, 1, 0];
    pkcs8.extend([
        0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0, 4, 0x82, high, low,
    ]);
    [pkcs8, key].concat()
}
