//! `Recipient`: an attestation document, verified, and the key in it.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::PublicEncryptingKey;
use enclave_attestation::{Document, Pcr, SignedDocument, VerifyError};
use serde::Deserialize;

use crate::blob::Blob;
use crate::error::KmsError;

/// What stands in a request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(crate) struct RecipientInfo {
    key_encryption_algorithm: String,
    attestation_document: Blob,
}

/// An enclave that was attested, and the key that its reply is encrypted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recipient {
    /// As they are: a debug enclave's are zero, and it is the key policy's matter to refuse them.
    pub(crate) pcrs: BTreeMap<u8, Pcr>,
    /// SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
}

/// By what a document is judged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    pub(crate) root_sha256: Option<[u8; 32]>,
    pub(crate) allow_unsigned: bool,
    pub(crate) now_ms: u64,
}

/// Why a recipient was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecipientError {
    #[error("KeyEncryptionAlgorithm is not RSAES_OAEP_SHA_256")]
    Algorithm,
    #[error("the emulator was given no attestation root")]
    NoRoot,
    #[error("the attestation document does not verify: {0}")]
    Verify(#[from] VerifyError),
    #[error("the attestation document is older than five minutes")]
    TooOld,
    #[error("the attestation document is from the future")]
    FromTheFuture,
    #[error("the attestation document has no public key")]
    NoPublicKey,
    #[error("the attestation document's public key is not RSA of 2048 to 4096 bits in DER")]
    PublicKey,
}

impl From<RecipientError> for KmsError {
    fn from(error: RecipientError) -> Self {
        Self::validation(format!("Recipient: {error}."))
    }
}

impl Judge {
    pub(crate) fn judge(self, info: &RecipientInfo) -> Result<Recipient, RecipientError> {
        if info.key_encryption_algorithm != "RSAES_OAEP_SHA_256" {
            return Err(RecipientError::Algorithm);
        }
        let document = self.document(&info.attestation_document.0)?;
        self.check_age(document.timestamp_ms)?;
        let spki = document.public_key.ok_or(RecipientError::NoPublicKey)?;
        check_key(&spki)?;
        let pcrs = document.pcrs;
        Ok(Recipient { pcrs, spki })
    }

    fn document(self, bytes: &[u8]) -> Result<Document, RecipientError> {
        if let Some(document) = unsigned(bytes).filter(|_| self.allow_unsigned) {
            eprintln!("emulator-kms: WARNING: an UNSIGNED attestation document was believed; anyone can make one");
            return Ok(document);
        }
        let decoded = SignedDocument::decode(bytes)?;
        let root = self.root_sha256.ok_or(RecipientError::NoRoot)?;
        Ok(decoded.verify(&root, self.now_ms / 1_000)?.document().clone())
    }

    fn check_age(self, made_ms: u64) -> Result<(), RecipientError> {
        if made_ms > self.now_ms.saturating_add(MAX_CLOCK_DIFFERENCE_MS) {
            return Err(RecipientError::FromTheFuture);
        }
        if self.now_ms.saturating_sub(made_ms) > MAX_AGE_MS {
            return Err(RecipientError::TooOld);
        }
        Ok(())
    }
}

/// A document as QEMU's emulated NSM makes it: algorithm -1, a signature of 64 zeros.
fn unsigned(bytes: &[u8]) -> Option<Document> {
    let rest = bytes.strip_prefix(&[0x84, 0x43, 0xa1, 0x01, 0x20, 0xa0, 0x59])?;
    let (length, rest) = rest.split_first_chunk()?;
    let (payload, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let signature = rest.strip_prefix(&[0x58, 64])?;
    let zeros = signature.len() == 64 && signature.iter().all(|byte| *byte == 0);
    Document::decode(payload).ok().filter(|_| zeros)
}

/// In its one form, so that the key identifier of a reply has one too.
fn check_key(spki: &[u8]) -> Result<(), RecipientError> {
    let refused = RecipientError::PublicKey;
    let key = PublicEncryptingKey::from_der(spki).map_err(|_| refused)?;
    let written: PublicKeyX509Der<'_> = key.as_der().map_err(|_| refused)?;
    if written.as_ref() == spki && (2_048..=4_096).contains(&key.key_size_bits()) {
        Ok(())
    } else {
        Err(refused)
    }
}

/// What KMS's documentation says.
const MAX_AGE_MS: u64 = 5 * 60 * 1_000;
/// Clocks that are set over a network differ by less.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 60_000;
