//! The library that the service signs with, in this process: what no service can be faster than.

use std::path::Path;

use aws_lc_rs::digest::{Digest, SHA256, SHA384, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};

use super::plan::Mechanism;
use super::subject::{SubjectError, Worker};

/// A worker with a key from a PEM file.
pub(super) fn open(path: &Path, mechanism: Mechanism) -> Result<Box<dyn Worker>, SubjectError> {
    let file = || path.display().to_string();
    let pem = std::fs::read(path).map_err(|error| SubjectError::Io(file(), error))?;
    let (_, der) = pem_rfc7468::decode_vec(&pem).map_err(|error| SubjectError::Key(file(), error.to_string()))?;
    let rejected = |error: aws_lc_rs::error::KeyRejected| SubjectError::Key(file(), error.to_string());
    let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm, digest| -> Result<Box<dyn Worker>, SubjectError> {
        let key = EcdsaKeyPair::from_pkcs8(algorithm, &der).map_err(rejected)?;
        Ok(Box::new(Ecdsa { key, digest }))
    };
    let padding: &'static dyn RsaEncoding = match mechanism {
        Mechanism::Ecdsa => return ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, digest(&SHA256, &DIGEST)),
        Mechanism::EcdsaP384 => return ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, digest(&SHA384, &DIGEST)),
        Mechanism::Ed25519 => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(rejected)?;
            let message = certificate_verify();
            return Ok(Box::new(Ed25519 { key, message }));
        }
        Mechanism::RsaPkcs => &RSA_PKCS1_SHA256,
        Mechanism::RsaPss => &RSA_PSS_SHA256,
    };
    let key = RsaKeyPair::from_pkcs8(&der).map_err(rejected)?;
    let signature = vec![0; key.public_modulus_len()];
    Ok(Box::new(Rsa {
        key,
        padding,
        digest: digest(&SHA256, &DIGEST),
        signature,
    }))
}

struct Ecdsa {
    key: EcdsaKeyPair,
    digest: Digest,
}

impl Worker for Ecdsa {
    fn once(&mut self) -> Result<(), SubjectError> {
        let signature = self.key.sign_digest(&self.digest).map_err(|_| SubjectError::Sign)?;
        std::hint::black_box(signature);
        Ok(())
    }
}

struct Ed25519 {
    key: Ed25519KeyPair,
    message: Vec<u8>,
}

impl Worker for Ed25519 {
    fn once(&mut self) -> Result<(), SubjectError> {
        std::hint::black_box(self.key.sign(&self.message));
        Ok(())
    }
}

struct Rsa {
    key: RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    digest: Digest,
    signature: Vec<u8>,
}

impl Worker for Rsa {
    fn once(&mut self) -> Result<(), SubjectError> {
        self.key
            .sign_digest(self.padding, &self.digest, &mut self.signature)
            .map_err(|_| SubjectError::Sign)?;
        std::hint::black_box(&self.signature);
        Ok(())
    }
}

/// What a server of TLS 1.3 signs, of a transcript by SHA-384.
pub(super) fn certificate_verify() -> Vec<u8> {
    [&[b' '; 64], &b"TLS 1.3, server CertificateVerify\0"[..], &[0x5a; 48]].concat()
}

/// What is signed: any digest is as good as any other.
pub(super) const DIGEST: [u8; 32] = [0x5a; 32];
