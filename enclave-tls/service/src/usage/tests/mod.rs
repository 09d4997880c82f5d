//! What each usage lets through, and every refusal that the policy names.

mod messages;
mod properties;
mod refused;

use enclave_wire::{KeyType, Mechanism, Usage};

use super::permits;

/// Every kind of key once.
fn key_types() -> Vec<KeyType> {
    ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"]
        .map(|text| text.parse().unwrap())
        .to_vec()
}

/// The mechanisms by which a key signs this message.
fn permitted(usage: Usage, key_type: KeyType, message: &[u8]) -> Vec<Mechanism> {
    Mechanism::ALL
        .iter()
        .copied()
        .filter(|m| permits(usage, key_type, *m, message))
        .collect()
}

/// Whether a key of any type and of this usage signs this message by any mechanism at all.
fn permitted_at_all(usage: Usage, message: &[u8]) -> bool {
    key_types()
        .into_iter()
        .any(|key_type| !permitted(usage, key_type, message).is_empty())
}

#[test]
fn tls13_goes_with_the_schemes_of_tls13() {
    for length in [32, 48] {
        let server = messages::certificate_verify("TLS 1.3, server CertificateVerify", length);
        let client = messages::certificate_verify("TLS 1.3, client CertificateVerify", length);
        assert_eq!(server.len(), 98 + length);
        for key_type in key_types() {
            let schemes = match key_type {
                KeyType::Rsa(_) => vec![
                    Mechanism::RsaPssSha256,
                    Mechanism::RsaPssSha384,
                    Mechanism::RsaPssSha512,
                ],
                KeyType::P256 => vec![Mechanism::EcdsaSha256],
                KeyType::P384 => vec![Mechanism::EcdsaSha384],
                KeyType::P521 => vec![Mechanism::EcdsaSha512],
                KeyType::Ed25519 => vec![Mechanism::Ed25519],
            };
            assert_eq!(permitted(Usage::Tls, key_type, &server), schemes, "{key_type}");
            assert_eq!(permitted(Usage::TlsClient, key_type, &client), schemes, "{key_type}");
            assert_eq!(permitted(Usage::Tls, key_type, &client), [], "{key_type}");
            assert_eq!(permitted(Usage::TlsClient, key_type, &server), [], "{key_type}");
        }
    }
}

#[test]
fn tls12_goes_with_every_group_and_every_hash() {
    for (group, share) in messages::shares() {
        let message = messages::server_key_exchange(group, &share);
        for key_type in key_types() {
            let schemes = match key_type {
                KeyType::Rsa(_) => vec![
                    Mechanism::RsaPkcs1Sha256,
                    Mechanism::RsaPkcs1Sha384,
                    Mechanism::RsaPkcs1Sha512,
                    Mechanism::RsaPssSha256,
                    Mechanism::RsaPssSha384,
                    Mechanism::RsaPssSha512,
                ],
                KeyType::P256 | KeyType::P384 | KeyType::P521 => {
                    vec![Mechanism::EcdsaSha256, Mechanism::EcdsaSha384, Mechanism::EcdsaSha512]
                }
                KeyType::Ed25519 => vec![Mechanism::Ed25519],
            };
            assert_eq!(
                permitted(Usage::Tls, key_type, &message),
                schemes,
                "{key_type} {group:04x}"
            );
            assert_eq!(
                permitted(Usage::TlsClient, key_type, &message),
                [],
                "{key_type} {group:04x}"
            );
        }
    }
}

#[test]
fn digest_goes_with_anything_up_to_16_kib() {
    for length in [0, 1, 20, 32, 51, 64, 16_384] {
        let message = vec![0x41; length];
        let counts: Vec<_> = key_types()
            .into_iter()
            .map(|key_type| permitted(Usage::Digest, key_type, &message).len())
            .collect();
        assert_eq!(counts, [10, 4, 4, 4, 1], "{length}");
    }
    assert!(!permitted_at_all(Usage::Digest, &[0; 16_385]));
}
