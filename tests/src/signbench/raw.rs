//! The library that the service signs with, in this process: what no service can be faster than.

use std::path::Path;

use aws_lc_rs::digest::{Digest, SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};

use super::plan::Mechanism;
use super::subject::{SubjectError, Worker};

/// A worker with a key from a PEM file.
pub(super) fn open(path: &Path, mechanism: Mechanism) -> Result<Box<dyn Worker>, SubjectError> {
    let file = || path.display().to_string();
    let pem = std::fs::read(path).map_err(|error| SubjectError::Io(file(), error))?;
    let (_, der) = pem_rfc7468::decode_vec(&pem).map_err(|error| SubjectError::Key(file(), error.to_string()))?;
    let rejected = |error: aws_lc_rs::error::KeyRejected| SubjectError::Key(file(), error.to_string());
    let digest = digest(&SHA256, &DIGEST);
    let padding: &'static dyn RsaEncoding = match mechanism {
        Mechanism::Ecdsa => {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).map_err(rejected)?;
            return Ok(Box::new(Ecdsa { key, digest }));
        }
        Mechanism::RsaPkcs => &RSA_PKCS1_SHA256,
        Mechanism::RsaPss => &RSA_PSS_SHA256,
    };
    let key = RsaKeyPair::from_pkcs8(&der).map_err(rejected)?;
    let signature = vec![0; key.public_modulus_len()];
    Ok(Box::new(Rsa {
        key,
        padding,
        digest,
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

/// What is signed: any digest is as good as any other.
pub(super) const DIGEST: [u8; 32] = [0x5a; 32];
