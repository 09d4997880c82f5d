//! A strict stand-in for AWS KMS, for tests.
//!
//! What KMS checks is checked here, at least as strictly: the request's signature, its clock, the key policy with explicit denies
//! and conditions on a fully verified attestation document, identity policies, grants, encryption contexts. What KMS forgives
//! (members it does not know, headers that are not signed) is refused, so that a client that works here works there. Its ciphertexts
//! are of a form of its own; its `CiphertextForRecipient` is byte for byte of KMS's form. [`Faults`] make it misbehave.
//!
//! Where AWS does not document how it words a refusal (a bad attestation document, mainly), the words here are this crate's own.

#![deny(missing_docs)]

mod admin;
mod arn;
mod authorization;
mod blob;
mod ciphertext;
mod cms;
mod config;
mod counters;
mod emulator;
mod error;
mod faults;
mod http;
mod json;
mod kms;
mod operations;
mod recipient;
mod store;

pub use config::{Config, ConfigError, Key, Principal, Tls};
pub use counters::{Count, Counters};
pub use emulator::{Emulator, StartError};
pub use faults::{Close, CmsFault, CmsForm, ErrorFault, FaultSwitches, Faults, PlaintextFault};
