//! A private key: parsed once, checked, and ready to sign for as long as it lives.

mod error;
mod pem;
mod pkcs8;
mod sign;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use der::asn1::UintRef;
use der::{Reader, SliceReader};
use enclave_wire::identity::RsaBits;
use enclave_wire::{KeyId, KeyType, Spki};
use zeroize::Zeroizing;

pub use error::KeyError;

/// A private key. It can be neither printed nor copied, and the library wipes it when it is dropped. Nothing gives its bytes back
/// but `to_pkcs8`, to sealing alone.
pub struct SigningKey {
    private: PrivateKey,
    key_type: KeyType,
    spki: Spki,
    id: KeyId,
}

impl SigningKey {
    /// Makes a key. RSA only in the sizes that the library makes: 2048, 3072, 4096 and 8192 bits.
    pub fn generate(key_type: KeyType) -> Result<Self, KeyError> {
        let private = match key_type {
            KeyType::Rsa(bits) => RsaKeyPair::generate(generated_size(bits)?).map(PrivateKey::Rsa),
            KeyType::P256 => EcdsaKeyPair::generate(Curve::P256.algorithm()).map(PrivateKey::p256),
            KeyType::P384 => EcdsaKeyPair::generate(Curve::P384.algorithm()).map(PrivateKey::p384),
            KeyType::P521 => EcdsaKeyPair::generate(Curve::P521.algorithm()).map(PrivateKey::p521),
            KeyType::Ed25519 => Ed25519KeyPair::generate().map(PrivateKey::Ed25519),
        };
        Self::new(private.map_err(|_| KeyError::Library)?)
    }

    /// Reads a private key in PKCS#8 (RFC 5208, RFC 5958), DER. Nothing may follow it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Self::new(pkcs8::parse(der)?)
    }

    /// The key in PKCS#8, DER, as [`SigningKey::from_pkcs8`] reads it: for [`crate::sealed`], which encrypts it at once.
    pub(crate) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let bytes = match &self.private {
            PrivateKey::Rsa(pair) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map(|der| wiped(der.as_ref())),
            PrivateKey::Ecdsa(_, pair) => pair.to_pkcs8v1().map(|der| wiped(der.as_ref())),
            PrivateKey::Ed25519(pair) => pair.to_pkcs8v1().map(|der| wiped(der.as_ref())),
        };
        bytes.map_err(|_| KeyError::Library)
    }

    /// The type of the key.
    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The public key.
    #[must_use]
    pub fn spki(&self) -> &Spki {
        &self.spki
    }

    /// SHA-256 of the public key: what names this key.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn new(private: PrivateKey) -> Result<Self, KeyError> {
        let key_type = private.key_type()?;
        let der: PublicKeyX509Der<'_> = match &private {
            PrivateKey::Rsa(pair) => pair.public_key().as_der(),
            PrivateKey::Ecdsa(_, pair) => pair.public_key().as_der(),
            PrivateKey::Ed25519(pair) => pair.public_key().as_der(),
        }
        .map_err(|_| KeyError::Library)?;
        let id = digest::digest(&digest::SHA256, der.as_ref());
        let key = Self {
            private,
            key_type,
            id: KeyId(id.as_ref().try_into().map_err(|_| KeyError::Library)?),
            spki: Spki::try_from(der.as_ref().to_vec()).map_err(|_| KeyError::Library)?,
        };
        key.prove()?;
        Ok(key)
    }
}

/// What the library holds of each kind.
enum PrivateKey {
    Rsa(RsaKeyPair),
    Ecdsa(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    fn p256(pair: EcdsaKeyPair) -> Self {
        Self::Ecdsa(Curve::P256, pair)
    }

    fn p384(pair: EcdsaKeyPair) -> Self {
        Self::Ecdsa(Curve::P384, pair)
    }

    fn p521(pair: EcdsaKeyPair) -> Self {
        Self::Ecdsa(Curve::P521, pair)
    }

    fn key_type(&self) -> Result<KeyType, KeyError> {
        Ok(match self {
            Self::Rsa(pair) => KeyType::Rsa(modulus_bits(modulus(pair.public_key().as_ref()).ok().as_ref())?),
            Self::Ecdsa(Curve::P256, _) => KeyType::P256,
            Self::Ecdsa(Curve::P384, _) => KeyType::P384,
            Self::Ecdsa(Curve::P521, _) => KeyType::P521,
            Self::Ed25519(_) => KeyType::Ed25519,
        })
    }
}

/// The curve of an ECDSA key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// `_FIXED`: r ‖ s, each padded to the size of the order. A signature with a short r or s is as long as any other.
    fn algorithm(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }
}

/// The modulus of an RSAPublicKey (RFC 8017, A.1.1).
fn modulus(rsa_public_key: &[u8]) -> der::Result<UintRef<'_>> {
    SliceReader::new(rsa_public_key)?.sequence(|fields| {
        let modulus = fields.decode()?;
        fields.decode::<UintRef<'_>>()?;
        Ok(modulus)
    })
}

/// The size of a modulus, where it is one that is taken.
fn modulus_bits(modulus: Option<&UintRef<'_>>) -> Result<RsaBits, KeyError> {
    let bytes = modulus.map_or(&[][..], |modulus| modulus.as_bytes());
    // A first bit of zero makes a size that is not of whole bytes.
    let whole = bytes.first().is_some_and(|byte| byte.leading_zeros() == 0);
    u16::try_from(bytes.len().saturating_mul(8))
        .ok()
        .filter(|_| whole)
        .and_then(|bits| RsaBits::try_from(bits).ok())
        .ok_or(KeyError::RsaSize)
}

/// A copy that is wiped. The library wipes its own.
fn wiped(der: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(der.to_vec())
}

fn generated_size(bits: RsaBits) -> Result<KeySize, KeyError> {
    match bits.get() {
        2048 => Ok(KeySize::Rsa2048),
        3072 => Ok(KeySize::Rsa3072),
        4096 => Ok(KeySize::Rsa4096),
        8192 => Ok(KeySize::Rsa8192),
        _ => Err(KeyError::SizeNotGenerated),
    }
}

#[cfg(test)]
pub(super) mod tests;
