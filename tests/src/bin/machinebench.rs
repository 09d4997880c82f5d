//! Measures an image that an emulated machine boots, by plans in JSON; `cargo xtask bench` writes them. See `machinebench/mod.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::machinebench;
use serde::de::DeserializeOwned;

/// Measure an enclave's image on an emulated machine, and print a report in JSON
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// One boot, up to the first signature
    Boot {
        /// The machine, JSON
        plan: PathBuf,
    },
    /// Certificates for one guest, until all are there or its memory is full
    Fill {
        /// The machine, the keys and how many, JSON
        plan: PathBuf,
    },
    /// A signature through the module, on a lab that is up
    Sign {
        /// The module, the key and the service, JSON
        plan: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("machinebench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String> {
    Ok(match command {
        Command::Boot { plan } => serde_json::to_string_pretty(&machinebench::boot(&read(&plan)?)?)?,
        Command::Fill { plan } => serde_json::to_string_pretty(&machinebench::fill(&read(&plan)?)?)?,
        Command::Sign { plan } => serde_json::to_string_pretty(&machinebench::sign(&read(&plan)?)?)?,
    })
}

fn read<T: DeserializeOwned>(plan: &Path) -> Result<T> {
    let text = std::fs::read_to_string(plan).with_context(|| format!("cannot read {}", plan.display()))?;
    serde_json::from_str(&text).with_context(|| plan.display().to_string())
}
