//! A signature in the making: one part or several, and what happens when the caller's buffer is too small.

use enclave_wire::mechanism::MAX_INPUT;
use enclave_wire::{KeyId, KeyType, Mechanism};

use super::backend::SignRequest;
use super::error::Error;
use super::mechanism;
use super::public_key::Key;

/// What `C_SignInit` began.
#[derive(Debug)]
pub(super) struct SignOperation {
    key: KeyId,
    key_type: KeyType,
    mechanism: Mechanism,
    /// What `C_SignUpdate` brought. The raw forms gather it too.
    parts: Option<Vec<u8>>,
}

/// How much the caller has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Nothing: the caller asks for the length.
    Query,
    /// This many bytes.
    Bytes(usize),
}

/// What a call that ends a signature gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Signed {
    /// The length that was asked for. The operation goes on.
    Length(usize),
    /// The length that there was no room for. The operation goes on.
    TooSmall(usize),
    /// The signature. The operation is over.
    Signature(Vec<u8>),
}

impl SignOperation {
    /// Refuses here what the service would refuse for the mechanism alone.
    pub(super) fn new(key: &Key, mechanism: Mechanism) -> Result<Self, Error> {
        let entry = &key.entry;
        let type_fits = enclave_wire::Usage::ALL
            .iter()
            .any(|usage| mechanism.allowed_for(entry.key_type, *usage));
        if !type_fits {
            return Err(Error::KeyTypeInconsistent);
        }
        if !mechanism.allowed_for(entry.key_type, entry.usage) {
            return Err(Error::KeyFunctionNotPermitted);
        }
        Ok(Self {
            key: entry.id,
            key_type: entry.key_type,
            mechanism,
            parts: None,
        })
    }

    /// Adds a part.
    pub(super) fn update(&mut self, part: &[u8]) -> Result<(), Error> {
        let parts = self.parts.get_or_insert_default();
        if parts.len().saturating_add(part.len()) > MAX_INPUT {
            return Err(Error::DataLenRange);
        }
        parts.try_reserve(part.len())?;
        parts.extend_from_slice(part);
        Ok(())
    }

    /// What was gathered, if anything was.
    pub(super) fn parts(&self) -> Option<&[u8]> {
        self.parts.as_deref()
    }

    /// The answer that needs no signature, if the room asks for one.
    pub(super) fn without_signing(&self, room: Room) -> Option<Signed> {
        let length = self.key_type.signature_len();
        match room {
            Room::Query => Some(Signed::Length(length)),
            Room::Bytes(room) if room < length => Some(Signed::TooSmall(length)),
            Room::Bytes(_) => None,
        }
    }

    /// What to ask the service for.
    pub(super) fn request<'a>(&self, input: &'a [u8]) -> Result<SignRequest<'a>, Error> {
        if !mechanism::takes(self.mechanism, input.len()) {
            return Err(Error::DataLenRange);
        }
        Ok(SignRequest {
            key: self.key,
            key_type: self.key_type,
            mechanism: self.mechanism,
            input,
        })
    }
}
