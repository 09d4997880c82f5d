//! Measures what `PLAN.json` says and prints a report in JSON; `cargo xtask bench` writes the plans. See `signbench/mod.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use e2e::signbench;
use serde::de::DeserializeOwned;

/// Measure signatures and handshakes against each other
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the subjects of a plan
    Run {
        /// The plan, JSON
        plan: PathBuf,
    },
    /// Measure a service with few keys and one with very many
    Keys {
        /// The plan, JSON
        plan: PathBuf,
    },
    /// Answer messages on standard input, a socket: the other end of the bare socket
    Echo {
        /// Bytes of a message
        request: usize,
        /// Bytes of an answer
        reply: usize,
    },
    /// Listen at a unix socket for clients of another, and hold each of its answers back; says first how long a ping takes, in µs
    Delay {
        /// `unix:@NAME`
        listen: String,
        /// `unix:@NAME` of the service
        service: String,
        /// What an answer that needs no time takes
        microseconds: u32,
        /// The core that it keeps to
        core: usize,
    },
    /// Do what a subject's plan on standard input says, when told: one of several processes
    Work,
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signbench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Run { plan } => println!("{}", serde_json::to_string_pretty(&signbench::run(&read(&plan)?)?)?),
        Command::Keys { plan } => {
            let keys = signbench::keys::keys(&read(&plan)?).map_err(|error| format!("{error:#}"))?;
            println!("{}", serde_json::to_string_pretty(&keys)?);
        }
        Command::Echo { request, reply } => signbench::echo(request, reply)?,
        Command::Work => signbench::work()?,
        Command::Delay {
            listen,
            service,
            microseconds,
            core,
        } => signbench::delay(&listen, &service, microseconds, core)?,
    }
    Ok(())
}

fn read<T: DeserializeOwned>(plan: &Path) -> Result<T, String> {
    let text = std::fs::read_to_string(plan).map_err(|error| format!("{}: {error}", plan.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", plan.display()))
}
