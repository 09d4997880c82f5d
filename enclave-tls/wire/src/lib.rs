//! The bytes that enclave-tls speaks on each of its planes: types that cannot be wrong, and strict codecs for them.
//!
//! `PROTOCOL.md` beside this crate owns the format. Nothing here does I/O, holds a socket or computes a MAC: a peer brings its
//! own transport and its own vetted cryptography. Decoding is canonical: `encode(decode(b)) == b` for every accepted `b`.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

pub mod address;
pub mod codec;
pub mod control;
pub mod credential;
pub mod egress;
pub mod frame;
pub mod identity;
pub mod log;
pub mod mechanism;
pub mod objects;
pub mod signing;

pub use codec::{Decode, DecodeError, Encode, Reader, Writer};
pub use identity::{BootId, Chain, DnsName, KeyId, KeyType, Name, Spki, State, Usage};
pub use mechanism::{Hash, Mechanism};
pub use objects::Objects;
