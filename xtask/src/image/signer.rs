//! Who signs an image. A signature adds PCR8, which measures the signer's certificate, and nothing else: KMS can then release to whatever
//! this signer signed. Nitro refuses to start an image whose signature is wrong.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// A certificate and its key, which belong together.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    certificate: PathBuf,
    key: PathBuf,
}

impl Signer {
    /// AWS's builder signs with any key and any certificate, and the image fails where it shall start: so they are compared here.
    pub(crate) fn new(certificate: &Path, key: &Path) -> Result<Self> {
        let of_certificate = openssl("x509 -noout -pubkey", certificate)?;
        let of_key = openssl("pkey -pubout -passin pass:", key)?;
        ensure!(
            of_certificate == of_key,
            "{} is not the key of {}",
            key.display(),
            certificate.display()
        );
        let kind = openssl("x509 -noout -text", certificate)?;
        ensure!(
            kind.contains(CURVE),
            "{} is of no P-384 key, with which images are signed",
            certificate.display()
        );
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
    }

    pub(super) fn certificate(&self) -> &Path {
        &self.certificate
    }

    pub(super) fn key(&self) -> &Path {
        &self.key
    }
}

fn openssl(words: &str, file: &Path) -> Result<String> {
    process::capture(Command::new("openssl").args(words.split(' ')).arg("-in").arg(file))
        .with_context(|| format!("{} cannot be read", file.display()))
}

/// As openssl names it.
const CURVE: &str = "NIST CURVE: P-384";
