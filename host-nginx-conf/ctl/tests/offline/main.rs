//! The commands that need no enclave, as their users run them.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops at once")]

mod directory;
mod enclave;
mod host;
mod kms_key;
mod policy;
#[cfg(feature = "aws")]
mod seal;
mod server;
mod verify;
