//! The signature of a certificate: SHA-2 only, with RSA (PKCS #1 or PSS), ECDSA on the three curves, or Ed25519.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Reader, SliceReader};
use enclave_wire::Hash;
use enclave_wire::control::ControlError;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoRef};

use super::oid;

/// Whether `signature`, made by this algorithm with the issuer's key `spki`, is of `message`.
///
/// What no client takes either is told apart from a signature that is another's: whoever has an old CA looks for another key in vain.
pub(super) fn verify(
    algorithm: &AlgorithmIdentifierOwned,
    spki: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), ControlError> {
    let scheme = Scheme::of(algorithm).ok_or(ControlError::ChainAlgorithm)?;
    let key = IssuerKey::of(spki).ok_or(ControlError::ChainIssuerKey)?;
    let by = verification(scheme, key).ok_or(ControlError::ChainSignature)?;
    let verified = UnparsedPublicKey::new(by, spki).verify(message, signature);
    verified.map_err(|_| ControlError::ChainSignature)
}

/// How a certificate may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Pkcs1(Hash),
    Pss(Hash),
    Ecdsa(Hash),
    Ed25519,
}

impl Scheme {
    fn of(algorithm: &AlgorithmIdentifierOwned) -> Option<Self> {
        let parameters = algorithm.parameters.as_ref().map(AnyRef::from);
        // RFC 4055 and RFC 5758: NULL with RSA's, none with the others'.
        let (is_null, are_none) = (parameters == Some(AnyRef::NULL), parameters.is_none());
        match algorithm.oid {
            oid::SHA256_WITH_RSA if is_null => Some(Self::Pkcs1(Hash::Sha256)),
            oid::SHA384_WITH_RSA if is_null => Some(Self::Pkcs1(Hash::Sha384)),
            oid::SHA512_WITH_RSA if is_null => Some(Self::Pkcs1(Hash::Sha512)),
            oid::RSASSA_PSS => pss(parameters?).map(Self::Pss),
            oid::ECDSA_WITH_SHA256 if are_none => Some(Self::Ecdsa(Hash::Sha256)),
            oid::ECDSA_WITH_SHA384 if are_none => Some(Self::Ecdsa(Hash::Sha384)),
            oid::ECDSA_WITH_SHA512 if are_none => Some(Self::Ecdsa(Hash::Sha512)),
            oid::ED25519 if are_none => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// What an issuer may sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IssuerKey {
    /// Of 2,048 to 8,192 bits, which is what is verified with.
    Rsa,
    P256,
    P384,
    P521,
    Ed25519,
}

impl IssuerKey {
    pub(super) fn of(spki: &[u8]) -> Option<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
        let curve = || ObjectIdentifier::try_from(spki.algorithm.parameters?).ok();
        match spki.algorithm.oid {
            oid::RSA_ENCRYPTION => {
                let bits = modulus_bits(spki.subject_public_key.as_bytes()?)?;
                RSA_BITS.contains(&bits).then_some(Self::Rsa)
            }
            oid::EC_PUBLIC_KEY => match curve()? {
                oid::SECP256R1 => Some(Self::P256),
                oid::SECP384R1 => Some(Self::P384),
                oid::SECP521R1 => Some(Self::P521),
                _ => None,
            },
            oid::ED25519 => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// Of an RSAPublicKey (RFC 8017, A.1.1).
fn modulus_bits(key: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader.sequence(|fields| {
        let modulus: UintRef<'_> = fields.decode()?;
        let _exponent: UintRef<'_> = fields.decode()?;
        Ok::<_, der::Error>(modulus)
    });
    let bytes = modulus.ok()?.as_bytes();
    let unused = usize::try_from(bytes.first()?.leading_zeros()).ok()?;
    bytes.len().checked_mul(8)?.checked_sub(unused)
}

/// The verification of a scheme by a key of its kind; none where the kinds differ.
pub(super) fn verification(scheme: Scheme, key: IssuerKey) -> Option<&'static dyn VerificationAlgorithm> {
    use Hash::{Sha256, Sha384, Sha512};
    Some(match (scheme, key) {
        (Scheme::Pkcs1(Sha256), IssuerKey::Rsa) => &RSA_PKCS1_2048_8192_SHA256,
        (Scheme::Pkcs1(Sha384), IssuerKey::Rsa) => &RSA_PKCS1_2048_8192_SHA384,
        (Scheme::Pkcs1(Sha512), IssuerKey::Rsa) => &RSA_PKCS1_2048_8192_SHA512,
        (Scheme::Pss(Sha256), IssuerKey::Rsa) => &RSA_PSS_2048_8192_SHA256,
        (Scheme::Pss(Sha384), IssuerKey::Rsa) => &RSA_PSS_2048_8192_SHA384,
        (Scheme::Pss(Sha512), IssuerKey::Rsa) => &RSA_PSS_2048_8192_SHA512,
        (Scheme::Ecdsa(Sha256), IssuerKey::P256) => &ECDSA_P256_SHA256_ASN1,
        (Scheme::Ecdsa(Sha384), IssuerKey::P256) => &ECDSA_P256_SHA384_ASN1,
        (Scheme::Ecdsa(Sha512), IssuerKey::P256) => &ECDSA_P256_SHA512_ASN1,
        (Scheme::Ecdsa(Sha256), IssuerKey::P384) => &ECDSA_P384_SHA256_ASN1,
        (Scheme::Ecdsa(Sha384), IssuerKey::P384) => &ECDSA_P384_SHA384_ASN1,
        (Scheme::Ecdsa(Sha512), IssuerKey::P384) => &ECDSA_P384_SHA512_ASN1,
        (Scheme::Ecdsa(Sha256), IssuerKey::P521) => &ECDSA_P521_SHA256_ASN1,
        (Scheme::Ecdsa(Sha384), IssuerKey::P521) => &ECDSA_P521_SHA384_ASN1,
        (Scheme::Ecdsa(Sha512), IssuerKey::P521) => &ECDSA_P521_SHA512_ASN1,
        (Scheme::Ed25519, IssuerKey::Ed25519) => &ED25519,
        (Scheme::Pkcs1(_) | Scheme::Pss(_) | Scheme::Ecdsa(_) | Scheme::Ed25519, _) => return None,
    })
}

fn pss(parameters: AnyRef<'_>) -> Option<Hash> {
    let found = parameters.to_der().ok()?;
    Hash::ALL.iter().copied().find(|hash| found == pss_parameters(*hash))
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

/// What the RSA verifications above take.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
