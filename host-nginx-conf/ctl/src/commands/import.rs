//! `import` and `install`: what comes from a file.

use std::path::Path;

use enclave_wire::control::{Import, InstallChain, KeyInfo, Reply, Request};
use enclave_wire::{Chain, State};

use super::{CommandError, Session, file_error, warn_unrecorded};
use crate::show::KeyJson;
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::{files, pem};

use crate::args;

pub(super) fn install(session: &Session, options: &args::Install) -> Result<(), CommandError> {
    let chain = read_chain(&options.chain)?;
    let key = session.find(&options.key)?;
    if is_set_aside(&key) {
        return Err(CommandError::SetAside(key.name.to_string()));
    }
    let key = install_chain(session, &key, chain)?;
    session.show_key(&key, "has its chain")
}

pub(super) fn import(session: &Session, options: args::Import) -> Result<(), CommandError> {
    // All files first: nothing is half done because one of them is wrong.
    let chain = options.chain.as_deref().map(read_chain).transpose()?;
    let file = files::read(&options.key, MAX_KEY_FILE).map_err(file_error(&options.key))?;
    let pkcs8 = pem::private_key(&file).map_err(|error| CommandError::Pem(options.key.clone(), error))?;
    drop(file);
    let request = Request::Import(Import {
        name: options.name,
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
        pkcs8,
    });
    let (Reply::Imported(mut key), record) = session.client.forward(request, options.keep)? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    if let Some(chain) = chain {
        let id = key.id.to_string();
        let installed = install_chain(session, &key, chain);
        key = installed.map_err(|why| CommandError::ChainOfImported { id, why: Box::new(why) })?;
    }
    let json = KeyJson {
        kept: Some(options.keep),
        ..KeyJson::from(&key)
    };
    session.show(|| format!("{}\n", key.id), &json)
}

/// Superseded before it had a certificate: whatever comes for it is served nowhere.
fn is_set_aside(key: &KeyInfo) -> bool {
    key.state == State::Superseded && key.validity.is_none()
}

fn install_chain(session: &Session, key: &KeyInfo, chain: Chain) -> Result<KeyInfo, CommandError> {
    let request = Request::InstallChain(InstallChain { key: key.id, chain });
    let (Reply::ChainInstalled(key), record) = session.client.ask(request)? else {
        return Err(ClientError::Unexpected.into());
    };
    warn_unrecorded(&record);
    Ok(key)
}

fn read_chain(path: &Path) -> Result<Chain, CommandError> {
    let file = files::read(path, MAX_CHAIN_FILE).map_err(file_error(path))?;
    pem::chain(&file).map_err(|error| CommandError::Pem(path.to_owned(), error))
}

/// RSA-8192 in PEM has 6.4 KB; text around it may be longer.
const MAX_KEY_FILE: usize = 65_536;
/// 48 KiB of certificates in PEM, and the text that `openssl x509 -text` writes beside them.
const MAX_CHAIN_FILE: usize = 262_144;
