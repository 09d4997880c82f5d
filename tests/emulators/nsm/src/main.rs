//! `emulator-nsm DIR`: prints the SHA-256 of the root of the stand-in whose `nsm.toml` is in a directory, which is what a policy names to
//! trust it. The PKI is made where there is none yet.

use std::path::Path;
use std::process::ExitCode;

use emulator_nsm::{Options, Pki};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next(), arguments.next()) else {
        eprintln!("Usage: emulator-nsm DIR");
        return ExitCode::from(2);
    };
    match root(Path::new(&dir)) {
        Ok(root) => {
            println!("{root}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("emulator-nsm: {error}");
            ExitCode::FAILURE
        }
    }
}

fn root(dir: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let options = Options::from_file(dir)?;
    Ok(hex::encode(Pki::open(&options.dir)?.root_sha256()))
}
