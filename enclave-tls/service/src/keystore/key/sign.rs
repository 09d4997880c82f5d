//! From a mechanism's input to a signature.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaSignatureEncoding,
};
use enclave_wire::mechanism::{Input, MAX_DIGEST, MAX_INPUT, Scheme};
use enclave_wire::signing::SignError;
use enclave_wire::{Hash, Mechanism, Usage};

use super::{Curve, KeyError, PrivateKey, SigningKey};
use crate::usage;

impl SigningKey {
    /// Signs, if the usage allows it.
    ///
    /// An RSA signature is checked with the public key before the library lets go of it (`rsa_default_private_transform`), so
    /// that a fault gives no signature and no factor away. An ECDSA signature is not: the check costs three times the signature.
    pub fn sign(&self, usage: Usage, mechanism: Mechanism, input: &[u8]) -> Result<Vec<u8>, SignError> {
        if input.len() > MAX_INPUT {
            return Err(SignError::InputLength);
        }
        if !usage::permits(usage, self.key_type, mechanism, input) {
            return Err(SignError::UsageRefused);
        }
        self.sign_unrestricted(mechanism, input)
    }

    /// Signs anything that the mechanism takes: for what this service says itself, such as a certificate request.
    pub(in crate::keystore) fn sign_unrestricted(
        &self,
        mechanism: Mechanism,
        input: &[u8],
    ) -> Result<Vec<u8>, SignError> {
        match (&self.private, mechanism.scheme()) {
            (PrivateKey::Rsa(pair), Scheme::RsaPkcs1 | Scheme::RsaPss) => {
                let (hash, digest) = rsa_digest(mechanism.input(), input)?;
                let mut signature = vec![0; self.key_type.signature_len()];
                pair.sign_digest(rsa_encoding(mechanism.scheme(), hash), &digest, &mut signature)
                    .map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
            (PrivateKey::Ecdsa(curve, pair), Scheme::Ecdsa) => {
                let digest = ecdsa_digest(*curve, mechanism.input(), input)?;
                let signature = pair.sign_digest(&digest).map_err(|_| SignError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (PrivateKey::Ed25519(pair), Scheme::Ed25519) => {
                let signature = pair.try_sign(input).map_err(|_| SignError::Failed)?;
                Ok(signature.as_ref().to_vec())
            }
            (PrivateKey::Rsa(_) | PrivateKey::Ecdsa(..) | PrivateKey::Ed25519(_), _) => Err(SignError::UsageRefused),
        }
    }

    /// Signs once with an RSA key, and drops the signature. The library makes what it needs for every later signature at the first,
    /// and checks the result: factors that are not prime pass every check of the numbers and fail here.
    pub(super) fn prove(&self) -> Result<(), KeyError> {
        match &self.private {
            PrivateKey::Rsa(_) => self
                .sign_unrestricted(Mechanism::RsaPkcs1Sha256, b"enclave-tls key check")
                .map(drop)
                .map_err(|_| KeyError::Inconsistent),
            PrivateKey::Ecdsa(..) | PrivateKey::Ed25519(_) => Ok(()),
        }
    }
}

/// What RSA signs: a digest, and the hash that made it.
fn rsa_digest(form: Input, input: &[u8]) -> Result<(Hash, Digest), SignError> {
    match form {
        Input::Message(hash) => Ok((hash, digest::digest(algorithm(hash), input))),
        Input::Digest(hash) => Ok((hash, import(hash, input)?)),
        Input::DigestInfo => digest_info(input),
        Input::AnyDigest | Input::PureMessage => Err(SignError::UsageRefused),
    }
}

/// A DigestInfo, which must be written exactly as RFC 8017 has it. Anything else under PKCS #1 would be raw RSA.
fn digest_info(input: &[u8]) -> Result<(Hash, Digest), SignError> {
    for hash in Hash::ALL {
        let prefix = hash.digest_info_prefix();
        if input.len() == prefix.len().saturating_add(hash.digest_len()) {
            let digest = input.strip_prefix(&prefix).ok_or(SignError::UsageRefused)?;
            return Ok((*hash, import(*hash, digest)?));
        }
    }
    Err(SignError::InputLength)
}

/// What ECDSA signs on this curve. The library takes only a digest as long as the curve's own hash; since ECDSA reads a digest as a
/// number of as many leading bits as the order has (FIPS 186-5, 6.4.1), a longer one is cut and a shorter one padded to the same.
fn ecdsa_digest(curve: Curve, form: Input, input: &[u8]) -> Result<Digest, SignError> {
    match form {
        Input::Message(hash) if hash == curve.hash() => Ok(digest::digest(algorithm(hash), input)),
        Input::Message(hash) => fit(curve, digest::digest(algorithm(hash), input).as_ref()),
        Input::AnyDigest => fit(curve, input),
        Input::DigestInfo | Input::Digest(_) | Input::PureMessage => Err(SignError::UsageRefused),
    }
}

fn fit(curve: Curve, digest: &[u8]) -> Result<Digest, SignError> {
    if digest.is_empty() || digest.len() > MAX_DIGEST {
        return Err(SignError::InputLength);
    }
    let wanted = curve.hash().digest_len();
    let mut padded = [0; MAX_DIGEST];
    let fitted = padded.get_mut(..wanted).ok_or(SignError::Failed)?;
    let kept = digest.get(..wanted).unwrap_or(digest);
    let start = wanted.saturating_sub(kept.len());
    fitted.get_mut(start..).ok_or(SignError::Failed)?.copy_from_slice(kept);
    import(curve.hash(), fitted)
}

impl Curve {
    /// The hash with which the curve's algorithm is named: as long as the order, or as long as there is.
    fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

fn import(hash: Hash, digest: &[u8]) -> Result<Digest, SignError> {
    Digest::import_less_safe(digest, algorithm(hash)).map_err(|_| SignError::InputLength)
}

fn algorithm(hash: Hash) -> &'static digest::Algorithm {
    match hash {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    }
}

/// PSS here means MGF1 with the same hash, and a salt as long as it.
fn rsa_encoding(scheme: Scheme, hash: Hash) -> &'static RsaSignatureEncoding {
    match (scheme, hash) {
        (Scheme::RsaPss, Hash::Sha256) => &RSA_PSS_SHA256,
        (Scheme::RsaPss, Hash::Sha384) => &RSA_PSS_SHA384,
        (Scheme::RsaPss, Hash::Sha512) => &RSA_PSS_SHA512,
        (Scheme::RsaPkcs1 | Scheme::Ecdsa | Scheme::Ed25519, Hash::Sha256) => &RSA_PKCS1_SHA256,
        (Scheme::RsaPkcs1 | Scheme::Ecdsa | Scheme::Ed25519, Hash::Sha384) => &RSA_PKCS1_SHA384,
        (Scheme::RsaPkcs1 | Scheme::Ecdsa | Scheme::Ed25519, Hash::Sha512) => &RSA_PKCS1_SHA512,
    }
}
