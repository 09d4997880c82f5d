//! A data key under several KMS keys: for each of them once, under a key-encryption key that it alone opens.
//!
//! KMS encrypts no secret of the enclave's choosing to a recipient, so each region's KMS key gives a key of its own, and that one wraps
//! the data key here.

use enclave_policy::aws::KeyArn;
use enclave_wire::{Decode, DecodeError, Encode, Name, Reader, Writer};
use zeroize::Zeroizing;

use super::SealedError;
use super::cipher::{self, Cipher, TAG};
use super::data_key::kept;
use super::header::{MAX_ARN, MAX_WRAPPED};

/// At least one wrap, at most [`MAX_WRAPS`], in the order of their ARNs, none of which stands twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wraps(Vec<Wrap>);

/// A data key as one KMS key opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrap {
    kms_key: KeyArn,
    /// The key-encryption key, as KMS encrypted it.
    ciphertext: Vec<u8>,
    salt: [u8; 32],
    /// The data key and the tag.
    sealed: [u8; SEALED],
}

impl Wraps {
    pub(super) fn one(wrap: Wrap) -> Self {
        Self(vec![wrap])
    }

    /// One more, of another KMS key; none where there is no place for it.
    pub(super) fn with(&self, wrap: Wrap) -> Option<Self> {
        let mut wraps = self.0.clone();
        wraps.push(wrap);
        Self::ordered(wraps)
    }

    /// These, and those of the other's KMS keys that are not here, as far as there is place.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let more = other.iter().filter(|wrap| self.under(&wrap.kms_key).is_none());
        more.fold(self.clone(), |joined, wrap| joined.with(wrap.clone()).unwrap_or(joined))
    }

    pub(super) fn share(&self, other: &Self) -> bool {
        self.iter().any(|wrap| other.under(&wrap.kms_key) == Some(wrap))
    }

    pub(super) fn under(&self, kms_key: &KeyArn) -> Option<&Wrap> {
        self.iter().find(|wrap| wrap.kms_key == *kms_key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Wrap> {
        self.0.iter()
    }

    fn ordered(mut wraps: Vec<Wrap>) -> Option<Self> {
        wraps.sort_by_cached_key(Wrap::arn);
        Self::checked(wraps)
    }

    fn checked(wraps: Vec<Wrap>) -> Option<Self> {
        let arns: Vec<String> = wraps.iter().map(Wrap::arn).collect();
        let ascending = arns.iter().zip(arns.iter().skip(1)).all(|(one, next)| one < next);
        (ascending && (1..=MAX_WRAPS).contains(&wraps.len())).then_some(Self(wraps))
    }
}

impl Wrap {
    /// Wraps a data key of this group under a key-encryption key, which the caller wipes.
    pub(super) fn seal(
        group: &Name,
        data_key: &[u8; 32],
        kms_key: KeyArn,
        kek: &[u8; 32],
        ciphertext: Vec<u8>,
    ) -> Result<Self, SealedError> {
        let salt = cipher::salt()?;
        let mut secret = kept(data_key);
        let tag = cipher_of(group, &kms_key, kek, &salt)?.seal(&[], secret.as_mut_slice())?;
        let mut sealed = [0; SEALED];
        for (place, byte) in sealed.iter_mut().zip(secret.iter().chain(&tag)) {
            *place = *byte;
        }
        Ok(Self {
            kms_key,
            ciphertext,
            salt,
            sealed,
        })
    }

    /// The data key, if this is what the KMS key's key-encryption key wrapped for this group.
    pub(super) fn open(&self, group: &Name, kek: &[u8; 32]) -> Result<Box<Zeroizing<[u8; 32]>>, SealedError> {
        let mut sealed = Zeroizing::new(self.sealed);
        let secret = cipher_of(group, &self.kms_key, kek, &self.salt)?.open(&[], sealed.as_mut_slice())?;
        Ok(kept(secret.try_into().map_err(|_| SealedError::NoDataKey)?))
    }

    /// The KMS key.
    #[must_use]
    pub fn kms_key(&self) -> &KeyArn {
        &self.kms_key
    }

    /// What the KMS key is to decrypt.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    fn arn(&self) -> String {
        self.kms_key.to_string()
    }
}

/// A wrap is of one group and one KMS key: neither can be said to be another's.
fn cipher_of(group: &Name, kms_key: &KeyArn, kek: &[u8; 32], salt: &[u8; 32]) -> Result<Cipher, SealedError> {
    Cipher::new(kek, salt, [LABEL, group.as_str(), &kms_key.to_string()])
}

impl Encode for Wraps {
    fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0);
    }
}

impl Decode for Wraps {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::checked(reader.list(MAX_WRAPS)?).ok_or(DecodeError::NotCanonical)
    }
}

impl Encode for Wrap {
    fn encode(&self, writer: &mut Writer) {
        writer.bytes16(self.arn().as_bytes());
        writer.bytes16(&self.ciphertext);
        self.salt.encode(writer);
        self.sealed.encode(writer);
    }
}

impl Decode for Wrap {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            kms_key: reader.text(MAX_ARN)?.parse().map_err(|_| DecodeError::Invalid)?,
            ciphertext: reader.bytes16(MAX_WRAPPED)?.to_vec(),
            salt: reader.array()?,
            sealed: reader.array()?,
        })
    }
}

const LABEL: &str = "enclave-tls sealed v2 data key";
const SEALED: usize = 32 + TAG;
/// Two regions are the reason for more than one, and during a change of KMS keys each of them has two.
pub(crate) const MAX_WRAPS: usize = 4;
