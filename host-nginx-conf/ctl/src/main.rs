//! `enclave-tlsctl`: how an administrator creates, certifies and retires the keys of an enclave, from its parent instance.
//!
//! It speaks to the agent, on a socket that only administrators reach (`enclave-tls-admin`), and never to the enclave.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects,
        // They panic where nobody reads any more: see `show`.
        clippy::print_stderr,
        clippy::print_stdout
    )
)]

#[deny(clippy::wildcard_enum_match_arm)]
#[cfg_attr(not(feature = "aws"), path = "acm/absent.rs")]
mod acm;
#[deny(clippy::wildcard_enum_match_arm)]
mod acme;
mod args;
mod aws;
#[deny(clippy::wildcard_enum_match_arm)]
mod check;
mod colour;
mod commands;
#[deny(clippy::wildcard_enum_match_arm)]
mod import_acm;
#[deny(clippy::wildcard_enum_match_arm)]
mod kms_policy;
mod programs;
#[deny(clippy::wildcard_enum_match_arm)]
mod role_policy;
#[deny(clippy::wildcard_enum_match_arm)]
mod seal;
mod select;
mod show;
#[deny(clippy::wildcard_enum_match_arm)]
mod support;
mod table;
mod time;
#[deny(clippy::wildcard_enum_match_arm)]
mod verify;

use std::process::ExitCode;

use clap::Parser;

use commands::Outcome;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => args::refuse(&error),
    };
    match forbid_core_dumps().and_then(|()| commands::run(cli)) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::NeedsAttention) => ExitCode::from(NEEDS_ATTENTION),
        Err(error) => {
            show::say_beside(&show::shortened(&format!("enclave-tlsctl: {error}")));
            ExitCode::FAILURE
        }
    }
}

/// Private keys and credentials pass through this process: neither a core dump nor another process of the same user gets them.
fn forbid_core_dumps() -> Result<(), commands::CommandError> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| commands::CommandError::CoreDumps(error.into()))
}

/// Not 1, by which a monitor knows that there was no answer; not 2, which clap has for a wrong command line.
const NEEDS_ATTENTION: u8 = 3;
