//! Keys to look for, parsed from PEM.

use der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use der::{Decode, Encode, Sequence};
use x509_cert::Certificate;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::WindowSearch;
use super::factor::FactorSearch;
use super::known::Pattern;
use super::private;
use super::scalar::ScalarSearch;

/// A key to look for.
pub struct Key {
    name: String,
    public: PublicKey,
    /// Empty if only the public key is known.
    patterns: Vec<Pattern>,
}

/// Why a PEM file is no key that can be looked for.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text around the key.
    #[error("not PEM: {0}")]
    Pem(#[from] pem_rfc7468::Error),
    /// The key itself.
    #[error("malformed: {0}")]
    Der(#[from] der::Error),
    /// The public key in a SubjectPublicKeyInfo.
    #[error("malformed: {0}")]
    Spki(#[from] x509_cert::spki::Error),
    /// A point that is not on its curve, or a scalar out of range.
    #[error("not a key of its curve")]
    Curve,
    /// The PEM block is something else.
    #[error("a PEM block `{0}` is not expected here")]
    Label(String),
    /// Neither RSA nor a known curve.
    #[error("unknown algorithm {0}")]
    Algorithm(ObjectIdentifier),
    /// Factors are looked for as windows of half of the modulus.
    #[error("the length of the modulus is no multiple of 128 bits")]
    Modulus,
}

/// The public part, as the searches need it.
#[derive(PartialEq)]
pub(super) enum PublicKey {
    /// The modulus in big-endian bytes.
    Rsa(Vec<u8>),
    P256(p256::ProjectivePoint),
    P384(p384::ProjectivePoint),
    P521(p521::ProjectivePoint),
    /// A window would cost a SHA-512 and a multiplication: not searched for.
    Ed25519,
}

impl Key {
    /// A key of which only the public part is known: a public key or a certificate (the first of the file).
    pub fn public(name: &str, pem: &str) -> Result<Self, KeyError> {
        let (label, der) = first_block(pem)?;
        let public = match label.as_str() {
            "PUBLIC KEY" => PublicKey::from_spki(&SubjectPublicKeyInfoRef::from_der(&der)?)?,
            "CERTIFICATE" => {
                let spki = Certificate::from_der(&der)?
                    .tbs_certificate()
                    .subject_public_key_info()
                    .to_der()?;
                PublicKey::from_spki(&SubjectPublicKeyInfoRef::from_der(&spki)?)?
            }
            _ => return Err(KeyError::Label(label)),
        };
        Ok(Self {
            name: name.to_owned(),
            public,
            patterns: Vec::new(),
        })
    }

    /// A key of which the private part is known too: PKCS#8, PKCS#1 or SEC1.
    pub fn private(name: &str, pem: &str) -> Result<Self, KeyError> {
        let (label, der) = first_block(pem)?;
        let (public, patterns) = match label.as_str() {
            "PRIVATE KEY" => private::from_pkcs8(&der)?,
            "RSA PRIVATE KEY" => private::from_pkcs1(&der)?,
            "EC PRIVATE KEY" => private::from_sec1(&der, None)?,
            _ => return Err(KeyError::Label(label)),
        };
        Ok(Self {
            name: name.to_owned(),
            public,
            patterns,
        })
    }

    /// The name as it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `RSA-2048`, `P-256`, …
    pub fn algorithm(&self) -> String {
        match &self.public {
            PublicKey::Rsa(modulus) => format!("RSA-{}", modulus.len() * 8),
            PublicKey::P256(_) => "P-256".to_owned(),
            PublicKey::P384(_) => "P-384".to_owned(),
            PublicKey::P521(_) => "P-521".to_owned(),
            PublicKey::Ed25519 => "Ed25519".to_owned(),
        }
    }

    /// The components that a scan looks for, so that a report without hits says what that means.
    pub fn searched(&self) -> Vec<&'static str> {
        let by_public = match self.public {
            PublicKey::Rsa(_) => Some("factor"),
            PublicKey::P256(_) | PublicKey::P384(_) | PublicKey::P521(_) => Some("scalar"),
            PublicKey::Ed25519 => None,
        };
        let mut components: Vec<_> = self.patterns.iter().map(|pattern| pattern.component).collect();
        components.sort_unstable();
        components.dedup();
        by_public.into_iter().chain(components).collect()
    }

    pub(super) fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }
}

impl PublicKey {
    fn from_spki(spki: &SubjectPublicKeyInfoRef<'_>) -> Result<Self, KeyError> {
        let key = spki.subject_public_key.raw_bytes();
        match spki.algorithm.oid {
            RSA => Self::rsa(RsaPublicKey::from_der(key)?.modulus.as_bytes()),
            EC => Self::ec(curve(&spki.algorithm)?, key),
            ED25519 => Ok(Self::Ed25519),
            other => Err(KeyError::Algorithm(other)),
        }
    }

    pub(super) fn rsa(modulus: &[u8]) -> Result<Self, KeyError> {
        match modulus.first() {
            Some(0x80..) if modulus.len().is_multiple_of(16) => Ok(Self::Rsa(modulus.to_vec())),
            _ => Err(KeyError::Modulus),
        }
    }

    fn ec(curve: ObjectIdentifier, point: &[u8]) -> Result<Self, KeyError> {
        match curve {
            P256 => p256::PublicKey::from_sec1_bytes(point).map(|key| Self::P256(key.to_projective())),
            P384 => p384::PublicKey::from_sec1_bytes(point).map(|key| Self::P384(key.to_projective())),
            P521 => p521::PublicKey::from_sec1_bytes(point).map(|key| Self::P521(key.to_projective())),
            other => return Err(KeyError::Algorithm(other)),
        }
        .map_err(|_| KeyError::Curve)
    }

    /// The public key of an EC private key, and its uncompressed point.
    pub(super) fn of_scalar(curve: ObjectIdentifier, scalar: &[u8]) -> Result<(Self, Box<[u8]>), KeyError> {
        let point = match curve {
            P256 => p256::SecretKey::from_slice(scalar).map(|key| key.public_key().to_sec1_bytes()),
            P384 => p384::SecretKey::from_slice(scalar).map(|key| key.public_key().to_sec1_bytes()),
            P521 => p521::SecretKey::from_slice(scalar).map(|key| key.public_key().to_sec1_bytes()),
            other => return Err(KeyError::Algorithm(other)),
        }
        .map_err(|_| KeyError::Curve)?;
        Ok((Self::ec(curve, &point)?, point))
    }
}

/// The curve that the parameters of an EC key name.
pub(super) fn curve(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<ObjectIdentifier, KeyError> {
    let parameters = algorithm.parameters.unwrap_or(AnyRef::NULL);
    Ok(parameters.decode_as::<ObjectIdentifier>()?)
}

/// The searches that need only the public keys: one for each size of modulus and one for each curve.
pub(super) fn window_searches(keys: &[Key]) -> Vec<Box<dyn WindowSearch>> {
    let mut factors: Vec<FactorSearch> = Vec::new();
    let (mut p256, mut p384, mut p521) = (None, None, None);
    for (index, key) in keys.iter().enumerate() {
        match &key.public {
            PublicKey::Rsa(modulus) => {
                let position = factors
                    .iter()
                    .position(|search| search.window_len() * 2 == modulus.len());
                let position = position.unwrap_or_else(|| {
                    factors.push(FactorSearch::new(modulus.len()));
                    factors.len() - 1
                });
                factors[position].add(index, modulus);
            }
            PublicKey::P256(point) => p256.get_or_insert_with(|| ScalarSearch::new(32)).add(index, *point),
            PublicKey::P384(point) => p384.get_or_insert_with(|| ScalarSearch::new(48)).add(index, *point),
            PublicKey::P521(point) => p521.get_or_insert_with(|| ScalarSearch::new(66)).add(index, *point),
            PublicKey::Ed25519 => {}
        }
    }
    let mut searches: Vec<Box<dyn WindowSearch>> = Vec::new();
    searches.extend(factors.into_iter().map(|search| Box::new(search) as _));
    searches.extend(p256.map(|search: ScalarSearch<p256::NistP256>| Box::new(search) as _));
    searches.extend(p384.map(|search: ScalarSearch<p384::NistP384>| Box::new(search) as _));
    searches.extend(p521.map(|search: ScalarSearch<p521::NistP521>| Box::new(search) as _));
    searches
}

#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

/// The first PEM block: of a chain it is the leaf.
fn first_block(pem: &str) -> Result<(String, Vec<u8>), KeyError> {
    const END: &str = "-----END ";
    let end = pem.find(END).map_or(pem.len(), |at| {
        pem[at..].find('\n').map_or(pem.len(), |line| at + line + 1)
    });
    let (label, der) = pem_rfc7468::decode_vec(&pem.as_bytes()[..end])?;
    Ok((label.to_owned(), der))
}

pub(super) const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
pub(super) const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
pub(super) const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
pub(super) const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyscan::testkeys;

    #[test]
    fn public_and_private_forms_are_one_key() {
        let cases = [
            (testkeys::rsa_2048_pem(), "RSA-2048", "factor"),
            (testkeys::p256_pem(), "P-256", "scalar"),
            (testkeys::p384_pem(), "P-384", "scalar"),
            (testkeys::p521_pem(), "P-521", "scalar"),
        ];
        for (pem, algorithm, component) in cases {
            let private = Key::private("a", pem).unwrap();
            let public = Key::public("b", &testkeys::public_pem(pem)).unwrap();
            assert_eq!(
                (private.algorithm().as_str(), public.algorithm().as_str()),
                (algorithm, algorithm)
            );
            assert!(private.public == public.public);
            assert_eq!(public.searched(), [component]);
            assert!(private.searched().contains(&"PKCS#8 PEM"));
        }
    }

    #[test]
    fn an_ed25519_key_is_only_found_as_a_known_one() {
        let pem = testkeys::ed25519_pem();
        assert_eq!(
            Key::public("k", &testkeys::public_pem(pem)).unwrap().searched(),
            [""; 0]
        );
        assert_eq!(
            Key::private("k", pem).unwrap().searched(),
            ["PKCS#8 DER", "PKCS#8 PEM", "seed"]
        );
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(Key::public("k", "hello"), Err(KeyError::Pem(_))));
        assert!(matches!(
            Key::public("k", testkeys::p256_pem()),
            Err(KeyError::Label(_))
        ));
        let public = testkeys::public_pem(testkeys::p256_pem());
        assert!(matches!(Key::private("k", &public), Err(KeyError::Label(_))));
        assert!(matches!(PublicKey::rsa(&[1; 256]), Err(KeyError::Modulus)));
    }
}
