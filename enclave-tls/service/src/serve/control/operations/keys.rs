//! Keys come, change and go.

use enclave_wire::control::{
    ControlError, Create, Import, InstallChain, KeyInfo, Listed, Narrow, Origin, Provision, Reply,
};
use enclave_wire::identity::CertificateRequest;
use enclave_wire::{DnsName, KeyId, KeyType, Name, Usage};

use super::{Administrator, listed};
use crate::chain::{self, ValidChain};
use crate::keystore::{Change, Key, KeyError, NewKey, SigningKey};

impl Administrator<'_> {
    pub(super) fn create(&self, create: Create) -> Result<KeyInfo, ControlError> {
        let policy = &self.force.policy;
        policy.allows(&create.name, create.usage)?;
        policy.allows_key(create.key_type)?;
        if create.usage == Usage::AcmeAccount {
            of_account(create.key_type, create.dns_names.items(), create.clients.items())?;
        }
        let clients = once(create.clients)?;
        self.admits(&create.name, &clients, create.sealed.as_ref())?;
        let signing = SigningKey::generate(create.key_type).map_err(|error| failed("make a key", error))?;
        self.insert(NewKey {
            signing,
            name: create.name,
            usage: create.usage,
            origin: Origin::Born,
            dns_names: create.dns_names,
            clients,
            chain: None,
            sealed: create.sealed,
        })
    }

    pub(super) fn import(&self, import: Import) -> Result<KeyInfo, ControlError> {
        let policy = &self.force.policy;
        policy.allows_imports()?;
        policy.allows(&import.name, import.usage)?;
        of_certificate(import.usage)?;
        let clients = once(import.clients)?;
        self.admits(&import.name, &clients, import.sealed.as_ref())?;
        let signing = SigningKey::from_pkcs8(import.pkcs8.as_bytes()).map_err(|error| failed("import a key", error))?;
        // Wiped as soon as it is read.
        drop(import.pkcs8);
        policy.allows_key(signing.key_type())?;
        self.insert(NewKey {
            signing,
            name: import.name,
            usage: import.usage,
            origin: Origin::Imported,
            dns_names: import.dns_names,
            clients,
            chain: None,
            sealed: import.sealed,
        })
    }

    pub(super) fn provision(&self, mut provision: Provision) -> Result<KeyInfo, ControlError> {
        of_certificate(provision.usage)?;
        provision.clients = once(provision.clients)?;
        let change = self.provisioner.bundle(provision)?;
        let what = match &change {
            Change::InstallChain { .. } => "chain renewed from a bundle",
            Change::Insert(_)
            | Change::Supersede(_)
            | Change::Reinstate(_)
            | Change::Narrow { .. }
            | Change::Retire(_) => "installed from a bundle",
        };
        self.change(what, change)
    }

    pub(super) fn request(&self, id: &KeyId) -> Result<CertificateRequest, ControlError> {
        let key = self.state.keys.get(id)?;
        of_certificate(key.usage())?;
        let request = key.signing().certificate_request(key.dns_names());
        request.map_err(|error| failed("make a certificate request", error))
    }

    pub(super) fn install_chain(&self, install: &InstallChain) -> Result<KeyInfo, ControlError> {
        let (key, chain) = (install.key, self.valid(install)?);
        self.change("chain installed", Change::InstallChain { key, chain })
    }

    /// The same, unless it is the chain that is there.
    pub(super) fn install_new_chain(&self, install: &InstallChain) -> Result<KeyInfo, ControlError> {
        self.state.platform.machine.has_room()?;
        let known = self.state.keys.get(&install.key)?;
        let (key, chain) = (install.key, self.valid(install)?);
        if chain.served == *known.chain() {
            return Ok(known.info());
        }
        self.change("chain installed", Change::InstallChain { key, chain })
    }

    fn valid(&self, install: &InstallChain) -> Result<ValidChain, ControlError> {
        let key = self.state.keys.get(&install.key)?;
        of_certificate(key.usage())?;
        let now = self.state.platform.clock.now_unix();
        let spki = key.signing().spki();
        chain::validate(&install.chain, spki, key.usage(), key.dns_names(), now)
    }

    pub(super) fn supersede(&self, id: KeyId) -> Result<KeyInfo, ControlError> {
        self.change("superseded", Change::Supersede(id))
    }

    pub(super) fn reinstate(&self, id: KeyId) -> Result<KeyInfo, ControlError> {
        self.change("reinstated", Change::Reinstate(id))
    }

    pub(super) fn retire(&self, id: KeyId) -> Result<Reply, ControlError> {
        self.change("retired", Change::Retire(id))?;
        Ok(Reply::Retired)
    }

    pub(super) fn narrow(&self, narrow: Narrow) -> Result<KeyInfo, ControlError> {
        let Narrow { key, usage } = narrow;
        of_certificate(self.state.keys.get(&key)?.usage())?;
        if usage == Usage::AcmeAccount {
            return Err(ControlError::NotNarrower);
        }
        self.change("narrowed", Change::Narrow { key, usage })
    }

    /// What is asked before a key is made: another attempt would make another.
    fn admits(&self, name: &Name, clients: &Listed<Name, 64>, sealed: Option<&Name>) -> Result<(), ControlError> {
        self.state.keys.admits(name, clients.items(), sealed)?;
        self.provisioner.can_seal(sealed)
    }

    fn insert(&self, new: NewKey) -> Result<KeyInfo, ControlError> {
        self.change("installed", Change::Insert(Box::new(new)))
    }

    /// Makes a change, logs it, and says what the key is now.
    fn change(&self, what: &'static str, change: Change) -> Result<KeyInfo, ControlError> {
        let planned = self.state.keys.plan(change)?;
        let key = self.provisioner.commit(planned)?;
        Ok(changed(what, &key))
    }
}

/// What an account's key may be. It signs what the enclave itself sends to a CA, so nobody else may use it, and no certificate names it;
/// every CA takes ES256.
fn of_account(key_type: KeyType, dns_names: &[DnsName], clients: &[Name]) -> Result<(), ControlError> {
    if key_type != KeyType::P256 {
        return Err(ControlError::KeyTypeRefused);
    }
    if dns_names.is_empty() && clients.is_empty() {
        Ok(())
    } else {
        Err(ControlError::AccountKey)
    }
}

/// An account's key is born here, and has no certificate. One that came from outside could be used outside.
fn of_certificate(usage: Usage) -> Result<(), ControlError> {
    if usage == Usage::AcmeAccount {
        return Err(ControlError::AccountKey);
    }
    Ok(())
}

fn changed(what: &'static str, key: &Key) -> KeyInfo {
    let entry = key.entry();
    tracing::info!(
        key = %entry.id, name = %entry.name, generation = entry.generation, r#type = %entry.key_type, usage = %entry.usage, "{what}"
    );
    key.info()
}

/// Says why in the log; the agent gets the rule's code.
fn failed(what: &'static str, error: KeyError) -> ControlError {
    tracing::warn!(%error, "cannot {what}");
    error.into()
}

/// Each client once, in the order in which they were named.
fn once(clients: Listed<Name, 64>) -> Result<Listed<Name, 64>, ControlError> {
    let mut unique: Vec<Name> = Vec::new();
    for client in clients.into_items() {
        if !unique.contains(&client) {
            unique.push(client);
        }
    }
    listed(unique)
}
