//! The forms a known private key may have in memory: its components in both byte orders, its DER and its PEM.

use der::asn1::{ObjectIdentifier, OctetStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use pkcs8::PrivateKeyInfoRef;
use sec1::{EcParameters, EcPrivateKey};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::Order;
use super::key::{self, KeyError, PublicKey};
use super::known::Pattern;

pub(super) fn from_pkcs8(der: &[u8]) -> Result<(PublicKey, Vec<Pattern>), KeyError> {
    let info = PrivateKeyInfoRef::from_der(der)?;
    let inner = info.private_key.as_bytes();
    let (public, mut patterns, secrets) = match info.algorithm.oid {
        key::RSA => {
            let (public, patterns) = from_pkcs1(inner)?;
            (public, patterns, RsaPrivateKey::from_der(inner)?.secrets())
        }
        key::EC => {
            let (public, patterns) = from_sec1(inner, Some(key::curve(&info.algorithm)?))?;
            (
                public,
                patterns,
                vec![("d", EcPrivateKey::from_der(inner)?.private_key)],
            )
        }
        key::ED25519 => {
            let seed = <&OctetStringRef>::from_der(inner)?.as_bytes();
            let patterns = vec![Pattern {
                component: "seed",
                order: Order::Big,
                bytes: seed.to_vec(),
            }];
            (PublicKey::Ed25519, patterns, vec![("seed", seed)])
        }
        other => return Err(KeyError::Algorithm(other)),
    };
    // The file's own encoding: it may have a version, a public key or attributes that ours has not.
    push_encodings(&mut patterns, PKCS8, der, &secrets)?;
    Ok((public, patterns))
}

pub(super) fn from_pkcs1(der: &[u8]) -> Result<(PublicKey, Vec<Pattern>), KeyError> {
    let key = RsaPrivateKey::from_der(der)?;
    let secrets = key.secrets();
    let mut patterns = numbers(&secrets);
    push_encodings(&mut patterns, ("PKCS#1 DER", "PKCS#1 PEM"), der, &secrets)?;
    push_encodings(&mut patterns, PKCS8, &to_pkcs8(key::RSA, None, der)?, &secrets)?;
    Ok((PublicKey::rsa(key.modulus.as_bytes())?, patterns))
}

/// The curve is given from outside where the key is inside of PKCS#8.
pub(super) fn from_sec1(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<(PublicKey, Vec<Pattern>), KeyError> {
    let key = EcPrivateKey::from_der(der)?;
    let named = key.parameters.and_then(EcParameters::named_curve);
    let curve = curve.or(named).ok_or(KeyError::Curve)?;
    let (public, point) = PublicKey::of_scalar(curve, key.private_key)?;

    let secrets = [("d", key.private_key)];
    let mut patterns = numbers(&secrets);
    // Every encoding has this: whether curve and point follow is the encoder's choice.
    let start = [
        &[0x02, 0x01, 0x01, 0x04, u8::try_from(key.private_key.len()).unwrap_or(0)],
        key.private_key,
    ]
    .concat();
    patterns.push(Pattern {
        component: "SEC1 DER",
        order: Order::Big,
        bytes: start,
    });
    let inner = EcPrivateKey {
        private_key: key.private_key,
        parameters: None,
        public_key: Some(&point),
    };
    let alone = EcPrivateKey {
        parameters: Some(EcParameters::NamedCurve(curve)),
        ..inner.clone()
    };
    push_pem_lines(&mut patterns, "SEC1 PEM", &alone.to_der()?, &secrets)?;
    push_encodings(
        &mut patterns,
        PKCS8,
        &to_pkcs8(key::EC, Some(curve), &inner.to_der()?)?,
        &secrets,
    )?;
    Ok((public, patterns))
}

/// PKCS#8 as OpenSSL writes it. RSA has NULL for parameters.
fn to_pkcs8(oid: ObjectIdentifier, curve: Option<ObjectIdentifier>, inner: &[u8]) -> Result<Vec<u8>, KeyError> {
    let parameters = curve.as_ref().map_or(der::asn1::AnyRef::NULL, Into::into);
    let algorithm = AlgorithmIdentifierRef {
        oid,
        parameters: Some(parameters),
    };
    Ok(PrivateKeyInfoRef::new(algorithm, OctetStringRef::new(inner)?).to_der()?)
}

fn numbers(secrets: &[(&'static str, &[u8])]) -> Vec<Pattern> {
    let mut patterns = Vec::new();
    for (component, bytes) in secrets {
        // A number that begins with zeros may be held without them.
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        for order in [Order::Big, Order::Little] {
            patterns.push(Pattern {
                component,
                order,
                bytes: order.of(&bytes[zeros..]),
            });
        }
    }
    patterns
}

fn push_encodings(
    patterns: &mut Vec<Pattern>,
    (der_name, pem_name): (&'static str, &'static str),
    der: &[u8],
    secrets: &[(&str, &[u8])],
) -> Result<(), KeyError> {
    push(
        patterns,
        Pattern {
            component: der_name,
            order: Order::Big,
            bytes: der.to_vec(),
        },
    );
    push_pem_lines(patterns, pem_name, der, secrets)
}

/// Each line of the PEM that has enough of a secret, by itself: a freed buffer is often overwritten in part.
fn push_pem_lines(
    patterns: &mut Vec<Pattern>,
    component: &'static str,
    der: &[u8],
    secrets: &[(&str, &[u8])],
) -> Result<(), KeyError> {
    let mut secret = vec![false; der.len()];
    for (_, bytes) in secrets {
        if let Some(at) = der.windows(bytes.len()).position(|window| window == *bytes) {
            secret[at..at + bytes.len()].fill(true);
        }
    }
    let pem = pem_rfc7468::encode_string("KEY", pem_rfc7468::LineEnding::LF, der)?;
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    for (line, secret) in lines.zip(secret.chunks(PEM_LINE)) {
        if secret.iter().filter(|byte| **byte).count() >= MIN_SECRET {
            push(
                patterns,
                Pattern {
                    component,
                    order: Order::Big,
                    bytes: line.as_bytes().to_vec(),
                },
            );
        }
    }
    Ok(())
}

fn push(patterns: &mut Vec<Pattern>, pattern: Pattern) {
    if !patterns.contains(&pattern) {
        patterns.push(pattern);
    }
}

#[derive(Sequence)]
pub(super) struct RsaPrivateKey<'a> {
    version: u8,
    pub(super) modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
    private_exponent: UintRef<'a>,
    pub(super) prime1: UintRef<'a>,
    pub(super) prime2: UintRef<'a>,
    exponent1: UintRef<'a>,
    exponent2: UintRef<'a>,
    coefficient: UintRef<'a>,
}

impl<'a> RsaPrivateKey<'a> {
    fn secrets(&self) -> Vec<(&'static str, &'a [u8])> {
        vec![
            ("d", self.private_exponent.as_bytes()),
            ("p", self.prime1.as_bytes()),
            ("q", self.prime2.as_bytes()),
            ("dP", self.exponent1.as_bytes()),
            ("dQ", self.exponent2.as_bytes()),
            ("qInv", self.coefficient.as_bytes()),
        ]
    }
}

const PKCS8: (&str, &str) = ("PKCS#8 DER", "PKCS#8 PEM");

/// Bytes of DER in a line of PEM (64 characters).
const PEM_LINE: usize = 48;

/// Bytes of a secret that make a line of PEM a secret: no such line occurs by chance, nor follows from the public key.
const MIN_SECRET: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyscan::testkeys;

    fn patterns(pem: &str) -> Vec<(&'static str, Order, Vec<u8>)> {
        let (label, der) = pem_rfc7468::decode_vec(pem.as_bytes()).unwrap();
        let (_, patterns) = match label {
            "PRIVATE KEY" => from_pkcs8(&der).unwrap(),
            "RSA PRIVATE KEY" => from_pkcs1(&der).unwrap(),
            _ => from_sec1(&der, None).unwrap(),
        };
        let mut patterns: Vec<_> = patterns.into_iter().map(|p| (p.component, p.order, p.bytes)).collect();
        patterns.sort();
        patterns
    }

    #[test]
    fn all_files_of_a_key_give_the_same_patterns() {
        for pem in [
            testkeys::rsa_2048_pem(),
            testkeys::p256_pem(),
            testkeys::p384_pem(),
            testkeys::p521_pem(),
        ] {
            assert_eq!(patterns(pem), patterns(&testkeys::traditional_pem(pem)));
        }
    }

    #[test]
    fn lines_of_pem_are_the_lines_of_the_file() {
        for pem in [testkeys::rsa_2048_pem(), testkeys::p256_pem(), testkeys::ed25519_pem()] {
            let patterns = patterns(pem);
            let lines: Vec<_> = patterns
                .iter()
                .filter(|(component, ..)| *component == "PKCS#8 PEM")
                .collect();
            assert!(!lines.is_empty());
            assert!(
                lines
                    .iter()
                    .all(|(_, _, line)| pem.contains(str::from_utf8(line).unwrap()))
            );
        }
    }
}
