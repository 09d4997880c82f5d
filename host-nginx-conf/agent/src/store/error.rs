//! Why the replay directory, or one of its files, cannot be used.

use std::io;
use std::path::PathBuf;

use enclave_wire::{KeyId, Name};

use enclave_tls_admin::pem::PemError;

/// Why the directory cannot be used at all.
#[derive(Debug)]
pub enum OpenError {
    /// It is open to others, or theirs.
    NotPrivate(PathBuf),
    /// Another agent uses it.
    InUse(PathBuf),
    /// It cannot be made or read.
    Io(PathBuf, io::Error),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotPrivate(path) => write!(
                f,
                "{} must be a directory of mode 0700 that belongs to the user of the agent, for it holds private keys",
                path.display()
            ),
            Self::InUse(path) => write!(f, "another agent uses {}; stop it first", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// Why one file was not read or written.
#[derive(Debug)]
pub(crate) struct ItemError {
    /// The file, below the directory.
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
    pub(crate) problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) enum Problem {
    Io(io::Error),
    Toml(String),
    Pem(PemError),
    /// It should be named otherwise.
    Name(&'static str),
    /// A private key that others may read.
    Mode(u32),
    /// A private key without the file that says what it is.
    Alone,
    /// More than a credential and its successor.
    Count,
    /// More names or clients than a key has.
    Names,
    /// A bundle without the file that says what it is for.
    DocumentAlone,
    /// A bundle of more than 64 KiB.
    DocumentTooLong,
    /// A sealed state of more than 120,000 bytes.
    StateTooLong,
    /// The sealed state of another name.
    OtherName(Name),
    /// An object of S3 has a bucket, a key and a region.
    Object,
}

impl std::fmt::Display for ItemError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        match &self.problem {
            Problem::Io(error) => write!(f, " {error}"),
            Problem::Toml(message) => write!(f, " {message}"),
            Problem::Pem(error) => write!(f, " {error}"),
            Problem::Name(expected) => write!(f, " a file here is named {expected}"),
            Problem::Mode(mode) => write!(f, " its mode is {mode:04o}, so others may read it; set it to 0600"),
            Problem::Alone => {
                f.write_str(" a private key without its .toml; remove it, or import it again with --keep")
            }
            Problem::Count => f.write_str(" a client has one or two credentials"),
            Problem::Names => f.write_str(" a key has at most 100 DNS names and 64 clients"),
            Problem::DocumentAlone => f.write_str(" a bundle without its .toml; remove it, or provision it again"),
            Problem::DocumentTooLong => f.write_str(" a bundle has at most 64 KiB"),
            Problem::StateTooLong => f.write_str(" a sealed state has at most 120,000 bytes"),
            Problem::OtherName(name) => write!(f, " it is the sealed state of {name}; rename it to {name}.sealed"),
            Problem::Object => f.write_str(" an object of S3 has both: s3 = \"s3://BUCKET/KEY\" and region"),
        }
    }
}

impl ItemError {
    /// For a key whose names or clients do not fit a request.
    pub(crate) fn too_many_names(id: KeyId) -> Self {
        item(&format!("{}/{id}.toml", super::KEYS), Problem::Names)
    }
}

/// What is wrong with a file as a whole.
pub(crate) fn item(file: &str, problem: Problem) -> ItemError {
    ItemError {
        file: file.to_owned(),
        line: None,
        problem,
    }
}
