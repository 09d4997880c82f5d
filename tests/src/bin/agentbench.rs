//! Measures the parent's agent, by plans in JSON; `cargo xtask bench` writes them. See `agentbench/mod.rs`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::agentbench;
use serde::de::DeserializeOwned;

/// Measure the parent's agent and servers with many certificates, and print a report in JSON
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A process that has nothing to do
    Rest {
        /// The process, JSON
        plan: PathBuf,
    },
    /// Certificates for an agent that was just started, until all are served
    Fill {
        /// The agent and how many, JSON
        plan: PathBuf,
    },
    /// Certificates with keys in files
    Files {
        /// Where, and their names, JSON
        plan: PathBuf,
    },
    /// A command, again and again
    Run {
        /// Its words, JSON
        plan: PathBuf,
    },
    /// When certificates that came together are renewed
    Spread {
        /// How many, and how long they are valid, JSON
        plan: PathBuf,
    },
    /// Two servers' starts, in turns
    Starts {
        /// Both, JSON
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
            eprintln!("agentbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<String> {
    Ok(match command {
        Command::Rest { plan } => serde_json::to_string_pretty(&agentbench::rest(&read(&plan)?)?)?,
        Command::Fill { plan } => serde_json::to_string_pretty(&agentbench::fill(&read(&plan)?)?)?,
        Command::Files { plan } => serde_json::to_string_pretty(&agentbench::files(&read(&plan)?)?)?,
        Command::Run { plan } => serde_json::to_string_pretty(&agentbench::commands(&read(&plan)?)?)?,
        Command::Spread { plan } => serde_json::to_string_pretty(&agentbench::spread(&read(&plan)?)?)?,
        Command::Starts { plan } => serde_json::to_string_pretty(&agentbench::starts(&read(&plan)?)?)?,
    })
}

fn read<T: DeserializeOwned>(plan: &Path) -> Result<T> {
    let text = std::fs::read_to_string(plan).with_context(|| format!("cannot read {}", plan.display()))?;
    serde_json::from_str(&text).with_context(|| plan.display().to_string())
}
