//! A public key taken apart into the values that Cryptoki's attributes want.

use enclave_wire::KeyType;
use enclave_wire::signing::Entry;
use sha2::{Digest, Sha256};

use super::der::{NotDer, octet_string, octets_of_bit_string, only, tag, unsigned};

/// A key, as the service lists it, that does not contradict itself: its id is the hash of its SPKI, and the SPKI is of its type.
#[derive(Debug)]
pub struct Key {
    pub(super) entry: Entry,
    pub(super) public: PublicKey,
}

impl Key {
    /// Checks a key that came from the service.
    pub(super) fn new(entry: Entry) -> Result<Self, NotDer> {
        let spki = entry.spki.as_bytes();
        if Sha256::digest(spki).as_slice() != entry.id.0 {
            return Err(NotDer);
        }
        let public = PublicKey::parse(spki, entry.key_type)?;
        Ok(Self { entry, public })
    }
}

/// The parts of a public key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa {
        /// Big-endian, without a leading zero, as PKCS#11 wants big integers.
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// On a NIST curve, or Ed25519.
    Curve {
        /// `CKA_EC_PARAMS`: the curve's OID, or its name as a PrintableString.
        params: &'static [u8],
        /// `CKA_EC_POINT`: a DER OCTET STRING of the point.
        point: Vec<u8>,
    },
}

impl PublicKey {
    fn parse(spki: &[u8], key_type: KeyType) -> Result<Self, NotDer> {
        let mut fields = only(spki, tag::SEQUENCE)?.inner();
        let algorithm = fields.expect(tag::SEQUENCE)?;
        let key = octets_of_bit_string(fields.expect(tag::BIT_STRING)?.contents)?;
        fields.finish()?;
        match key_type {
            KeyType::Rsa(bits) => Self::rsa(algorithm.contents, key, usize::from(bits.get())),
            KeyType::P256 => Self::nist(algorithm.contents, key, P256, 65),
            KeyType::P384 => Self::nist(algorithm.contents, key, P384, 97),
            KeyType::P521 => Self::nist(algorithm.contents, key, P521, 133),
            KeyType::Ed25519 if algorithm.contents == ED25519 && key.len() == 32 => Ok(Self::Curve {
                params: EDWARDS25519,
                point: octet_string(key),
            }),
            KeyType::Ed25519 => Err(NotDer),
        }
    }

    fn rsa(algorithm: &[u8], key: &[u8], bits: usize) -> Result<Self, NotDer> {
        let mut numbers = only(key, tag::SEQUENCE)?.inner();
        let modulus = unsigned(numbers.expect(tag::INTEGER)?.contents)?;
        let exponent = unsigned(numbers.expect(tag::INTEGER)?.contents)?;
        numbers.finish()?;
        let top_bit_set = modulus.first().is_some_and(|top| top & 0x80 != 0);
        if algorithm != RSA || !top_bit_set || modulus.len().checked_mul(8) != Some(bits) {
            return Err(NotDer);
        }
        Ok(Self::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    fn nist(algorithm: &[u8], key: &[u8], curve: &'static [u8], length: usize) -> Result<Self, NotDer> {
        let right_curve = algorithm.strip_prefix(EC) == Some(curve);
        if right_curve && key.len() == length && key.first() == Some(&UNCOMPRESSED) {
            Ok(Self::Curve {
                params: curve,
                point: octet_string(key),
            })
        } else {
            Err(NotDer)
        }
    }
}

/// OID rsaEncryption and NULL (RFC 3279, section 2.3.1).
const RSA: &[u8] = &[
    tag::OID,
    9,
    0x2a,
    0x86,
    0x48,
    0x86,
    0xf7,
    0x0d,
    0x01,
    0x01,
    0x01,
    tag::NULL,
    0,
];
/// OID id-ecPublicKey (RFC 5480, section 2.1.1). The curve's follows.
const EC: &[u8] = &[tag::OID, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: &[u8] = &[tag::OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[tag::OID, 5, 0x2b, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[tag::OID, 5, 0x2b, 0x81, 0x04, 0x00, 0x23];
/// OID id-Ed25519 (RFC 8410, section 3).
const ED25519: &[u8] = &[tag::OID, 3, 0x2b, 0x65, 0x70];
/// PrintableString `edwards25519` (PKCS#11 3.0, section 2.3.10).
const EDWARDS25519: &[u8] = b"\x13\x0cedwards25519";
/// What an uncompressed point begins with (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 0x04;

#[cfg(test)]
mod tests {
    use super::super::memory::{ed25519, p256, rsa_2048};
    use super::*;

    #[test]
    fn an_ec_point_is_a_der_octet_string() {
        let key = Key::new(p256("a", 1)).unwrap();
        let PublicKey::Curve { params, point } = &key.public else {
            panic!("not a point");
        };
        assert_eq!((point[0], point[1], point[2], point.len()), (0x04, 65, 0x04, 67));
        assert_eq!(params, &P256);
    }

    #[test]
    fn ed25519_is_named_by_a_printable_string() {
        let key = Key::new(ed25519("a", 1)).unwrap();
        assert!(
            matches!(&key.public, PublicKey::Curve { params, point } if *params == EDWARDS25519 && point[..2] == [4, 32])
        );
    }

    #[test]
    fn an_rsa_modulus_has_no_leading_zero() {
        let key = Key::new(rsa_2048("a", 1)).unwrap();
        let PublicKey::Rsa { modulus, exponent } = &key.public else {
            panic!("not RSA");
        };
        assert_eq!((modulus.len(), exponent.as_slice()), (256, &[1, 0, 1][..]));
    }

    #[test]
    fn keys_that_contradict_themselves_are_refused() {
        let (good, other) = (p256("a", 1), p256("a", 2));
        let mut wrong_id = good.clone();
        wrong_id.id = other.id;
        assert!(Key::new(wrong_id).is_err());
        let mut wrong_type = good.clone();
        wrong_type.key_type = KeyType::P384;
        assert!(Key::new(wrong_type).is_err());
        let mut wrong_bits = rsa_2048("a", 1);
        wrong_bits.key_type = "RSA-3072".parse().unwrap();
        assert!(Key::new(wrong_bits).is_err());
    }

    proptest::proptest! {
        #[test]
        fn threat_49_no_spki_panics(at: proptest::sample::Index, byte: u8) {
            let mut spki = p256("a", 1).spki.as_bytes().to_vec();
            let at = at.index(spki.len());
            spki[at] = byte;
            let _ = PublicKey::parse(&spki, KeyType::P256);
            let _ = PublicKey::parse(&spki[..at], KeyType::P256);
        }
    }
}
