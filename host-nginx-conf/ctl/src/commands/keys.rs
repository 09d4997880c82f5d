//! `create`, `csr`, `supersede`, `retire`, `narrow`.

use std::io::{self, IsTerminal, Write};

use enclave_wire::control::{ControlError, Create, KeyInfo, Narrow, Reply, Request};
use enclave_wire::{KeyId, Usage};
use serde::Serialize;

use super::{CommandError, Session, file_error, warn_unrecorded};
use crate::args;
use crate::select::{Identified, SelectError, Selector};
use crate::show::{self, KeyJson, say_beside};
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::pem;
use enclave_tls_admin::protocol::Record;

pub(super) fn create(session: &Session, options: args::Create) -> Result<(), CommandError> {
    let request = Request::Create(Create {
        name: options.name,
        key_type: options.key_type,
        usage: options.attributes.usage,
        dns_names: options
            .attributes
            .dns_names
            .try_into()
            .map_err(|_| CommandError::TooMany)?,
        clients: options
            .attributes
            .clients
            .try_into()
            .map_err(|_| CommandError::TooMany)?,
        sealed: options.attributes.sealed,
    });
    let (Reply::Created(key), record) = session.client.ask(request)? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    if key.usage == Usage::Digest {
        say_beside("note: a digest key signs whatever its clients send, which is weaker than tls or tls-client");
    }
    session.show(|| format!("{}\n", key.id), &KeyJson::from(&key))
}

pub(super) fn csr(session: &Session, options: &args::Csr) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct CsrJson<'a> {
        id: String,
        csr: &'a str,
        file: Option<&'a std::path::Path>,
    }
    let key = session.find(&options.key)?;
    let (Reply::Csr(request), _) = session.client.ask(Request::Csr(key.id))? else {
        return Err(ClientError::Unexpected.into());
    };
    let text = pem::encode("CERTIFICATE REQUEST", request.as_bytes()).map_err(|_| ClientError::Unexpected)?;
    if let Some(path) = &options.out {
        if !files::is_replaceable(path).map_err(file_error(path))? {
            return Err(CommandError::NotAFile(path.clone()));
        }
        let written = Pending::write(path, 0o644, text.as_bytes()).and_then(Pending::replace);
        written.map_err(file_error(path))?;
    }
    let json = CsrJson {
        id: key.id.to_string(),
        csr: &text,
        file: options.out.as_deref(),
    };
    let shown = || {
        if options.out.is_some() {
            String::new()
        } else {
            text.to_string()
        }
    };
    session.show(shown, &json)
}

pub(super) fn supersede(session: &Session, selector: &Selector) -> Result<(), CommandError> {
    let key = session.find(selector)?;
    let (Reply::Superseded(key), record) = session.client.ask(Request::Supersede(key.id))? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    session.show_key(&key, "is superseded; it still signs")
}

pub(super) fn narrow(session: &Session, options: &args::Narrow) -> Result<(), CommandError> {
    let key = session.find(&options.key)?;
    let narrow = Narrow {
        key: key.id,
        usage: options.usage,
    };
    let (Reply::Narrowed(key), record) = session.client.ask(Request::Narrow(narrow))? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    session.show_key(&key, &format!("may now sign as {} only", show::usage(key.usage)))
}

pub(super) fn retire(session: &Session, options: &args::Retire) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct RetiredJson {
        id: String,
        retired: bool,
        /// Whether the service held it; otherwise only its record was removed.
        was_held: bool,
    }
    let target = Target::find(session, &options.key)?;
    if !options.yes && io::stdin().is_terminal() {
        confirm(&target)?;
    }
    let (reply, record) = session.client.ask_even_if_refused(Request::Retire(target.id), false)?;
    let was_held = match reply {
        Reply::Retired => true,
        Reply::Error(ControlError::NoSuchKey) if record == Record::Done => false,
        Reply::Error(error) => return Err(ClientError::Refused(error).into()),
        _ => return Err(ClientError::Unexpected.into()),
    };
    warn_unrecorded(&record);
    let text = || match was_held {
        true => format!("retired: {}\n", target.described),
        false => format!(
            "the service did not hold it; its record was removed: {}\n",
            target.described
        ),
    };
    session.show(
        text,
        &RetiredJson {
            id: target.id.to_string(),
            retired: true,
            was_held,
        },
    )
}

/// A key to retire: of the service, or one that only the replay directory still names.
struct Target {
    id: KeyId,
    described: String,
}

impl Target {
    fn find(session: &Session, selector: &Selector) -> Result<Self, CommandError> {
        match selector.choose::<KeyInfo>(&session.keys()?) {
            Ok(key) => Ok(Self::of(key)),
            Err(error @ SelectError::NotFound(_)) => {
                let entries = session.client.records()?.entries;
                selector.choose(&entries).map(Self::of).map_err(|_| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn of(key: &impl Identified) -> Self {
        Self {
            id: key.id(),
            described: key.describe(),
        }
    }
}

fn confirm(target: &Target) -> Result<(), CommandError> {
    let mut prompt = io::stderr();
    let asked = write!(
        prompt,
        "Retire {}?\nIt is wiped and never signs again. [y/N] ",
        target.described
    );
    asked.and_then(|()| prompt.flush()).map_err(CommandError::Terminal)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(CommandError::Terminal)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::NotConfirmed),
    }
}
