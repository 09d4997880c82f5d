//! The stand-in for ACM as a program.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use emulator_acm::{Config, Emulator};

/// A strict stand-in for the ACME side of ACM, for tests. Ends by a signal; all state is in memory.
#[derive(Parser)]
struct Arguments {
    /// Region, account, principals, what stands behind: TOML
    #[arg(long)]
    config: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long)]
    listen: Option<String>,
    /// Write the addresses to this file, too
    #[arg(long)]
    announce: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut config = Config::read(&arguments.config)?;
    if let Some(listen) = &arguments.listen {
        config.listen.clone_from(listen);
    }
    let emulator = Emulator::start(&config)?;
    let line = serde_json::json!({
        "address": emulator.address().to_string(),
        "admin": emulator.admin_address().to_string(),
    });
    println!("{line}");
    if let Some(path) = &arguments.announce {
        announce(path, &format!("{line}\n")).with_context(|| path.display().to_string())?;
    }
    loop {
        std::thread::park();
    }
}

/// As one: whoever waits for the file must not read half of it.
fn announce(path: &Path, line: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, line)?;
    std::fs::rename(&unfinished, path)
}
