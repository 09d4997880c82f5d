//! Reads the outer form of a private key, and leaves its numbers to the library.
//!
//! The library reads PKCS#8 too, but takes more than a key should be: bytes after the key, and curves written out. It has an
//! exception for RSA keys without exponent and factors (as old Java wrote them), for which it neither blinds nor checks a result:
//! none such gets as far as the library.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use der::asn1::{AnyRef, BitStringRef, ContextSpecific, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Reader, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::{Curve, KeyError, PrivateKey, modulus_bits};
use crate::chain::oid;

/// Reads a key. The library checks its numbers: `RSA_check_key` (n = p·q; e·d = 1 modulo p - 1 and q - 1; the CRT values),
/// `EC_KEY_check_key` (the public point is the scalar's), and for Ed25519 the public key where one is given.
pub(super) fn parse(der: &[u8]) -> Result<PrivateKey, KeyError> {
    let envelope = Envelope::parse(der).map_err(|_| KeyError::Malformed)?;
    let accepted = match envelope.algorithm()? {
        Algorithm::Rsa => {
            rsa_private_key(envelope.private_key)?;
            RsaKeyPair::from_pkcs8(der).map(PrivateKey::Rsa)
        }
        Algorithm::Ecdsa(curve) => {
            ec_private_key(envelope.private_key)?;
            EcdsaKeyPair::from_pkcs8(curve.algorithm(), der).map(|pair| PrivateKey::Ecdsa(curve, pair))
        }
        Algorithm::Ed25519 => Ed25519KeyPair::from_pkcs8(der).map(PrivateKey::Ed25519),
    };
    accepted.map_err(|_| KeyError::Inconsistent)
}

enum Algorithm {
    Rsa,
    Ecdsa(Curve),
    Ed25519,
}

/// A PrivateKeyInfo (RFC 5208), or a OneAsymmetricKey (RFC 5958).
struct Envelope<'a> {
    version: u8,
    algorithm: AlgorithmIdentifierRef<'a>,
    private_key: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn parse(der: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let envelope = reader.sequence(|fields| {
            let envelope = Self {
                version: fields.decode()?,
                algorithm: fields.decode()?,
                private_key: fields.decode::<&OctetStringRef>()?.as_bytes(),
            };
            // Attributes and a public key may follow: the library reads them.
            while !fields.is_finished() {
                fields.tlv_bytes()?;
            }
            Ok::<_, der::Error>(envelope)
        })?;
        reader.finish()?;
        Ok(envelope)
    }

    fn algorithm(&self) -> Result<Algorithm, KeyError> {
        let parameters = self.algorithm.parameters;
        let algorithm = match self.algorithm.oid {
            oid::RSA_ENCRYPTION if parameters == Some(AnyRef::NULL) => Algorithm::Rsa,
            oid::EC_PUBLIC_KEY => Algorithm::Ecdsa(named_curve(parameters)?),
            oid::ED25519 if parameters.is_none() => Algorithm::Ed25519,
            _ => return Err(KeyError::Unsupported),
        };
        // Only Ed25519 is written in version 2, with a public key that the library compares.
        match (self.version, &algorithm) {
            (0, _) | (1, Algorithm::Ed25519) => Ok(algorithm),
            _ => Err(KeyError::Malformed),
        }
    }
}

fn named_curve(parameters: Option<AnyRef<'_>>) -> Result<Curve, KeyError> {
    match parameters.and_then(|any| ObjectIdentifier::try_from(any).ok()) {
        Some(oid::SECP256R1) => Ok(Curve::P256),
        Some(oid::SECP384R1) => Ok(Curve::P384),
        Some(oid::SECP521R1) => Ok(Curve::P521),
        _ => Err(KeyError::Unsupported),
    }
}

/// An RSAPrivateKey (RFC 8017, A.1.2) of two primes, with every number there.
pub(super) fn rsa_private_key(der: &[u8]) -> Result<(), KeyError> {
    let mut reader = SliceReader::new(der).map_err(|_| KeyError::Malformed)?;
    let numbers = reader
        .sequence(|fields| {
            fields.decode::<u8>()?;
            (0..RSA_NUMBERS)
                .map(|_| fields.decode())
                .collect::<der::Result<Vec<UintRef<'_>>>>()
        })
        .map_err(|_| KeyError::Malformed)?;
    reader.finish().map_err(|_| KeyError::Malformed)?;
    modulus_bits(numbers.first())?;
    if numbers
        .iter()
        .all(|number| number.as_bytes().iter().any(|byte| *byte != 0))
    {
        Ok(())
    } else {
        Err(KeyError::Inconsistent)
    }
}

/// An ECPrivateKey (RFC 5915). A curve that stands in it must be named, too.
pub(super) fn ec_private_key(der: &[u8]) -> Result<Option<ObjectIdentifier>, KeyError> {
    let mut reader = SliceReader::new(der).map_err(|_| KeyError::Malformed)?;
    reader
        .sequence(|fields| {
            fields.decode::<u8>()?;
            fields.decode::<&OctetStringRef>()?;
            let curve = ContextSpecific::<ObjectIdentifier>::decode_explicit(fields, EC_PARAMETERS)?;
            ContextSpecific::<BitStringRef<'_>>::decode_explicit(fields, EC_PUBLIC_KEY)?;
            Ok::<_, der::Error>(curve.map(|curve| curve.value))
        })
        .and_then(|curve| reader.finish().map(|()| curve))
        .map_err(|_| KeyError::Malformed)
}

/// n, e, d, p, q, dP, dQ, qInv.
const RSA_NUMBERS: usize = 8;
const EC_PARAMETERS: TagNumber = TagNumber(0);
const EC_PUBLIC_KEY: TagNumber = TagNumber(1);
