//! The commands: each asks the agent for something and shows the answer, as text or as one JSON document.

mod attest;
mod certificates;
mod credential;
mod egress;
mod import;
mod keys;
mod lines;
mod list;
mod logs;
mod next;
mod provision;
mod rotate;
mod rotation;
mod stats;
mod status;

use std::io;
use std::path::{Path, PathBuf};

use enclave_wire::control::{KeyInfo, Reply, Request};
use serde::Serialize;

use crate::acm::{self, AcmError};
use crate::acme::{self, AcmeError};
use crate::args::{Cli, Command};
use crate::check;
use crate::import_acm::{self, ImportAcmError};
use crate::kms_policy::{self, PolicyError};
use crate::seal::{self, SealError};
use crate::select::{SelectError, Selector};
use crate::show::{self, KeyJson};
use crate::support::{self, SupportError};
use crate::time;
use crate::verify::{self, VerifyError};
use enclave_tls_admin::client::{Client, ClientError};
use enclave_tls_admin::pem::PemError;
use enclave_tls_admin::protocol::Record;
pub(crate) use lines::{newest as newest_lines, text as line_text};
pub(crate) use status::report as status_report;

/// How a command ended that did what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// It is done, and what it says needs somebody.
    NeedsAttention,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The enclave or the agent did not do it.
    Client(ClientError),
    /// The agent did not do it, and says why.
    Agent(String),
    /// The inventory has no such certificate.
    NoCertificate(String),
    /// No key was meant, or several.
    Select(SelectError),
    /// A file could not be read or written.
    File(PathBuf, io::Error),
    /// A file is not what it should be.
    Pem(PathBuf, PemError),
    /// The file is there already.
    Exists(PathBuf),
    /// A device, a directory or a symbolic link.
    NotAFile(PathBuf),
    /// No such group.
    Group(io::Error),
    /// The system gives no random bytes.
    Random(getrandom::Error),
    /// A key that servers get no certificate of.
    SetAside(String),
    /// A key that has been imported, and whose chain has not been installed.
    ChainOfImported { id: String, why: Box<Self> },
    /// A credential that the service has and that could not be put in its place.
    CredentialOut(PathBuf, io::Error),
    /// More names or clients than a key takes.
    TooMany,
    /// More keys than a statement names.
    TooManyKeys,
    /// The answer to "are you sure?".
    NotConfirmed,
    /// Standard output or input.
    Terminal(io::Error),
    /// Core dumps could not be forbidden.
    CoreDumps(io::Error),
    /// Nothing is proven.
    Verify(VerifyError),
    /// There is no bundle.
    Seal(SealError),
    /// A policy, or the policy of a KMS key.
    Policy(PolicyError),
    /// There is no bundle for whoever helps.
    Support(SupportError),
    /// There is no configuration out of another program's.
    ImportAcm(ImportAcmError),
    /// ACM's side is not as asked.
    Acm(AcmError),
    /// There is no file of a binding, or are no records.
    Acme(AcmeError),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Agent(why) => f.write_str(&show::plain(why)),
            Self::NoCertificate(name) => write!(
                f,
                "the agent's configuration has no certificate {name}; `enclave-tlsctl certificates` shows those that it has. A new one: \
                 [[certificates]] in config.toml, then `systemctl reload enclave-tls-agent`"
            ),
            Self::Select(error) => error.fmt(f),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Pem(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Exists(path) => write!(f, "{} exists; nothing was changed: --force replaces it", path.display()),
            Self::NotAFile(path) => write!(f, "{} is no regular file; name another", path.display()),
            Self::Group(error) => write!(f, "{error}; give a group of /etc/group, or a number"),
            Self::Random(error) => write!(f, "the system gives no random bytes: {error}"),
            Self::ChainOfImported { id, why } => {
                write!(
                    f,
                    "the key is imported as {id}, but its chain is not installed: {why}\n(then use `install {id} CHAIN.pem`)"
                )
            }
            Self::CredentialOut(path, error) => write!(
                f,
                "{}: {error}; the service took the new credential, which nobody has: correct this and make another",
                path.display()
            ),
            Self::SetAside(name) => write!(
                f,
                "nothing is installed: this key was set aside before it had a certificate (`rotate --revoke` did so), and servers never get \
                 it; `enclave-tlsctl certificates {name}` says which key waits for one. What a CA issued for it is to be revoked there"
            ),
            Self::TooMany => f.write_str("a key has at most 100 DNS names and 64 clients; split it into several keys"),
            Self::TooManyKeys => {
                f.write_str("a statement is asked for at most 1,000 keys; name fewer, or none for all of them")
            }
            Self::NotConfirmed => f.write_str("nothing was changed"),
            Self::Terminal(error) => write!(f, "terminal or standard output: {error}"),
            Self::CoreDumps(error) => write!(f, "core dumps could not be forbidden: {error}"),
            Self::Verify(error) => error.fmt(f),
            Self::Seal(error) => error.fmt(f),
            Self::Policy(error) => error.fmt(f),
            Self::Support(error) => error.fmt(f),
            Self::ImportAcm(error) => error.fmt(f),
            Self::Acm(error) => error.fmt(f),
            Self::Acme(error) => error.fmt(f),
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<SelectError> for CommandError {
    fn from(error: SelectError) -> Self {
        Self::Select(error)
    }
}

/// Does what the command line says.
pub(crate) fn run(cli: Cli) -> Result<Outcome, CommandError> {
    let session = Session {
        client: Client::new(&cli.socket),
        json: cli.json,
    };
    match cli.command {
        Command::Status(options) => return status::status(&session, &options),
        Command::Certificates(options) => return certificates::certificates(&session, &options),
        Command::Logs(options) => return lines::logs(&session, &options),
        Command::RotateCredential(options) => return rotate::rotate(&session, &options),
        Command::Rotate(options) => return rotation::rotate(&session, &options),
        Command::Rollback(options) => return rotation::rollback(&session, &options),
        Command::History(options) => return rotation::history(&session, &options),
        Command::Revoke(options) => return rotation::revoke(&session, &options),
        Command::Check(options) => return check::run(&session, &options),
        Command::SupportBundle(options) => return support::run(&session, &options),
        Command::ImportAcm(options) => import_acm::run(&options).map_err(CommandError::ImportAcm),
        Command::Credential(options) => credential::credential(&session, options),
        Command::Create(options) => keys::create(&session, options),
        Command::Csr(options) => keys::csr(&session, &options),
        Command::Install(options) => import::install(&session, &options),
        Command::Import(options) => import::import(&session, options),
        Command::List => list::list(&session),
        Command::Supersede(options) => keys::supersede(&session, &options.key),
        Command::Retire(options) => keys::retire(&session, &options),
        Command::Narrow(options) => keys::narrow(&session, &options),
        Command::Provision(options) => provision::provision(&session, options),
        Command::Attest(options) => attest::attest(&session, options),
        Command::Verify(options) => verify::run(&options, cli.json).map_err(CommandError::Verify),
        Command::Seal(options) => seal::run(&options, cli.json).map_err(CommandError::Seal),
        Command::Policy(options) => kms_policy::run(&options, cli.json).map_err(CommandError::Policy),
        Command::Acm(options) => acm::run(&options, cli.json).map_err(CommandError::Acm),
        Command::Acme(options) => return acme::run(&session, &options),
        Command::Stats => stats::stats(&session),
    }?;
    Ok(Outcome::Done)
}

/// One run of one command.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) json: bool,
}

impl Session {
    /// The time by which keys sign or do not: the enclave's, and this machine's where the enclave is away.
    fn now(&self) -> i64 {
        match self.client.ask(Request::Status) {
            Ok((Reply::Status(status), _)) => status.now,
            Ok(_) | Err(_) => time::now(),
        }
    }

    /// Every key of the service, page by page.
    pub(crate) fn keys(&self) -> Result<Vec<KeyInfo>, CommandError> {
        let mut keys = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let (Reply::Keys(page), _) = self.client.ask(Request::List(from))? else {
                return Err(ClientError::Unexpected.into());
            };
            // A page that leads nowhere would lead there for ever.
            cursor = page.next.filter(|next| *next > from && !page.keys.items().is_empty());
            keys.extend(page.keys.into_items());
        }
        Ok(keys)
    }

    /// The one key that is meant.
    fn find(&self, selector: &Selector) -> Result<KeyInfo, CommandError> {
        Ok(selector.choose(&self.keys()?)?.clone())
    }

    /// Says the answer, in the form that was asked for.
    pub(crate) fn show(&self, text: impl FnOnce() -> String, json: &impl Serialize) -> Result<(), CommandError> {
        if self.json {
            show::json(json)
        } else {
            show::text_out(&text())
        }
        .map_err(CommandError::Terminal)
    }

    /// Says a key after a change to it.
    fn show_key(&self, key: &KeyInfo, done: &str) -> Result<(), CommandError> {
        self.show(
            || format!("{} generation {} {done}: {}\n", key.name, key.generation, key.id),
            &KeyJson::from(key),
        )
    }
}

/// Says on standard error what a restart of the service would undo against expectation.
fn warn_unrecorded(record: &Record) {
    match record {
        Record::Nothing | Record::Done => {}
        Record::Failed(why) => show::say_beside(&format!(
            "warning: done, but not recorded in the replay directory, so a restart of the service undoes it: {}",
            why.as_str()
        )),
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> CommandError {
    move |error| CommandError::File(path.to_owned(), error)
}
