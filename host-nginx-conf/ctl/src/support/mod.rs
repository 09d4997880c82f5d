//! `support-bundle`: one file for whoever helps, with what they would ask for and no secret.
//!
//! What may be in it is decided in [`contents`] and nowhere else: a closed list of items, each made here from something that holds no
//! secret. Credentials, verifiers, private keys, sealed states and web servers' own configuration (which may hold passwords) are on no
//! item's way.

mod archive;
mod contents;

use std::io;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::commands::{CommandError, Outcome, Session};
use crate::time;
use enclave_tls_admin::files::Pending;

use contents::Piece;

#[derive(Args)]
#[command(after_help = HELP)]
pub(crate) struct Options {
    /// Where to write it [default: enclave-tls-support-TIME.tar.gz here]
    #[arg(long, value_name = "FILE.tar.gz")]
    pub(crate) out: Option<PathBuf>,
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = enclave_tls_config::DEFAULT_PATH)]
    pub(crate) config: PathBuf,
    /// Where enclave-tls-apply writes
    #[arg(long, value_name = "DIR", default_value = enclave_tls_config::DEFAULT_DIRECTORY, hide = true)]
    pub(crate) base: PathBuf,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum SupportError {
    /// It could not be packed.
    Pack(io::Error),
    /// It could not be written.
    Write(PathBuf, io::Error),
}

impl std::fmt::Display for SupportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pack(error) => write!(f, "the bundle could not be packed: {error}; is there memory left?"),
            Self::Write(path, error) if error.kind() == io::ErrorKind::AlreadyExists => {
                write!(
                    f,
                    "{} exists; nothing was written: name another with --out",
                    path.display()
                )
            }
            Self::Write(path, error) => write!(f, "{}: {error}; name another place with --out", path.display()),
        }
    }
}

pub(crate) fn run(session: &Session, options: &Options) -> Result<Outcome, CommandError> {
    #[derive(Serialize)]
    struct BundleJson<'a> {
        file: &'a PathBuf,
        bytes: usize,
        contents: Vec<ContentJson<'a>>,
    }
    #[derive(Serialize)]
    struct ContentJson<'a> {
        name: &'a str,
        bytes: usize,
    }
    let now = time::now();
    let pieces = contents::gather(session, options);
    let archive = archive::pack(&pieces, now).map_err(|error| CommandError::Support(SupportError::Pack(error)))?;
    let stamp = time::utc(now).replace([':', '-'], "");
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| format!("enclave-tls-support-{stamp}.tar.gz").into());
    // Of the one who asked, whatever the umask says: it names hosts, accounts and errors.
    let written = Pending::write(&out, 0o600, &archive).and_then(Pending::create);
    written.map_err(|error| CommandError::Support(SupportError::Write(out.clone(), error)))?;
    let json = BundleJson {
        file: &out,
        bytes: archive.len(),
        contents: pieces
            .iter()
            .map(|Piece { name, text }| ContentJson {
                name,
                bytes: text.len(),
            })
            .collect(),
    };
    let text = || {
        let line = |content: &ContentJson<'_>| format!("  {:>9}  {}\n", content.bytes, content.name);
        let lines: String = json.contents.iter().map(line).collect();
        format!("{} ({} bytes, mode 0600):\n{lines}{ABOUT}", out.display(), json.bytes)
    };
    session.show(text, &json)?;
    Ok(Outcome::Done)
}

const ABOUT: &str = "\
It names certificates, DNS names, AWS accounts, KMS keys, hosts and users. It has no private key, no credential, no verifier, no
sealed state, and nothing of web servers' own configuration. Read it before you give it away: tar -xzf FILE
";

const HELP: &str = "\
In it: the report of `status`, the certificates, the configuration file, the newest log lines, the module's and OpenSSL's configuration
of each client, the findings of `check`, versions. Never a private key, a credential, a verifier, a sealed state. Its files are listed
when it is written.";
