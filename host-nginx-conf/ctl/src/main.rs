//! `enclave-tlsctl`: how an administrator creates, certifies and retires the keys of an enclave, from its parent instance.
//!
//! `enclave-tlsctl listen` holds the control connection, which the enclave dials (`enclave-wire`'s `PROTOCOL.md`), and offers a
//! root-only socket ([`local`]). Every other command is one or a few requests on that socket.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

#[deny(clippy::wildcard_enum_match_arm)]
mod advice;
mod args;
mod aws;
mod client;
mod commands;
mod deadline;
mod files;
#[deny(clippy::wildcard_enum_match_arm)]
mod frames;
mod hex;
#[deny(clippy::wildcard_enum_match_arm)]
mod kms_policy;
mod listen;
#[deny(clippy::wildcard_enum_match_arm)]
mod local;
#[deny(clippy::wildcard_enum_match_arm)]
mod pem;
mod printable;
mod promise;
mod s3;
#[deny(clippy::wildcard_enum_match_arm)]
mod seal;
mod select;
mod show;
#[deny(clippy::wildcard_enum_match_arm)]
mod store;
mod table;
mod time;
#[deny(clippy::wildcard_enum_match_arm)]
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match forbid_core_dumps().and_then(|()| commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("enclave-tlsctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Private keys and credentials pass through this process: neither a core dump nor another process of the same user gets them.
fn forbid_core_dumps() -> Result<(), commands::CommandError> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| commands::CommandError::CoreDumps(error.into()))
}
