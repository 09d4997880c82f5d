//! `state`: what is on disk, for an agent that has just started.

use enclave_tls_apply::{ClientState, MAX_OBJECTS, ServerState, State};
use enclave_tls_config::Config;
use enclave_wire::Name;
use enclave_wire::credential::{CredentialId, Secret};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clients::{CREDENTIAL, CREDENTIAL_LEN, OBJECTS};
use crate::deploy::Live;
use crate::deploy::reloaded::{Reloaded, list};
use crate::disk::{DiskError, Folder};
use crate::places::Plain;
use crate::servers::Master;

/// Looks.
pub(crate) fn state(
    place: &Plain,
    base: &Folder,
    records: &Folder,
    live: &Live,
    config: &Config,
) -> Result<State, DiskError> {
    let reloaded = Reloaded::load(records)?;
    let servers = config.servers.iter().map(|(name, server)| ServerState {
        server: name.clone(),
        reloaded_with: reloaded.get(name).map(list),
        older: reloaded.older(name),
        // One that cannot be told from another program is said when it is to be reloaded.
        pid: Master::find(server).ok().flatten().map(|master| master.pid()),
    });
    let clients = base.existing("clients")?;
    let clients = config.clients.keys().map(|name| client(clients.as_ref(), name));
    Ok(State {
        base: place.to_string(),
        live: list(&live.all()?),
        servers: servers.collect(),
        clients: clients.collect::<Result<_, _>>()?,
    })
}

fn client(clients: Option<&Folder>, name: &Name) -> Result<ClientState, DiskError> {
    let folder = match clients {
        Some(clients) => clients.existing(name.as_str())?,
        None => None,
    };
    let read = |file, max| folder.as_ref().and_then(|folder| folder.read(file, max).ok().flatten());
    Ok(ClientState {
        client: name.clone(),
        credential: read(CREDENTIAL, CREDENTIAL_LEN).and_then(|file| credential_id(&file)),
        objects: read(OBJECTS, MAX_OBJECTS).map(|objects| Sha256::digest(&*objects).into()),
    })
}

fn credential_id(file: &[u8]) -> Option<CredentialId> {
    let secret = Secret::parse(file).ok()?;
    let digest: [u8; 32] = Sha256::digest(&*Zeroizing::new(secret.id_input())).into();
    digest.first_chunk().copied().map(CredentialId)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use enclave_tls_apply::{Deployment, Generation};
    use enclave_wire::identity::Certificate;
    use enclave_wire::{Chain, KeyId, Usage};
    use x509_cert::der::{Decode, Encode};

    use super::*;

    /// A directory that goes with the test.
    pub(crate) struct Scratch {
        pub(crate) path: PathBuf,
    }

    impl Scratch {
        pub(crate) fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("enclave-tls-apply-{}-{number}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Self { path }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }

    /// A generation with a certificate of its key.
    pub(crate) fn deployment(name: &str, generation: u32, usage: Usage) -> Deployment {
        let der = include_bytes!("../tests/vectors/leaf.der");
        let certificate = x509_cert::Certificate::from_der(der).unwrap();
        let spki = certificate
            .tbs_certificate()
            .subject_public_key_info()
            .to_der()
            .unwrap();
        let id = KeyId(Sha256::digest(&spki).into());
        let chain = Chain::try_from(vec![Certificate::try_from(der.to_vec()).unwrap()]).unwrap();
        Deployment::new(name.parse().unwrap(), Generation { generation, id }, usage, chain).unwrap()
    }

    #[test]
    fn a_credential_is_named_by_its_id_as_everywhere() {
        // printf 'enclave-tls credential id v1\0' | cat - <(head -c32 /dev/zero) | sha256sum
        let id = credential_id(&Secret::from_random([0; 32]).to_file()).unwrap();
        assert_eq!(
            id.0.map(|byte| format!("{byte:02x}")).concat(),
            "f34bf1f3b213cba92cf82e21f6577090"
        );
        assert_eq!(credential_id(b"enclave-tls-credential-v1:"), None);
    }
}
