//! `acme eab`: a MAC key becomes a KMS ciphertext, and nothing else of it is written anywhere.
//!
//! Whoever has the MAC key can make an account of their own, and with it certificates. So the enclave opens it by attestation, the
//! encryption context says for which directory and which kid, and the parent instance never sees it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use clap::Args;
use enclave_policy::aws::KeyArn;
use enclave_tls_admin::eab::{BindingFile, encryption_context};
use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::printable;
use enclave_tls_config::Directory;
use enclave_wire::control::Binding;
use enclave_wire::log::Text;
use serde::Serialize;
use zeroize::Zeroizing;

use super::AcmeError;
use crate::aws;

#[derive(Args)]
pub(crate) struct Options {
    /// The key's identifier, as the CA gave it
    #[arg(long)]
    kid: String,
    /// The URL of the CA's directory, as it stands in the agent's configuration
    #[arg(long, value_name = "URL")]
    directory: String,
    /// The KMS key to encrypt under, which the enclave's policy has for bundles
    #[arg(long, value_name = "ARN")]
    kms_key: KeyArn,
    /// The MAC key in base64url, as the CA gave it; - is standard input
    #[arg(long, value_name = "FILE")]
    mac_key_file: PathBuf,
    /// Where to write it (mode 0644: nothing in it is secret)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long)]
    force: bool,
}

/// A MAC key: no `Debug`, no `Clone`, wiped.
pub(crate) struct MacKey(Zeroizing<Vec<u8>>);

impl MacKey {
    /// Reads base64url. Padding and a line's end are taken: CAs show it so.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, AcmeError> {
        let text = text.trim_ascii();
        let end = text
            .iter()
            .rposition(|byte| *byte != b'=')
            .map_or(0, |last| last.saturating_add(1));
        let (digits, padding) = text.split_at(end);
        let mut bytes = Zeroizing::new(vec![0; digits.len()]);
        let length = Base64UrlUnpadded::decode(digits, &mut bytes).map(<[u8]>::len);
        let length = length.map_err(|_| AcmeError::MacKey)?;
        if padding.len() > 2 || !(MIN_KEY..=MAX_KEY).contains(&length) {
            return Err(AcmeError::MacKey);
        }
        bytes.truncate(length);
        Ok(Self(bytes))
    }
}

/// A file that may be written: known before anything is asked of AWS.
pub(crate) struct Place<'a> {
    path: &'a Path,
    force: bool,
}

impl<'a> Place<'a> {
    pub(crate) fn new(path: &'a Path, force: bool) -> Result<Self, AcmeError> {
        if !files::is_replaceable(path).map_err(file_error(path))? {
            return Err(AcmeError::NotAFile(path.to_owned()));
        }
        if !force && path.exists() {
            return Err(AcmeError::Exists(path.to_owned()));
        }
        Ok(Self { path, force })
    }
}

/// For whom a key is encrypted.
pub(crate) struct Target<'a> {
    kid: Text<256>,
    directory: Directory,
    kms_key: &'a KeyArn,
}

impl<'a> Target<'a> {
    pub(crate) fn new(kid: &str, directory: &str, kms_key: &'a KeyArn) -> Result<Self, AcmeError> {
        Ok(Self {
            kid: printable::exact(kid).ok_or(AcmeError::Kid)?,
            directory: directory
                .parse()
                .map_err(|why| AcmeError::Directory(directory.to_owned(), why))?,
            kms_key,
        })
    }

    /// Has KMS encrypt the key, and writes the file.
    pub(crate) fn write(&self, mac_key: &MacKey, place: Place<'_>, json: bool) -> Result<(), AcmeError> {
        let context = encryption_context(self.directory.url().as_str(), self.kid.as_str());
        let (arn, region) = (self.kms_key.to_string(), self.kms_key.region().as_str());
        let ciphertext = aws::encrypt(&arn, region, &context, &mac_key.0).map_err(AcmeError::Aws)?;
        let file = BindingFile {
            directory: self.directory.url().clone(),
            binding: Binding {
                kid: self.kid.clone(),
                kms_key: Text::lossy(&arn),
                ciphertext: ciphertext.try_into().map_err(|_| AcmeError::Ciphertext)?,
            },
        };
        let pending = Pending::write(place.path, 0o644, file.text().as_bytes()).map_err(file_error(place.path))?;
        let placed = if place.force {
            pending.replace()
        } else {
            pending.create()
        };
        placed.map_err(file_error(place.path))?;
        self.say(&arn, place.path, json).map_err(AcmeError::Terminal)
    }

    fn say(&self, arn: &str, path: &Path, json: bool) -> io::Result<()> {
        #[derive(Serialize)]
        struct Written<'a> {
            kid: &'a str,
            directory: &'a str,
            kms_key: &'a str,
            file: &'a Path,
        }
        let (kid, directory) = (self.kid.as_str(), self.directory.url().as_str());
        let written = Written {
            kid,
            directory,
            kms_key: arn,
            file: path,
        };
        super::say(json, &written, || {
            format!(
                "{} holds the key of {kid} for {directory} under {arn}; name it as `eab` of the account in the agent's \
                 configuration\n",
                path.display()
            )
        })
    }
}

pub(super) fn run(options: &Options, json: bool) -> Result<(), AcmeError> {
    let place = Place::new(&options.out, options.force)?;
    let target = Target::new(&options.kid, &options.directory, &options.kms_key)?;
    let mac_key = MacKey::parse(&read(&options.mac_key_file)?)?;
    target.write(&mac_key, place, json)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, AcmeError> {
    if path.as_os_str() != "-" {
        return files::read(path, MAX_FILE).map_err(file_error(path));
    }
    // As large as it can become at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE));
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    io::stdin()
        .take(most)
        .read_to_end(&mut text)
        .map_err(AcmeError::Terminal)?;
    Ok(text)
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> AcmeError {
    move |error| AcmeError::File(path.to_owned(), error)
}

/// A shorter one can be guessed.
const MIN_KEY: usize = 16;
/// CAs give 32 to 64 bytes.
const MAX_KEY: usize = 1_024;
/// The longest in base64url, and what stands around it.
const MAX_FILE: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_base64url_of_a_length_that_is_worth_something() {
        let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
        assert_eq!(MacKey::parse(key.as_bytes()).ok().map(|key| key.0.len()), Some(48));
        for good in [
            "AAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "__-_AAAAAAAAAAAAAAAAAA\n",
        ] {
            assert_eq!(
                MacKey::parse(good.as_bytes()).ok().map(|key| key.0.len()),
                Some(16),
                "{good}"
            );
        }
        let long = "A".repeat(1_368);
        for bad in [
            "",
            "====",
            "AAAA",
            "AAAAAAAAAAAAAAAAAAAAA/",
            "AAAAAAAAAAAAAAAAAAAAAA===",
            "AA AAAAAAAAAAAAAAAAAAAAA",
            &long,
        ] {
            assert!(matches!(MacKey::parse(bad.as_bytes()), Err(AcmeError::MacKey)), "{bad}");
        }
    }
}
