//! What of a sealed state stands in the clear.

use std::collections::BTreeSet;

use enclave_wire::control::Origin;
use enclave_wire::{Decode, DecodeError, Encode, KeyId, Name, Reader, State as Standing, Usage, Writer};

use super::wraps::Wraps;
use super::{DataKey, Generation, MAX_GENERATIONS, SealedError, State, Wrapping};

/// What stands in the clear: enough to ask KMS for the data key, and for people to see what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The certificate's name.
    pub name: Name,
    /// Grows with each state of the name.
    pub number: u64,
    /// The last generation that the name has had.
    pub last_generation: u32,
    /// The group whose data key opens it.
    pub group: Name,
    /// The KMS keys that open the data key, and what they are to decrypt.
    pub wrapping: Wrapping,
    /// The policy that was in force where it was sealed.
    pub policy_sha384: [u8; 48],
    /// The generations, in the order of their numbers.
    pub generations: Vec<Summary>,
}

/// What of a generation stands in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Its number, from 1.
    pub generation: u32,
    /// Where it stands.
    pub state: Standing,
    /// What it may sign.
    pub usage: Usage,
    /// Where its key came from.
    pub origin: Origin,
    /// SHA-256 of its SPKI.
    pub key: KeyId,
}

impl Header {
    pub(super) fn new(state: &State, data_key: &DataKey, policy_sha384: &[u8; 48]) -> Result<Self, SealedError> {
        if state.group != data_key.group {
            return Err(SealedError::OtherDataKey);
        }
        if state.generations.len() > MAX_GENERATIONS {
            return Err(SealedError::TooManyGenerations);
        }
        let header = Self {
            name: state.name.clone(),
            number: state.number,
            last_generation: state.last_generation,
            group: data_key.group.clone(),
            wrapping: data_key.wrapping.clone(),
            policy_sha384: *policy_sha384,
            generations: state.generations.iter().map(Summary::from).collect(),
        };
        // Nothing is sealed that would not be opened.
        if header.is_ordered() && header.wrapping.fits() {
            Ok(header)
        } else {
            Err(SealedError::Inconsistent)
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, SealedError> {
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(DecodeError::Invalid.into());
        }
        let wrapping = match u8::decode(reader)? {
            DIRECT => direct,
            EACH => each,
            _ => return Err(SealedError::Version),
        };
        let header = Self {
            name: Name::decode(reader)?,
            number: u64::decode(reader)?,
            last_generation: u32::decode(reader)?,
            group: Name::decode(reader)?,
            wrapping: wrapping(reader)?,
            policy_sha384: reader.array()?,
            generations: reader.list(MAX_GENERATIONS)?,
        };
        if header.is_ordered() {
            Ok(header)
        } else {
            Err(DecodeError::NotCanonical.into())
        }
    }

    /// States and generations count from 1, generations ascend, none comes after the last, and no key stands twice.
    fn is_ordered(&self) -> bool {
        let numbers = || self.generations.iter().map(|summary| summary.generation);
        let ascending = numbers().zip(numbers().skip(1)).all(|(one, next)| one < next);
        let bounded = numbers().all(|number| (1..=self.last_generation).contains(&number));
        let keys: BTreeSet<KeyId> = self.generations.iter().map(|summary| summary.key).collect();
        let distinct = keys.len() == self.generations.len();
        self.number > 0 && self.last_generation > 0 && ascending && bounded && distinct
    }
}

impl Encode for Header {
    fn encode(&self, writer: &mut Writer) {
        writer.put(MAGIC);
        match &self.wrapping {
            Wrapping::Direct { .. } => DIRECT,
            Wrapping::Each(_) => EACH,
        }
        .encode(writer);
        self.name.encode(writer);
        self.number.encode(writer);
        self.last_generation.encode(writer);
        self.group.encode(writer);
        match &self.wrapping {
            Wrapping::Direct { kms_key, ciphertext } => {
                writer.bytes16(kms_key.to_string().as_bytes());
                writer.bytes16(ciphertext);
            }
            Wrapping::Each(wraps) => wraps.encode(writer),
        }
        self.policy_sha384.encode(writer);
        writer.list(&self.generations);
    }
}

fn direct(reader: &mut Reader<'_>) -> Result<Wrapping, DecodeError> {
    Ok(Wrapping::Direct {
        kms_key: reader.text(MAX_ARN)?.parse().map_err(|_| DecodeError::Invalid)?,
        ciphertext: reader.bytes16(MAX_WRAPPED)?.to_vec(),
    })
}

fn each(reader: &mut Reader<'_>) -> Result<Wrapping, DecodeError> {
    Wraps::decode(reader).map(Wrapping::Each)
}

impl From<&Generation> for Summary {
    fn from(generation: &Generation) -> Self {
        Self {
            generation: generation.generation,
            state: generation.state,
            usage: generation.usage,
            origin: generation.origin,
            key: generation.key.id(),
        }
    }
}

impl Decode for Summary {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            generation: u32::decode(reader)?,
            state: Standing::decode(reader)?,
            usage: Usage::decode(reader)?,
            origin: Origin::decode(reader)?,
            key: KeyId::decode(reader)?,
        })
    }
}

impl Encode for Summary {
    fn encode(&self, writer: &mut Writer) {
        self.generation.encode(writer);
        self.state.encode(writer);
        self.usage.encode(writer);
        self.origin.encode(writer);
        self.key.encode(writer);
    }
}

/// What no other file begins with.
const MAGIC: &[u8] = b"enclave-tls-sealed";
/// Version 1: one KMS key opens the data key.
const DIRECT: u8 = 1;
/// Version 2: each of several KMS keys does.
const EACH: u8 = 2;
/// The longest ARN of a KMS key has some 90 bytes; as long as control messages carry.
pub(super) const MAX_ARN: usize = 256;
/// The longest ciphertext that KMS makes or opens. A data key's has some 190 bytes.
pub(super) const MAX_WRAPPED: usize = 6_144;
/// What a header, a salt and a tag take for a name with a few generations.
pub(super) const TYPICAL: usize = 1_024;
