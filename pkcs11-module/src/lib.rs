//! PKCS#11 module that asks an enclave for TLS signatures.
//!
//! A web server loads it and signs through it; the private keys are elsewhere. A call passes through these layers, each of which
//! knows only the next:
//!
//! - `abi`: the C functions. All unsafe code is here. It turns pointers into slices and keeps the state of the process, by pid.
//! - `boundary`: stops panics, and turns every error into its `CK_RV`.
//! - [`token`]: Cryptoki itself, in safe code: slot, sessions, objects, mechanisms, finding, signing.
//! - [`client`]: the service's answers over a pool of sockets, within a deadline.
//! - [`config`]: where the service is, and the credential that it knows this process by.
//!
//! The host process is left alone: no thread, no signal handler, no thread-local with a destructor, nothing at exit but that it closes what
//! it opened, nothing written to its standard streams, and nothing of its libcrypto.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod abi;
mod boundary;
pub mod client;
pub mod config;
mod descriptor;
pub mod token;

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("sockets and object handles are those of 64-bit Linux");
