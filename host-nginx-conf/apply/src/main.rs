//! `enclave-tls-apply`: installs credentials and server files, tests servers' configurations and reloads them.
//!
//! The only program of the parent's side that runs as root. It does what [`enclave_tls_apply::Request`] lists, for root and
//! for the agent, with what the configuration file names; it starts no shell and takes no path from anybody.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

mod args;
mod clients;
mod deploy;
mod disk;
mod exchange;
mod failure;
mod groups;
mod helper;
mod listen;
mod openssl;
mod places;
mod render;
mod servers;
mod state;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Args;
use crate::helper::Helper;
use crate::listen::{Listener, StartError};

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> Result<(), StartError> {
    confine();
    let listener = Listener::open(args.socket.as_deref())?;
    let helper = Helper::new(args)?;
    listener.serve(|request| helper.answer(request))
}

/// Modes are set explicitly, so nothing may be open to others in between; and a crash must not write a credential to disk.
fn confine() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = rustix::process::Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Core, none) {
        log(&format_args!("cannot switch off core dumps: {error}"));
    }
}

/// One line on stderr, which systemd takes to the journal. What a server said is escaped: its lines are not ours.
pub(crate) fn log(what: &dyn std::fmt::Display) {
    eprintln!("enclave-tls-apply: {}", printable(&what.to_string()));
}

/// A text in which no character ends a line or moves a terminal's cursor.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_of_the_log_stays_one() {
        assert_eq!(super::printable("it's a\nb\u{1b}[0m ä"), "it's a\\nb\\u{1b}[0m ä");
    }
}
