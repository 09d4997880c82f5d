//! `acme`: what an administrator prepares for accounts at certificate authorities, on any machine: the file of an external account
//! binding, and the CAA records that pin names to accounts.

mod agents;
mod caa;
mod check;
pub(crate) mod eab;
mod found;
mod issuer;
mod lookup;
mod record;
mod standing;

use std::io;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::aws::AwsError;
use crate::commands::{CommandError, Outcome, Session};
use crate::show;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the key of an external account binding for the agent, encrypted under a KMS key
    Eab(eab::Options),
    /// Print the CAA records that let only your accounts get certificates for your names, or look whether they stand in DNS
    Caa(caa::Options),
}

/// Why there is no file, or are no records.
#[derive(Debug)]
pub(crate) enum AcmeError {
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// The file is there already.
    Exists(PathBuf),
    /// A device, a directory or a symbolic link.
    NotAFile(PathBuf),
    /// What was given is no MAC key.
    MacKey,
    /// A kid that no enclave takes.
    Kid,
    /// A directory that no configuration takes: it, and why.
    Directory(String, String),
    /// KMS gave more than an enclave takes.
    Ciphertext,
    /// AWS did not do it.
    Aws(AwsError),
    /// Nobody knows which CA's domain an account's URL belongs to.
    Issuer(String),
    /// The agent has no certificate that an account orders.
    NothingOrdered,
    /// A certificate that no account orders.
    NotOrdered(String),
    /// A certificate whose account is not registered yet, or whose key is not made.
    NotRegistered(String),
    /// The account of recovery is the one that may be lost.
    SameAccount(String),
    /// A wildcard that no allowed method proves.
    Wildcard(String),
    /// Standard output or input.
    Terminal(io::Error),
}

impl std::fmt::Display for AcmeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Exists(path) => write!(f, "{} exists; nothing was changed: --force replaces it", path.display()),
            Self::NotAFile(path) => write!(f, "{} is no regular file; name another", path.display()),
            Self::MacKey => f.write_str(
                "the MAC key is not base64url of 16 to 1,024 bytes; give it as the CA shows it, alone in its file",
            ),
            Self::Kid => f.write_str("a kid is 1 to 256 printable ASCII characters; give it as the CA shows it"),
            Self::Directory(url, why) => write!(f, "{}: {why}", show::plain(url)),
            Self::Ciphertext => {
                f.write_str("KMS gave a ciphertext of a length that no enclave takes; is an AWS endpoint set?")
            }
            Self::Aws(error) => error.fmt(f),
            Self::Issuer(host) => write!(
                f,
                "which domain the CA at {host} has in CAA records is not known here; its documentation says it, and so does \
                 caaIdentities in its directory: give it with --issuer"
            ),
            Self::NothingOrdered => f.write_str(
                "the agent orders no certificate: its configuration has none with source = \"acme\". Name names and --account-url instead",
            ),
            Self::NotOrdered(name) => write!(
                f,
                "{} is not ordered by an account of the enclave, so there is none to look for: `enclave-tlsctl certificates` says where it is from",
                show::plain(name)
            ),
            Self::NotRegistered(name) => write!(
                f,
                "{} has no account yet, or no key, so there are no records for it; `enclave-tlsctl certificates NAME` says what it waits for",
                show::plain(name)
            ),
            Self::SameAccount(url) => write!(
                f,
                "{} is the enclave's own account, so it is no recovery from its loss: give as --recovery-account-url one whose key is kept elsewhere",
                show::plain(url)
            ),
            Self::Wildcard(name) => write!(f, "{name} is proven by dns-01 only; add --method dns-01"),
            Self::Terminal(error) => write!(f, "terminal or standard output: {error}"),
        }
    }
}

pub(crate) fn run(session: &Session, options: &Options) -> Result<Outcome, CommandError> {
    match &options.command {
        Command::Eab(options) => eab::run(options, session.json).map_err(CommandError::Acme)?,
        Command::Caa(options) => return caa::run(session, options),
    }
    Ok(Outcome::Done)
}

/// Says it in the form that was asked for.
pub(crate) fn say(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> io::Result<()> {
    if json {
        show::json(value)
    } else {
        show::text_out(&text())
    }
}
