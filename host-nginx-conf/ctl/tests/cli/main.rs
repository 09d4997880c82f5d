//! The program as an administrator runs it, against a small and strict stand-in for the enclave.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected stops at once")]

mod commands;
mod fake;
mod listening;
mod refusals;
mod replay;
mod stack;
