//! PID 1 of the enclave's image: mounts, checks the machine, starts the service, sends its log, and ends the machine when it ends.
//!
//! PID 1 does not become the service: a system call that is denied kills the process, and if that is PID 1 the kernel panics and nobody
//! learns why. So the service is a child. It is the same program executed again, not a fork that goes on: it begins with memory of its
//! own, laid out anew, it needs no `unsafe`, and the filter of its system calls, which it puts on itself before anything else, need not
//! allow `execve`.
//!
//! What is checked here is checked before the service exists, so before there is a key. Everything that is looked at lies below
//! [`Machine::root`], so that tests bring a tree of their own.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

pub mod command_line;
pub mod confine;
mod end;
pub mod entropy;
mod heartbeat;
mod limits;
pub mod logs;
mod machine;
mod mounts;
mod start;
#[cfg(test)]
mod tree;
mod watch;

use std::process::ExitCode;

pub use end::{End, Refusal};
pub use machine::{Machine, Planes};
pub use start::run;

/// The service, as a child of PID 1: confined before it reads anything, and then the release program.
#[must_use]
pub fn service() -> ExitCode {
    match confine::this_process() {
        Ok(()) => enclave_tls::boot::main(),
        Err(error) => {
            eprintln!("the service was not confined: {error}");
            ExitCode::FAILURE
        }
    }
}
