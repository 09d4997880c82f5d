//! The signature of a certificate: SHA-2 only, with RSA (PKCS #1 or PSS), ECDSA on the three curves, or Ed25519.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode};
use enclave_wire::Hash;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use super::oid;

/// Whether `signature`, made by this algorithm with the key `spki`, is of `message`. The key must be of the algorithm's kind.
pub(super) fn verifies(algorithm: &AlgorithmIdentifierOwned, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    verification(algorithm, spki).is_some_and(|algorithm| {
        UnparsedPublicKey::new(algorithm, spki)
            .verify(message, signature)
            .is_ok()
    })
}

fn verification(algorithm: &AlgorithmIdentifierOwned, spki: &[u8]) -> Option<&'static dyn VerificationAlgorithm> {
    let issuer = SubjectPublicKeyInfoRef::from_der(spki).ok()?.algorithm;
    let curve = issuer.parameters.and_then(|any| ObjectIdentifier::try_from(any).ok());
    let parameters = algorithm.parameters.as_ref().map(AnyRef::from);
    match (algorithm.oid, issuer.oid) {
        (oid::RSASSA_PSS, oid::RSA_ENCRYPTION) => pss(parameters?),
        (named, oid::RSA_ENCRYPTION) if parameters == Some(AnyRef::NULL) => pkcs1(named),
        (named, oid::EC_PUBLIC_KEY) if parameters.is_none() => ecdsa(named, curve?),
        (oid::ED25519, oid::ED25519) if parameters.is_none() => Some(&ED25519),
        _ => None,
    }
}

fn pkcs1(algorithm: ObjectIdentifier) -> Option<&'static dyn VerificationAlgorithm> {
    match algorithm {
        oid::SHA256_WITH_RSA => Some(&RSA_PKCS1_2048_8192_SHA256),
        oid::SHA384_WITH_RSA => Some(&RSA_PKCS1_2048_8192_SHA384),
        oid::SHA512_WITH_RSA => Some(&RSA_PKCS1_2048_8192_SHA512),
        _ => None,
    }
}

pub(super) fn ecdsa(
    algorithm: ObjectIdentifier,
    curve: ObjectIdentifier,
) -> Option<&'static dyn VerificationAlgorithm> {
    match (curve, algorithm) {
        (oid::SECP256R1, oid::ECDSA_WITH_SHA256) => Some(&ECDSA_P256_SHA256_ASN1),
        (oid::SECP256R1, oid::ECDSA_WITH_SHA384) => Some(&ECDSA_P256_SHA384_ASN1),
        (oid::SECP256R1, oid::ECDSA_WITH_SHA512) => Some(&ECDSA_P256_SHA512_ASN1),
        (oid::SECP384R1, oid::ECDSA_WITH_SHA256) => Some(&ECDSA_P384_SHA256_ASN1),
        (oid::SECP384R1, oid::ECDSA_WITH_SHA384) => Some(&ECDSA_P384_SHA384_ASN1),
        (oid::SECP384R1, oid::ECDSA_WITH_SHA512) => Some(&ECDSA_P384_SHA512_ASN1),
        (oid::SECP521R1, oid::ECDSA_WITH_SHA256) => Some(&ECDSA_P521_SHA256_ASN1),
        (oid::SECP521R1, oid::ECDSA_WITH_SHA384) => Some(&ECDSA_P521_SHA384_ASN1),
        (oid::SECP521R1, oid::ECDSA_WITH_SHA512) => Some(&ECDSA_P521_SHA512_ASN1),
        _ => None,
    }
}

fn pss(parameters: AnyRef<'_>) -> Option<&'static dyn VerificationAlgorithm> {
    let found = parameters.to_der().ok()?;
    let hash = Hash::ALL.iter().copied().find(|hash| found == pss_parameters(*hash))?;
    Some(match hash {
        Hash::Sha256 => &RSA_PSS_2048_8192_SHA256,
        Hash::Sha384 => &RSA_PSS_2048_8192_SHA384,
        Hash::Sha512 => &RSA_PSS_2048_8192_SHA512,
    })
}

/// RSASSA-PSS-params (RFC 4055) of one hash throughout and a salt as long as it, in the one form that the CA/Browser Forum's
/// requirements allow (7.1.3.2.1).
pub(super) fn pss_parameters(hash: Hash) -> [u8; 54] {
    let (hash, salt) = match hash {
        Hash::Sha256 => (1, 32),
        Hash::Sha384 => (2, 48),
        Hash::Sha512 => (3, 64),
    };
    #[rustfmt::skip]
    let der = [
        0x30, 0x34,
        0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash, 0x05, 0x00,
        0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
                    0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash, 0x05, 0x00,
        0xa2, 0x03, 0x02, 0x01, salt,
    ];
    der
}
