//! Keys with their chains, ready to be deployed: asked for once, and again when they may have changed.

use std::collections::{BTreeMap, BTreeSet};

use enclave_tls_admin::hex;
use enclave_tls_apply::{Deployment, Directory, Generation};
use enclave_wire::control::{KeyInfo, Reply, Request, Validity};
use enclave_wire::{KeyId, Usage};

use super::keys::Keys;
use super::world::{Enclave, EnclaveError};

/// By key. A thousand chains of 4 KB are 4 MB; without them each pass would ask for all.
#[derive(Default)]
pub(super) struct Chains {
    known: BTreeMap<KeyId, (Look, Result<Ready, String>)>,
}

/// What can be deployed, and where it will lie, which is a hash of the whole chain.
type Ready = (Deployment, Directory);

/// What a deployment is made of beside the chain, and what of the chain shows that it is another.
type Look = (u32, Usage, Option<Validity>);

impl Chains {
    /// Forgets those of keys that are gone, and those that may be others.
    pub(super) fn keep(&mut self, keys: &Keys, newer: &BTreeSet<KeyId>) {
        if self.known.is_empty() {
            return;
        }
        let looks: BTreeMap<_, _> = keys.all().map(|key| (key.id, look(key))).collect();
        self.known
            .retain(|id, (known, _)| looks.get(id) == Some(known) && !newer.contains(id));
    }

    /// A key that has a chain, ready to be deployed; or why it cannot be.
    pub(super) fn deployment<E: Enclave>(
        &mut self,
        enclave: &E,
        key: &KeyInfo,
    ) -> Result<Result<&Deployment, &str>, EnclaveError> {
        let wanted = look(key);
        // What cannot be deployed is asked for again: whoever asks waits between.
        if self.known(key).is_none() {
            let asked = match super::its_own(ask(enclave, key))? {
                Ok(outcome) => outcome,
                Err(why) => Err(why),
            };
            let ready = asked.map(|deployment| {
                let directory = deployment.directory();
                (deployment, directory)
            });
            self.known.insert(key.id, (wanted, ready));
        }
        let known = self
            .known
            .get(&key.id)
            .map(|(_, known)| known.as_ref().map(|(deployment, _)| deployment).map_err(String::as_str));
        Ok(known.unwrap_or(Err(GONE)))
    }

    /// The serial number of a key's certificate, in hexadecimal, where it was asked for.
    pub(super) fn serial(&self, key: &KeyInfo) -> Option<String> {
        let (_, outcome) = self.known.get(&key.id)?;
        let (deployment, _) = outcome.as_ref().ok()?;
        Some(hex::encode(&deployment.serial()))
    }

    /// Where what [`Self::deployment`] came to will lie, if the key has not become another since.
    pub(super) fn known(&self, key: &KeyInfo) -> Option<&Directory> {
        let (of, outcome) = self.known.get(&key.id)?;
        let (deployment, directory) = outcome.as_ref().ok()?;
        (*of == look(key) && *deployment.name() == key.name).then_some(directory)
    }
}

fn ask<E: Enclave>(enclave: &E, key: &KeyInfo) -> Result<Result<Deployment, String>, EnclaveError> {
    let chain = match enclave.ask(&Request::Chain(key.id))? {
        Reply::Chain(Some(chain)) => chain,
        Reply::Chain(None) => return Ok(Err(GONE.to_owned())),
        _ => return Err(EnclaveError::Unexpected),
    };
    let generation = Generation {
        generation: key.generation,
        id: key.id,
    };
    Ok(Deployment::new(key.name.clone(), generation, key.usage, chain).map_err(|error| error.to_string()))
}

fn look(key: &KeyInfo) -> Look {
    (key.generation, key.usage, key.validity)
}

const GONE: &str = "its certificate is gone from the enclave; install it again";
