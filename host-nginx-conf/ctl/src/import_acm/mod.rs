//! `import-acm`: a configuration out of that of AWS's ACM for Nitro Enclaves, and what differs.
//!
//! Its keys cannot come along: ACM keeps the private keys of its certificates for that program's own image. So each of its certificates
//! becomes one whose key is born here, and what its file says that has no meaning here is named, with what to do about it.

mod convert;
mod incumbent;
mod write;
mod yaml;

use std::io;
use std::path::PathBuf;

use clap::Args;
use enclave_policy::aws::{KeyArn, Region};

use crate::show;
use enclave_tls_admin::files::{self, Pending};

use convert::Converted;
use incumbent::AcmError;

#[derive(Args)]
pub(crate) struct Options {
    /// Its configuration, usually /etc/nitro_enclaves/acm.yaml
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write the configuration here instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The KMS key that its S3 and file sources are encrypted under
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<KeyArn>,
    /// The region of its S3 sources
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<Region>,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum ImportAcmError {
    /// The file could not be read.
    Read(PathBuf, io::Error),
    /// It is not such a file.
    Form(PathBuf, AcmError),
    /// The configuration could not be written.
    Write(PathBuf, io::Error),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for ImportAcmError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "{}: {error}; name the other program's acm.yaml", path.display()),
            Self::Form(path, error) => write!(f, "{}:{error}", path.display()),
            Self::Write(path, error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(
                    f,
                    "{} exists; nothing was written: name another with --out",
                    path.display()
                )
            }
            Self::Write(path, error) => write!(f, "{}: {error}; name another with --out", path.display()),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), ImportAcmError> {
    let path = &options.file;
    let bytes = files::read_public(path, MAX_FILE).map_err(|error| ImportAcmError::Read(path.clone(), error))?;
    let text = String::from_utf8_lossy(&bytes);
    let acm = incumbent::read(&text).map_err(|error| ImportAcmError::Form(path.clone(), error))?;
    let converted = convert::convert(&acm, options.kms_key.as_ref(), options.region.as_ref());
    let file = write::text(&converted, path);
    match &options.out {
        None => show::text_out(&file).map_err(ImportAcmError::Output)?,
        Some(out) => {
            let written = Pending::write(out, 0o644, file.as_bytes()).and_then(Pending::create);
            written.map_err(|error| ImportAcmError::Write(out.clone(), error))?;
        }
    }
    show::say_beside(differences(&converted).trim_end());
    Ok(())
}

/// What differs, on standard error: the file alone is on standard output.
fn differences(converted: &Converted) -> String {
    let mut text = String::from("What differs, and what to do:\n");
    for difference in &converted.differences {
        text.push_str(&format!(
            "- {}\n  → {}\n",
            show::plain(&difference.what),
            show::plain(&difference.todo)
        ));
    }
    text
}

/// Such a file has a few hundred bytes for each certificate.
const MAX_FILE: usize = 1 << 20;
