//! `enclave-tls-agent`: the daemon, and with `enclave` the supervisor of the enclave, in a unit of its own.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use enclave_tls_agent::Agent;
use enclave_tls_agent::clock::System;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The parent instance's side of an enclave: feeds it, watches it, and gives web servers what it makes.
///
/// SIGHUP reads the configuration again. Administrators speak to it with enclave-tlsctl.
#[derive(Parser)]
#[command(name = "enclave-tls-agent", version)]
struct Cli {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = enclave_tls_config::DEFAULT_PATH)]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the enclave, or adopt the one that runs, and keep it running
    Enclave,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Credentials pass through this process: neither a core dump nor another process of the same user gets them.
    let forbidden = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    if let Err(error) = forbidden {
        eprintln!("enclave-tls-agent: core dumps could not be forbidden: {error}");
        return ExitCode::FAILURE;
    }
    let ended = match cli.command {
        None => agent(&cli.config),
        Some(Command::Enclave) => enclave_tls_agent::supervisor::run(&cli.config),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("enclave-tls-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

fn agent(config: &std::path::Path) -> Result<(), String> {
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT]).map_err(|error| error.to_string())?;
    let agent = Agent::start(config, Arc::new(System::default())).map_err(|error| error.to_string())?;
    for signal in signals.forever() {
        match signal {
            SIGHUP => agent.reload(),
            _ => break,
        }
    }
    agent.stop();
    Ok(())
}
