//! Holds TLS private keys inside an AWS Nitro Enclave and signs with them.
//!
//! Two planes: web servers ask for signatures on the one ([`serve`]), the parent's agent manages keys on the other, which this
//! service dials itself. The bytes of both are the crate `enclave-wire`'s. A key never leaves the [`keystore`].

#![deny(missing_docs)]

mod attest;
pub mod boot;
mod caa;
pub mod chain;
pub mod clock;
mod egress;
pub mod keystore;
pub mod machine;
pub mod measure;
pub mod nsm;
pub mod platform;
mod provision;
pub mod sealed;
pub mod serve;
pub mod statistics;
pub mod transport;
pub mod usage;

pub use platform::Platform;
pub use serve::{Config, Service, StartError, run};
