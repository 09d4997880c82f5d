//! The commands that need no enclave, as their users run them.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops at once")]

#[cfg(feature = "aws")]
mod acm;
mod acme;
mod caa;
mod check;
mod directory;
mod enclave;
mod host;
mod import_acm;
mod kms_key;
mod policy;
mod role;
#[cfg(feature = "aws")]
mod seal;
mod server;
mod support;
mod told;
mod verify;
