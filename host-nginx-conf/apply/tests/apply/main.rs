//! The helper as a process, with a real NGINX where there is one.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected may stop at once")]

mod deploying;
mod fake;
mod hostile;
mod installing;
mod interrupted;
mod reloading;
mod socket;
mod withdrawing;
