//! What an administrator may do. Each request is answered on a thread that may block: making an RSA key takes seconds.

use enclave_wire::control::{
    ControlError, Counters, Create, Import, InstallChain, InstallCredential, KeyInfo, KeyPage, Listed, Narrow, Origin,
    Reply, Request,
};
use enclave_wire::frame::limit;
use enclave_wire::identity::CertificateRequest;
use enclave_wire::{DecodeError, KeyId, Name};

use crate::chain;
use crate::keystore::{Key, KeyError, NewKey, SigningKey};
use crate::serve::State;
use enclave_policy::Policy;

/// Answers one request.
pub(super) fn answer(state: &State, request: Request) -> Reply {
    let name = request.name();
    let answered = state.policy.get().ok_or(ControlError::PolicyFirst);
    let answered = answered.and_then(|policy| Administrator { state, policy }.answer(request));
    answered.unwrap_or_else(|error| {
        tracing::warn!(request = name, ?error, "a control request was refused");
        Reply::Error(error)
    })
}

struct Administrator<'a> {
    state: &'a State,
    policy: &'a Policy,
}

impl Administrator<'_> {
    fn answer(&self, request: Request) -> Result<Reply, ControlError> {
        Ok(match request {
            // The conversation answers these itself.
            Request::Ping | Request::Status | Request::Policy(_) | Request::Ready => {
                return Err(ControlError::Malformed);
            }
            Request::InstallCredential(install) => self.install_credential(install)?,
            Request::Create(create) => Reply::Created(self.create(create)?),
            Request::Csr(id) => Reply::Csr(self.request(&id)?),
            Request::InstallChain(install) => Reply::ChainInstalled(self.install_chain(&install)?),
            Request::Import(import) => Reply::Imported(self.import(import)?),
            Request::List(cursor) => Reply::Keys(self.list(cursor)?),
            Request::Supersede(id) => Reply::Superseded(changed("superseded", &*self.state.keys.supersede(&id)?)),
            Request::Retire(id) => {
                self.state.keys.retire(&id)?;
                tracing::info!(key = %id, "retired");
                Reply::Retired
            }
            Request::Narrow(narrow) => Reply::Narrowed(self.narrow(narrow)?),
            Request::Statistics => Reply::Statistics(self.counters()?),
        })
    }

    fn install_credential(&self, install: InstallCredential) -> Result<Reply, ControlError> {
        let client = install.client.clone();
        self.state
            .keys
            .install_credential(install.client, install.id, install.verifier)?;
        tracing::info!(%client, "credential installed");
        Ok(Reply::CredentialInstalled)
    }

    fn create(&self, create: Create) -> Result<KeyInfo, ControlError> {
        self.policy.allows(&create.name, create.usage)?;
        self.policy.allows_key(create.key_type)?;
        let clients = once(create.clients)?;
        self.state.keys.admits(&create.name, clients.items())?;
        let signing = SigningKey::generate(create.key_type).map_err(|error| failed("make a key", error))?;
        self.insert(NewKey {
            signing,
            name: create.name,
            usage: create.usage,
            origin: Origin::Born,
            dns_names: create.dns_names,
            clients,
        })
    }

    fn import(&self, import: Import) -> Result<KeyInfo, ControlError> {
        self.policy.allows_imports()?;
        self.policy.allows(&import.name, import.usage)?;
        let clients = once(import.clients)?;
        self.state.keys.admits(&import.name, clients.items())?;
        let signing = SigningKey::from_pkcs8(import.pkcs8.as_bytes()).map_err(|error| failed("import a key", error))?;
        // Wiped as soon as it is read.
        drop(import.pkcs8);
        self.policy.allows_key(signing.key_type())?;
        self.insert(NewKey {
            signing,
            name: import.name,
            usage: import.usage,
            origin: Origin::Imported,
            dns_names: import.dns_names,
            clients,
        })
    }

    fn insert(&self, new: NewKey) -> Result<KeyInfo, ControlError> {
        Ok(changed("installed", &*self.state.keys.insert(new)?))
    }

    fn request(&self, id: &KeyId) -> Result<CertificateRequest, ControlError> {
        let key = self.state.keys.get(id)?;
        let request = key.signing().certificate_request(key.dns_names());
        request.map_err(|error| failed("make a certificate request", error))
    }

    fn install_chain(&self, install: &InstallChain) -> Result<KeyInfo, ControlError> {
        let key = self.state.keys.get(&install.key)?;
        let now = self.state.platform.clock.now_unix();
        let spki = key.signing().spki();
        let valid = chain::validate(&install.chain, spki, key.usage(), key.dns_names(), now)?;
        let key = self
            .state
            .keys
            .install_chain(&install.key, valid.served, valid.validity)?;
        Ok(changed("chain installed", &key))
    }

    fn list(&self, cursor: u32) -> Result<KeyPage, ControlError> {
        let page = self.state.keys.page(cursor, PAGE, PAGE_KEYS);
        Ok(KeyPage {
            total: u32::try_from(page.total).unwrap_or(u32::MAX),
            next: page.next,
            keys: listed(page.keys)?,
        })
    }

    fn narrow(&self, narrow: Narrow) -> Result<KeyInfo, ControlError> {
        let key = self.state.keys.narrow(&narrow.key, narrow.usage)?;
        Ok(changed("narrowed", &key))
    }

    fn counters(&self) -> Result<Counters, ControlError> {
        let statistics = &self.state.statistics;
        Ok(Counters {
            connections: statistics.connections.get(),
            accepted: statistics.accepted.get(),
            busy: statistics.busy.get(),
            authentication_failures: statistics.authentication_failures.get(),
            malformed: statistics.malformed.get(),
            deadlines: statistics.deadlines.get(),
            keys: listed(self.state.keys.counters(COUNTED))?,
        })
    }
}

/// Logs a change, and says what the key is now.
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

fn listed<T, const MAX: usize>(items: Vec<T>) -> Result<Listed<T, MAX>, ControlError> {
    Listed::try_from(items).map_err(|_: DecodeError| ControlError::Failed)
}

/// What the keys of one page may have: a frame's limit, less its header and what precedes the keys.
const PAGE: usize = limit::CONTROL - 64;
/// The most keys of one page, as `PROTOCOL.md` says.
const PAGE_KEYS: usize = 256;
/// The most counters of one reply, as `PROTOCOL.md` says.
const COUNTED: usize = 1_024;
