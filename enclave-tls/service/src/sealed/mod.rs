//! The state of a name, sealed for the parent to keep: what a restart brings back without an operator.
//!
//! One blob holds all generations of a name. Its key and nonce come from a group's data key, which only KMS opens, with one key or with any
//! of several, and a salt of its own; its header stands in the clear and is authenticated. `SEALED.md` beside this crate owns the bytes.
//! Nothing here does I/O.
//!
//! The parent cannot read a blob nor change it unnoticed, but it can keep an older one: the store refuses that within a run.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod cipher;
mod contents;
mod data_key;
mod error;
mod header;
mod wraps;

use std::sync::Arc;

use enclave_wire::control::{Listed, Origin};
use enclave_wire::{Chain, DnsName, Encode as _, Name, Reader, State as Standing, Usage, Writer};
use zeroize::Zeroizing;

use crate::keystore::SigningKey;
use cipher::Cipher;

pub use data_key::{DataKey, Wrapping};
pub use error::SealedError;
pub use header::{Header, Summary};
pub(crate) use wraps::MAX_WRAPS;
pub use wraps::{Wrap, Wraps};

/// All generations of a name that may still sign.
pub struct State {
    /// The certificate's name.
    pub name: Name,
    /// The group whose data key seals it.
    pub group: Name,
    /// Grows with each state of the name.
    pub number: u64,
    /// The last generation that the name has had. It outlives the generations, so that no number is used twice.
    pub last_generation: u32,
    /// In the order of their numbers; none where the last one is retired.
    pub generations: Vec<Generation>,
}

/// One generation. A copy shares the key.
#[derive(Clone)]
pub struct Generation {
    /// Its number, from 1.
    pub generation: u32,
    /// Where it stands.
    pub state: Standing,
    /// What it may sign.
    pub usage: Usage,
    /// Where its key came from.
    pub origin: Origin,
    /// The names that its certificate carries.
    pub dns_names: Listed<DnsName, 100>,
    /// The clients that may use it.
    pub clients: Listed<Name, 64>,
    /// Its certificates; empty where none is installed.
    pub chain: Arc<Chain>,
    /// Its key. What was opened is checked as an imported key is.
    pub key: Arc<SigningKey>,
}

impl State {
    /// Seals it with a fresh salt. The keys' bytes are in memory only while this runs, and wiped at its end.
    pub fn seal(&self, data_key: &DataKey, policy_sha384: &[u8; 48]) -> Result<Vec<u8>, SealedError> {
        let header = Header::new(self, data_key, policy_sha384)?;
        seal(&header, contents::write(&self.generations)?, data_key)
    }
}

/// A blob of this header and this plaintext, which becomes ciphertext where it lies.
fn seal(header: &Header, mut plaintext: Zeroizing<Vec<u8>>, data_key: &DataKey) -> Result<Vec<u8>, SealedError> {
    let length = plaintext.len().saturating_add(cipher::TAG);
    let salt = cipher::salt()?;
    let mut blob = Writer::with_capacity(length.saturating_add(header::TYPICAL));
    header.encode(&mut blob);
    salt.encode(&mut blob);
    u32::try_from(length)
        .map_err(|_| SealedError::TooLarge)?
        .encode(&mut blob);
    if blob.len().saturating_add(length) > MAX_SEALED {
        return Err(SealedError::TooLarge);
    }
    let mut blob = blob.into_bytes();
    let tag = cipher_of(data_key, &header.name, &salt)?.seal(&blob, &mut plaintext)?;
    blob.extend_from_slice(&plaintext);
    blob.extend_from_slice(&tag);
    Ok(blob)
}

/// A blob, as it was read: nothing in it is authenticated before [`Envelope::open`].
pub struct Envelope {
    header: Header,
    salt: [u8; 32],
    /// All that precedes the ciphertext.
    associated: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// Reads what stands in the clear.
    pub fn parse(bytes: &[u8]) -> Result<Self, SealedError> {
        if bytes.len() > MAX_SEALED {
            return Err(SealedError::TooLarge);
        }
        let mut reader = Reader::new(bytes);
        let header = Header::decode(&mut reader)?;
        let salt = reader.array()?;
        let ciphertext = reader.bytes32(MAX_SEALED)?;
        reader.finish()?;
        let preceding = bytes.len().saturating_sub(ciphertext.len());
        Ok(Self {
            header,
            salt,
            associated: bytes.get(..preceding).unwrap_or_default().to_vec(),
            ciphertext: ciphertext.to_vec(),
        })
    }

    /// What stands in the clear: which data key is needed, and what opening will give. The parent may have written it.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Opens it. What comes out was sealed by an enclave that KMS gave this data key to, for this name, as the header says.
    pub fn open(&self, data_key: &DataKey) -> Result<State, SealedError> {
        if !data_key.is_of(&self.header) {
            return Err(SealedError::OtherDataKey);
        }
        let mut buffer = Zeroizing::new(self.ciphertext.clone());
        let cipher = cipher_of(data_key, &self.header.name, &self.salt)?;
        let plaintext = cipher.open(&self.associated, &mut buffer)?;
        Ok(State {
            generations: contents::read(plaintext, &self.header.generations)?,
            name: self.header.name.clone(),
            group: self.header.group.clone(),
            number: self.header.number,
            last_generation: self.header.last_generation,
        })
    }
}

/// What a blob of this name is sealed or opened with.
fn cipher_of(data_key: &DataKey, name: &Name, salt: &[u8; 32]) -> Result<Cipher, SealedError> {
    let label = match data_key.wrapping {
        Wrapping::Direct { .. } => DIRECT,
        Wrapping::Each(_) => EACH,
    };
    Cipher::new(&data_key.secret, salt, [label, data_key.group.as_str(), name.as_str()])
}

/// Each version derives keys of its own.
const DIRECT: &str = "enclave-tls sealed v1";
const EACH: &str = "enclave-tls sealed v2";
/// What the control plane carries ([`enclave_wire::control::SealedState`]).
const MAX_SEALED: usize = 120_000;
/// More generations than anyone keeps: a name has two, or three during a rotation.
pub(crate) const MAX_GENERATIONS: usize = 64;

#[cfg(test)]
mod tests;
