//! `tlsload`: full TLS handshakes at a rate, verified, with counts at the end.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use e2e::tlsload::{self, Report};
use signal_hook::consts::{SIGINT, SIGTERM};

/// Makes full TLS handshakes (never a resumption), verifies chain, name and key, and counts how they end. SIGTERM and
/// SIGINT end it early, with its counts.
///
/// Exit status: 0 if all went well, 1 if one failed or there was none, 2 for a wrong use.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: tlsload::Options,
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(report) if report.failed == 0 && report.ok > 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tlsload: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<Report, Box<dyn Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let report = tlsload::run(&arguments.options, &stop)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report)
}
