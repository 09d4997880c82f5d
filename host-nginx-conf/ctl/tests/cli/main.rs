//! The program as an administrator runs it, against a small and strict stand-in for the enclave.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected stops at once"
)]

mod aws;
mod bundles;
mod commands;
mod config;
mod egress;
mod fake;
mod listening;
mod logs;
mod proofs;
mod refusals;
mod replay;
mod sealed;
mod stack;
