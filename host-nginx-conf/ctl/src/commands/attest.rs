//! `attest`: the proof that `verify` reads, as two files.

use std::path::{Path, PathBuf};

use enclave_wire::control::{Attest, Opaque, Reply, Request};
use serde::Serialize;

use super::{CommandError, Session, file_error};
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::hex;

use crate::args;

pub(super) fn attest(session: &Session, options: args::Attest) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct AttestJson {
        nonce: String,
        document: PathBuf,
        statement: PathBuf,
    }
    for path in [&options.document, &options.statement] {
        if !files::is_replaceable(path).map_err(file_error(path))? {
            return Err(CommandError::NotAFile(path.clone()));
        }
    }
    let nonce = options.nonce.map_or_else(draw, Ok)?;
    let json = AttestJson {
        nonce: hex::encode(nonce.as_bytes()),
        document: options.document,
        statement: options.statement,
    };
    let keys = session.keys()?;
    let chosen = options.keys.iter().map(|key| key.choose(&keys).map(|key| key.id));
    let chosen = chosen.collect::<Result<Vec<_>, _>>()?;
    let request = Request::Attest(Attest {
        nonce,
        keys: chosen.try_into().map_err(|_| CommandError::TooManyKeys)?,
    });
    let (Reply::Attested(proof), _) = session.client.ask(request)? else {
        return Err(ClientError::Unexpected.into());
    };
    // Both are whole before either takes its name: a document fits its own statement alone.
    let document = write(&json.document, proof.document.as_bytes())?;
    let statement = write(&json.statement, proof.statement.as_bytes())?;
    document.replace().map_err(file_error(&json.document))?;
    statement.replace().map_err(file_error(&json.statement))?;
    session.show(|| format!("{}\n", json.nonce), &json)
}

fn draw() -> Result<Opaque<64>, CommandError> {
    let mut nonce = vec![0; NONCE];
    getrandom::fill(&mut nonce).map_err(CommandError::Random)?;
    Ok(nonce.try_into().map_err(|_| ClientError::Unexpected)?)
}

fn write(path: &Path, contents: &[u8]) -> Result<Pending, CommandError> {
    Pending::write(path, 0o644, contents).map_err(file_error(path))
}

/// More than anybody guesses or meets twice.
const NONCE: usize = 32;
