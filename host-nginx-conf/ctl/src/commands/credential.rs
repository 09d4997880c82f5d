//! `credential`: the secret by which a client proves itself, made here and shown to nobody but its file.

use std::path::{Path, PathBuf};

use enclave_wire::control::{InstallCredential, Reply, Request};
use enclave_wire::credential::{CredentialId, Secret, Verifier};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{CommandError, Session, file_error, warn_unrecorded};
use crate::args;
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::hex;
use enclave_tls_admin::protocol::Record;

pub(super) fn credential(session: &Session, options: args::Credential) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct CredentialJson {
        client: String,
        credential_id: String,
        file: PathBuf,
        /// Whether it comes back after a restart of the service.
        kept: bool,
    }
    let secret = draw()?;
    let (id, verifier) = derive(&secret)?;
    // The file is complete before the service learns of it, and takes its name after: the old credential, which
    // the service still takes, is replaced by one that works.
    let pending = write(&secret, &options)?;
    drop(secret);
    let install = InstallCredential {
        client: options.name.clone(),
        id,
        verifier,
    };
    let (Reply::CredentialInstalled, record) = session.client.ask(Request::InstallCredential(install))? else {
        return Err(ClientError::Unexpected.into());
    };
    let placed = if options.force {
        pending.replace()
    } else {
        pending.create()
    };
    placed.map_err(|error| CommandError::CredentialOut(options.out.clone(), error))?;
    warn_unrecorded(&record);
    let json = CredentialJson {
        client: options.name.to_string(),
        credential_id: hex::encode(&id.0),
        file: options.out,
        kept: record == Record::Done,
    };
    session.show(
        || format!("client {} proves itself by {}\n", json.client, json.file.display()),
        &json,
    )
}

fn draw() -> Result<Secret, CommandError> {
    let mut random = Zeroizing::new([0; 32]);
    getrandom::fill(random.as_mut_slice()).map_err(CommandError::Random)?;
    Ok(Secret::from_random(*random))
}

fn derive(secret: &Secret) -> Result<(CredentialId, Verifier), CommandError> {
    let id: [u8; 32] = Sha256::digest(&*Zeroizing::new(secret.id_input())).into();
    let verifier = Verifier(Sha256::digest(&*Zeroizing::new(secret.verifier_input())).into());
    let id = id.first_chunk().copied().ok_or(ClientError::Unexpected)?;
    Ok((CredentialId(id), verifier))
}

fn write(secret: &Secret, options: &args::Credential) -> Result<Pending, CommandError> {
    let path = options.out.as_path();
    let group = options
        .group
        .as_deref()
        .map(files::group_id)
        .transpose()
        .map_err(CommandError::Group)?;
    refuse_to_overwrite(path, options.force)?;
    let contents = Zeroizing::new(secret.to_file());
    let pending = Pending::write(path, 0o640, &contents).map_err(file_error(path))?;
    if let Some(group) = group {
        pending.give_to_group(group).map_err(file_error(path))?;
    }
    Ok(pending)
}

fn refuse_to_overwrite(path: &Path, force: bool) -> Result<(), CommandError> {
    if !files::is_replaceable(path).map_err(file_error(path))? {
        return Err(CommandError::NotAFile(path.to_owned()));
    }
    if !force && path.exists() {
        return Err(CommandError::Exists(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_and_verifier_are_those_that_the_protocol_defines() {
        // printf 'enclave-tls credential id v1\0' | cat - <(head -c32 /dev/zero) | sha256sum, and likewise the verifier.
        let (id, verifier) = derive(&Secret::from_random([0; 32])).ok().unwrap();
        assert_eq!(hex::encode(&id.0), ID_OF_ZEROS);
        assert_eq!(hex::encode(&verifier.0), VERIFIER_OF_ZEROS);
    }

    const ID_OF_ZEROS: &str = "f34bf1f3b213cba92cf82e21f6577090";
    const VERIFIER_OF_ZEROS: &str = "e5df08e74743c9da955a4ccdbc91605a6b753a487adea9a1d10b3b2a43923f6f";
}
