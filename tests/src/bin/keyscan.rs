//! `keyscan`: are these private keys in the memory of these processes or in these files?

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use e2e::keyscan::{Key, Target, scan};

/// Looks for private keys in memory and files. With only a public key it finds an RSA factor or an EC scalar, in both
/// byte orders; with a private key also every component (d, p, q, dP, dQ, qInv, seed), PKCS#8, PKCS#1 or SEC1 DER, and
/// lines of their PEM. An Ed25519 key is found only with its private key.
///
/// Exit status: 0 if every target could be read, found or not; 1 if not; 2 for a wrong use.
#[derive(Parser)]
struct Options {
    /// Public keys or certificates, in PEM.
    #[arg(long, num_args = 1.., value_name = "FILE.pem")]
    public_key: Vec<PathBuf>,
    /// Private keys, in PEM.
    #[arg(long, num_args = 1.., value_name = "FILE.pem")]
    private_key: Vec<PathBuf>,
    /// Processes whose memory to look through.
    #[arg(long, num_args = 1.., value_name = "PID")]
    pid: Vec<u32>,
    /// Files to look through, and directories with all files under them.
    #[arg(long, num_args = 1.., value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// For tests: hold the content of a file in memory until standard input ends.
    #[arg(long, hide = true, exclusive = true, value_name = "FILE")]
    hold: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.hold {
        Some(path) => hold(path).map(|()| true),
        None => run(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("keyscan: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    let mut keys = Vec::new();
    for path in &options.public_key {
        keys.push(read_key(path, Key::public)?);
    }
    for path in &options.private_key {
        keys.push(read_key(path, Key::private)?);
    }
    let processes = options.pid.iter().map(|pid| Target::Process(*pid));
    let files = options.file.iter().map(|path| Target::Path(path.clone()));
    let targets: Vec<_> = processes.chain(files).collect();
    if keys.is_empty() || targets.is_empty() {
        return Err("at least one key and one target, please".into());
    }

    let report = scan(&keys, &targets);
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_complete())
}

/// A key is named by its file, without directory and extension.
fn read_key<E: Error>(path: &Path, parse: impl Fn(&str, &str) -> Result<Key, E>) -> Result<Key, String> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let pem = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&name, &pem).map_err(|error| format!("{}: {error}", path.display()))
}

fn hold(path: &Path) -> Result<(), Box<dyn Error>> {
    let content = std::hint::black_box(std::fs::read(path)?);
    println!("holding");
    std::io::stdout().flush()?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    drop(std::hint::black_box(content));
    Ok(())
}
