//! The data key of a group, and how a state says which KMS keys open it.

use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use zeroize::Zeroizing;

use super::header::MAX_WRAPPED;
use super::wraps::{Wrap, Wraps};
use super::{Header, SealedError};

/// The data key of a group of names. Its secret can be neither printed nor copied, and is wiped on drop.
pub struct DataKey {
    pub(super) group: Name,
    pub(super) wrapping: Wrapping,
    /// In one place, since what is moved leaves a copy behind.
    pub(super) secret: Box<Zeroizing<[u8; 32]>>,
}

/// How a data key is kept outside of enclaves. It decides the version of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapping {
    /// Version 1: as one KMS key encrypted it.
    Direct {
        /// The KMS key.
        kms_key: KeyArn,
        /// The data key, as KMS encrypted it.
        ciphertext: Vec<u8>,
    },
    /// Version 2: under a key of each of several KMS keys, any of which opens it.
    Each(Wraps),
}

impl DataKey {
    /// What KMS gave: the secret, which the caller wipes, and the ciphertext of it that only this KMS key opens.
    #[must_use]
    pub fn new(group: Name, kms_key: KeyArn, wrapped: Vec<u8>, secret: &[u8; 32]) -> Self {
        let ciphertext = wrapped;
        Self {
            group,
            wrapping: Wrapping::Direct { kms_key, ciphertext },
            secret: kept(secret),
        }
    }

    /// A secret of the enclave's own, which this KMS key opens, and more that follow ([`DataKey::also_under`]). `kek` and its ciphertext
    /// are what that KMS key gave.
    pub fn under(
        group: Name,
        secret: &[u8; 32],
        kms_key: KeyArn,
        kek: &[u8; 32],
        ciphertext: Vec<u8>,
    ) -> Result<Self, SealedError> {
        let wrap = Wrap::seal(&group, secret, kms_key, kek, ciphertext)?;
        Ok(Self {
            group,
            wrapping: Wrapping::Each(Wraps::one(wrap)),
            secret: kept(secret),
        })
    }

    /// The same data key, which another KMS key opens too.
    pub fn also_under(&self, kms_key: KeyArn, kek: &[u8; 32], ciphertext: Vec<u8>) -> Result<Self, SealedError> {
        let Wrapping::Each(wraps) = &self.wrapping else {
            return Err(SealedError::Inconsistent);
        };
        let wrap = Wrap::seal(&self.group, &self.secret, kms_key, kek, ciphertext)?;
        Ok(self.wrapped_in(wraps.with(wrap).ok_or(SealedError::Inconsistent)?))
    }

    /// The data key of a blob with this header, from what this KMS key opened. Whether it is, opening the blob says.
    pub fn of(header: &Header, kms_key: &KeyArn, opened: &[u8]) -> Result<Self, SealedError> {
        let opened = opened.try_into().map_err(|_| SealedError::NoDataKey)?;
        let secret = match &header.wrapping {
            Wrapping::Direct { kms_key: its, .. } if its == kms_key => kept(opened),
            Wrapping::Direct { .. } => return Err(SealedError::OtherDataKey),
            Wrapping::Each(wraps) => {
                let wrap = wraps.under(kms_key).ok_or(SealedError::OtherDataKey)?;
                wrap.open(&header.group, opened)?
            }
        };
        Ok(Self {
            group: header.group.clone(),
            wrapping: header.wrapping.clone(),
            secret,
        })
    }

    /// The same data key with the wraps that only this header has, if there are any. Only after a blob with this header was opened with
    /// it: before that anybody may have written them.
    #[must_use]
    pub fn joined(&self, header: &Header) -> Option<Self> {
        let (Wrapping::Each(own), Wrapping::Each(others)) = (&self.wrapping, &header.wrapping) else {
            return None;
        };
        let joined = own.joined(others);
        (joined != *own).then(|| self.wrapped_in(joined))
    }

    /// The group: one data key, one encryption context.
    #[must_use]
    pub fn group(&self) -> &Name {
        &self.group
    }

    /// Which KMS keys open it, and how.
    #[must_use]
    pub fn wrapping(&self) -> &Wrapping {
        &self.wrapping
    }

    /// Whether a blob with this header was sealed under it, as the header says.
    #[must_use]
    pub fn is_of(&self, header: &Header) -> bool {
        self.group == header.group && self.wrapping.is_of_one_key(&header.wrapping)
    }

    /// Whether both are one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.group == other.group && self.wrapping.is_of_one_key(&other.wrapping)
    }

    fn wrapped_in(&self, wraps: Wraps) -> Self {
        Self {
            group: self.group.clone(),
            wrapping: Wrapping::Each(wraps),
            secret: kept(&self.secret),
        }
    }
}

impl Wrapping {
    /// The KMS keys, each of which opens it, with what it is to decrypt.
    #[must_use]
    pub fn ciphertexts(&self) -> Vec<(&KeyArn, &[u8])> {
        match self {
            Self::Direct { kms_key, ciphertext } => vec![(kms_key, ciphertext)],
            Self::Each(wraps) => wraps.iter().map(|wrap| (wrap.kms_key(), wrap.ciphertext())).collect(),
        }
    }

    /// The KMS keys, each of which opens it.
    #[must_use]
    pub fn kms_keys(&self) -> Vec<&KeyArn> {
        self.ciphertexts().into_iter().map(|(kms_key, _)| kms_key).collect()
    }

    /// Whether it has version 2's form.
    #[must_use]
    pub fn is_each(&self) -> bool {
        match self {
            Self::Direct { .. } => false,
            Self::Each(_) => true,
        }
    }

    pub(super) fn fits(&self) -> bool {
        self.ciphertexts()
            .iter()
            .all(|(_, ciphertext)| ciphertext.len() <= MAX_WRAPPED)
    }

    /// A wrap is of one data key: who has a wrap in common with another has the data key in common.
    fn is_of_one_key(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Each(one), Self::Each(other)) => one.share(other),
            (Self::Direct { .. }, Self::Direct { .. }) => self == other,
            (Self::Direct { .. }, Self::Each(_)) | (Self::Each(_), Self::Direct { .. }) => false,
        }
    }
}

pub(super) fn kept(secret: &[u8; 32]) -> Box<Zeroizing<[u8; 32]>> {
    let mut kept = Box::new(Zeroizing::new([0; 32]));
    kept.copy_from_slice(secret);
    kept
}
