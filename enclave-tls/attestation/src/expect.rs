//! Whether a verified document is of the enclave that was meant.

use std::collections::BTreeMap;

use crate::document::{Document, Pcr};
use crate::sign1::Verified;

/// What a caller expects of a document. Every field that is given is compared; the first that differs is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expectations {
    /// The registers, by index: 0, 1 and 2 measure the image; 3 and 4 the parent's role and instance; 8 the image's signer;
    /// 16 the policy. One that is given and absent from the document is a mismatch.
    pub pcrs: BTreeMap<u8, Pcr>,
    /// What the document must carry as nonce.
    pub nonce: Option<Vec<u8>>,
    /// How old the document may be, in milliseconds.
    pub max_age_ms: Option<u64>,
}

/// How a document differs from what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// PCR0, 1 and 2 are all zero: the enclave runs in debug mode, and its memory is no secret. Never accepted.
    Debug,
    /// This register differs, or is absent.
    Pcr(u8),
    /// The nonce differs, or is absent: the document may be a replay.
    Nonce,
    /// The document is older than allowed.
    TooOld,
    /// The document is from the future, by more than clocks may differ.
    FromTheFuture,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Debug => f.write_str("the enclave runs in debug mode: PCR0, 1 and 2 are zero"),
            Self::Pcr(index) => write!(f, "PCR{index} is not the expected one"),
            Self::Nonce => f.write_str("the nonce is not the expected one"),
            Self::TooOld => f.write_str("the document is too old"),
            Self::FromTheFuture => f.write_str("the document is from the future: compare the clocks"),
        }
    }
}

impl std::error::Error for Mismatch {}

impl Expectations {
    /// Compares a verified document, `now_ms` being milliseconds since 1970, UTC.
    pub fn check(&self, verified: &Verified, now_ms: u64) -> Result<(), Mismatch> {
        let document = verified.document();
        if is_debug(document) {
            return Err(Mismatch::Debug);
        }
        for (index, expected) in &self.pcrs {
            if document.pcrs.get(index) != Some(expected) {
                return Err(Mismatch::Pcr(*index));
            }
        }
        if self.nonce.is_some() && self.nonce != document.nonce {
            return Err(Mismatch::Nonce);
        }
        self.check_age(document.timestamp_ms, now_ms)
    }

    fn check_age(&self, made_ms: u64, now_ms: u64) -> Result<(), Mismatch> {
        let Some(max_age_ms) = self.max_age_ms else {
            return Ok(());
        };
        if made_ms > now_ms.saturating_add(MAX_CLOCK_DIFFERENCE_MS) {
            return Err(Mismatch::FromTheFuture);
        }
        if now_ms.saturating_sub(made_ms) > max_age_ms {
            Err(Mismatch::TooOld)
        } else {
            Ok(())
        }
    }
}

/// A register of the image that is absent counts as zero: a document that leaves all three out proves nothing either.
fn is_debug(document: &Document) -> bool {
    [0, 1, 2]
        .iter()
        .all(|index| document.pcrs.get(index).is_none_or(|pcr| *pcr == [0; 48]))
}

/// Clocks that are set over a network differ by less.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 60_000;
