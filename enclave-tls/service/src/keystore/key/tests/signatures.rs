//! Every mechanism of every key, verified by code that did not make the signature.

use std::collections::HashSet;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
};
use der::Encode;
use der::asn1::UintRef;
use enclave_wire::mechanism::{Input, Scheme};
use enclave_wire::signing::SignError;
use enclave_wire::{Hash, KeyType, Mechanism, Usage};

use super::super::SigningKey;
use super::openssl::verifies;
use super::{imported_keys, vector};

fn rsa() -> SigningKey {
    SigningKey::from_pkcs8(vector!("rsa-2048")).unwrap()
}

fn ecdsa_keys() -> [SigningKey; 3] {
    [vector!("p-256"), vector!("p-384"), vector!("p-521")].map(|der| SigningKey::from_pkcs8(der).unwrap())
}

fn hash_of(hash: Hash, message: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => &SHA256,
        Hash::Sha384 => &SHA384,
        Hash::Sha512 => &SHA512,
    };
    digest(algorithm, message).as_ref().to_vec()
}

fn hash_name(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha256 => "digest:sha256",
        Hash::Sha384 => "digest:sha384",
        Hash::Sha512 => "digest:sha512",
    }
}

/// r ‖ s as X.509 and openssl have it.
fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    vec![UintRef::new(r).unwrap(), UintRef::new(s).unwrap()]
        .to_der()
        .unwrap()
}

#[test]
fn openssl_verifies_every_rsa_mechanism() {
    let (key, message) = (rsa(), b"a message of no great length");
    for hash in Hash::ALL {
        let digest = hash_of(*hash, message);
        let digest_info = [&hash.digest_info_prefix()[..], &digest].concat();
        for mechanism in Mechanism::ALL {
            let input = match (mechanism.scheme(), mechanism.input()) {
                (Scheme::RsaPkcs1, Input::DigestInfo) => &digest_info[..],
                (Scheme::RsaPss, Input::Digest(own)) if own == *hash => &digest,
                (Scheme::RsaPkcs1 | Scheme::RsaPss, Input::Message(own)) if own == *hash => message,
                _ => continue,
            };
            let signature = key.sign(Usage::Digest, *mechanism, input).unwrap();
            assert_eq!(signature.len(), 256);
            let padding: &[&str] = match mechanism.scheme() {
                Scheme::RsaPss => &["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"],
                _ => &["-pkeyopt", "rsa_padding_mode:pkcs1"],
            };
            let options = [padding, &["-pkeyopt", hash_name(*hash)]].concat();
            assert_eq!(
                verifies(key.spki().as_bytes(), &options, &digest, &signature),
                Ok(()),
                "{mechanism:?}"
            );
        }
    }
}

#[test]
fn openssl_verifies_ecdsa_over_a_digest_of_any_length() {
    for key in ecdsa_keys() {
        for length in 1..=64 {
            let digest: Vec<u8> = hash_of(Hash::Sha512, &[length])
                .into_iter()
                .take(usize::from(length))
                .collect();
            let signature = key.sign(Usage::Digest, Mechanism::Ecdsa, &digest).unwrap();
            let verified = verifies(key.spki().as_bytes(), &[], &digest, &ecdsa_der(&signature));
            assert_eq!(verified, Ok(()), "{} over {length} bytes", key.key_type());
        }
    }
}

#[test]
fn openssl_verifies_ecdsa_that_hashes() {
    let message = [0x6d; 5_000];
    for key in ecdsa_keys() {
        for (mechanism, hash) in [
            (Mechanism::EcdsaSha256, Hash::Sha256),
            (Mechanism::EcdsaSha384, Hash::Sha384),
            (Mechanism::EcdsaSha512, Hash::Sha512),
        ] {
            let signature = key.sign(Usage::Digest, mechanism, &message).unwrap();
            let digest = hash_of(hash, &message);
            let verified = verifies(key.spki().as_bytes(), &[], &digest, &ecdsa_der(&signature));
            assert_eq!(verified, Ok(()), "{} {mechanism:?}", key.key_type());
        }
    }
}

#[test]
fn openssl_verifies_ed25519() {
    let key = SigningKey::from_pkcs8(vector!("ed25519")).unwrap();
    for message in [&b""[..], b"pure", &[7; 16_384]] {
        let signature = key.sign(Usage::Digest, Mechanism::Ed25519, message).unwrap();
        // openssl reads no empty file here, so the library's own verifier does.
        let own = ParsedPublicKey::new(&ED25519, key.spki().as_bytes()).unwrap();
        assert!(own.verify_sig(message, &signature).is_ok());
        if !message.is_empty() {
            assert_eq!(
                verifies(key.spki().as_bytes(), &["-rawin"], message, &signature),
                Ok(())
            );
        }
    }
}

/// The incumbent gave 9 signatures of 62 bytes in 600,000: some r or s begin with zero bytes, one in 256 with one.
#[test]
fn signatures_are_of_one_length_and_short_numbers_are_padded() {
    for (key, algorithm) in ecdsa_keys().iter().zip([
        &ECDSA_P256_SHA256_FIXED,
        &ECDSA_P384_SHA384_FIXED,
        &ECDSA_P521_SHA512_FIXED,
    ]) {
        let public = ParsedPublicKey::new(algorithm, key.spki().as_bytes()).unwrap();
        let own_hash = match key.key_type() {
            KeyType::P384 => Mechanism::EcdsaSha384,
            KeyType::P521 => Mechanism::EcdsaSha512,
            _ => Mechanism::EcdsaSha256,
        };
        let mut short = 0;
        for round in 0u32..3_000 {
            let message = round.to_be_bytes();
            let signature = key.sign(Usage::Digest, own_hash, &message).unwrap();
            assert_eq!(signature.len(), key.key_type().signature_len());
            let (r, s) = signature.split_at(signature.len() / 2);
            if r[0] == 0 || s[0] == 0 {
                short += 1;
                assert!(public.verify_sig(&message, &signature).is_ok());
            }
        }
        assert!(short > 0, "{}", key.key_type());
    }
}

#[test]
fn threat_45_nonces_are_unique() {
    unique_nonces(20_000);
}

#[test]
#[ignore = "a minute: the full test runs it"]
fn threat_45_a_million_nonces_are_unique() {
    unique_nonces(1_000_000);
}

fn unique_nonces(count: usize) {
    let key = SigningKey::from_pkcs8(vector!("p-256")).unwrap();
    let seen: HashSet<Vec<u8>> = (0..count)
        .map(|_| key.sign(Usage::Digest, Mechanism::Ecdsa, &[0x5a; 32]).unwrap()[..32].to_vec())
        .collect();
    assert_eq!(seen.len(), count);
}

#[test]
fn inputs_of_other_lengths_are_refused() {
    let key = rsa();
    let refused = |mechanism, input: &[u8]| key.sign(Usage::Digest, mechanism, input);
    for (mechanism, length) in [
        (Mechanism::RsaPssDigestSha256, 32),
        (Mechanism::RsaPssDigestSha384, 48),
        (Mechanism::RsaPssDigestSha512, 64),
    ] {
        for other in [0, 20, length - 1, length + 1] {
            assert_eq!(
                refused(mechanism, &vec![1; other]),
                Err(SignError::InputLength),
                "{mechanism:?} {other}"
            );
        }
    }
    for length in [0, 20, 32, 36, 50, 52, 245, 256] {
        assert_eq!(
            refused(Mechanism::RsaPkcs1, &vec![1; length]),
            Err(SignError::InputLength),
            "{length}"
        );
    }
    for key in ecdsa_keys() {
        for length in [0, 65, 128] {
            assert_eq!(
                key.sign(Usage::Digest, Mechanism::Ecdsa, &vec![1; length]),
                Err(SignError::InputLength),
                "{length}"
            );
        }
    }
    for key in imported_keys() {
        for mechanism in Mechanism::ALL {
            let long = key.sign(Usage::Digest, *mechanism, &[0; 16_385]);
            assert_eq!(long, Err(SignError::InputLength), "{} {mechanism:?}", key.key_type());
        }
    }
}

/// Threat 41: nothing goes under PKCS #1 padding but a DigestInfo of SHA-2 as it must be written, so never raw RSA.
#[test]
fn threat_41_what_only_looks_like_a_digest_info_is_refused() {
    let key = rsa();
    for hash in Hash::ALL {
        let good = [&hash.digest_info_prefix()[..], &vec![0x5a; hash.digest_len()]].concat();
        assert!(key.sign(Usage::Digest, Mechanism::RsaPkcs1, &good).is_ok());
        for place in 0..hash.digest_info_prefix().len() {
            let mut changed = good.clone();
            changed[place] ^= 1;
            assert_eq!(
                key.sign(Usage::Digest, Mechanism::RsaPkcs1, &changed),
                Err(SignError::UsageRefused),
                "{hash:?} byte {place}"
            );
        }
    }
    let sha1 = hex::decode("3021300906052b0e03021a05000414").unwrap();
    let sha1 = [&sha1[..], digest(&SHA1_FOR_LEGACY_USE_ONLY, b"").as_ref()].concat();
    assert_eq!(
        key.sign(Usage::Digest, Mechanism::RsaPkcs1, &sha1),
        Err(SignError::InputLength)
    );
}

#[test]
fn mechanisms_of_another_type_or_usage_are_refused() {
    for key in imported_keys() {
        for mechanism in Mechanism::ALL {
            for usage in Usage::ALL {
                if !mechanism.allowed_for(key.key_type(), *usage) {
                    let answer = key.sign(*usage, *mechanism, &[0x5a; 32]);
                    assert_eq!(
                        answer,
                        Err(SignError::UsageRefused),
                        "{} {usage} {mechanism:?}",
                        key.key_type()
                    );
                }
            }
        }
    }
}

#[test]
fn threat_40_a_tls_key_signs_its_handshake_and_nothing_else() {
    let handshake = [&[b' '; 64][..], b"TLS 1.3, server CertificateVerify\0", &[0x5a; 32]].concat();
    for key in imported_keys() {
        let mechanism = match key.key_type() {
            KeyType::Rsa(_) => Mechanism::RsaPssSha256,
            KeyType::P256 => Mechanism::EcdsaSha256,
            KeyType::P384 => Mechanism::EcdsaSha384,
            KeyType::P521 => Mechanism::EcdsaSha512,
            KeyType::Ed25519 => Mechanism::Ed25519,
        };
        assert!(key.sign(Usage::Tls, mechanism, &handshake).is_ok());
        assert_eq!(
            key.sign(Usage::TlsClient, mechanism, &handshake),
            Err(SignError::UsageRefused)
        );
        assert_eq!(
            key.sign(Usage::Tls, mechanism, &handshake[1..]),
            Err(SignError::UsageRefused)
        );
        // A certificate request of the key's own is no exception on this plane.
        let request = key.certificate_request(&["a.example".parse().unwrap()]).unwrap();
        assert_eq!(
            key.sign(Usage::Tls, mechanism, request.as_bytes()),
            Err(SignError::UsageRefused)
        );
    }
}
