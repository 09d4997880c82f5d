//! The KMS stand-in as a program.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use emulator_kms::{Config, Emulator, Tls};

/// A strict stand-in for AWS KMS, for tests. Ends by a signal; all state is in memory.
#[derive(Parser)]
struct Arguments {
    /// Region, account, principals, keys: TOML
    #[arg(long)]
    config: PathBuf,
    /// Address to listen on; port 0 takes a free one
    #[arg(long)]
    listen: Option<String>,
    /// The server's certificates, PEM; without them it speaks plain HTTP
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
    /// Write the addresses to this file, too
    #[arg(long)]
    announce: Option<PathBuf>,
    /// Believe attestation documents that nobody signed, as an emulated machine makes them
    #[arg(long)]
    allow_unsigned_documents: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let emulator = Emulator::start(&configuration(&arguments)?)?;
    let line = serde_json::json!({
        "address": emulator.address().to_string(),
        "tls": emulator.is_tls(),
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

fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut config = Config::read(&arguments.config)?;
    if let Some(listen) = &arguments.listen {
        config.listen.clone_from(listen);
    }
    config.allow_unsigned_documents |= arguments.allow_unsigned_documents;
    if let (Some(certificates), Some(key)) = (&arguments.cert, &arguments.key) {
        let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| path.display().to_string());
        config.tls = Some(Tls {
            certificates: read(certificates)?,
            key: read(key)?,
        });
    }
    Ok(config)
}

/// As one: whoever waits for the file must not read half of it.
fn announce(path: &PathBuf, line: &str) -> std::io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    std::fs::write(&unfinished, line)?;
    std::fs::rename(&unfinished, path)
}
