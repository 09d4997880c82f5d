//! What an administrator may do. Each request is answered on a thread that may block: making an RSA key takes seconds, KMS too.

mod keys;
mod shown;

use enclave_wire::DecodeError;
use enclave_wire::control::{
    ControlError, InstallChain, InstallCredential, KeyInfo, Listed, Reply, Request, RevokeCredential,
};

use super::agent::Agent;
use crate::provision::{Calls, Provisioner};
use crate::serve::State;
use crate::serve::force::Force;

/// Answers one request.
pub(super) fn answer(state: &State, agent: &Agent, request: Request) -> Reply {
    let name = request.name();
    let answered = state.in_force().ok_or(ControlError::PolicyFirst);
    let answered =
        answered.and_then(|force| Administrator::new(state, force, agent, force.aws.calls(agent)).answer(request));
    answered.unwrap_or_else(|error| {
        tracing::warn!(request = name, ?error, "a control request was refused");
        Reply::Error(error)
    })
}

/// Installs a chain that a job brings. One that is there already changes nothing: its job was interrupted before it could say so.
pub(super) fn install(state: &State, agent: &Agent, chain: &InstallChain) -> Result<KeyInfo, ControlError> {
    let force = state.in_force().ok_or(ControlError::PolicyFirst)?;
    let administrator = Administrator::new(state, force, agent, force.aws.calls(agent));
    administrator.install_new_chain(chain)
}

/// Does what waits for other KMS keys to answer, a part of it.
pub(super) fn catch_up(state: &State, agent: &Agent) {
    if let Some(force) = state.in_force() {
        let calls = force.aws.few_calls(agent);
        Administrator::new(state, force, agent, calls).provisioner.catch_up();
    }
}

struct Administrator<'a> {
    state: &'a State,
    force: &'a Force,
    provisioner: Provisioner<'a>,
}

impl<'a> Administrator<'a> {
    fn new(state: &'a State, force: &'a Force, agent: &'a Agent, aws: Calls<'a>) -> Self {
        let provisioner = Provisioner {
            policy: &force.policy,
            keys: &state.keys,
            aws,
            data_keys: &force.data_keys,
            agent,
            clock: &*state.platform.clock,
        };
        Self {
            state,
            force,
            provisioner,
        }
    }

    fn answer(&self, request: Request) -> Result<Reply, ControlError> {
        if takes_memory(&request) {
            self.state.platform.machine.has_room()?;
        }
        Ok(match request {
            // The conversation answers these itself.
            Request::Ping
            | Request::Status
            | Request::Policy(_)
            | Request::Ready
            | Request::InstallAws(_)
            | Request::Begin(_)
            | Request::Job(_) => {
                return Err(ControlError::Malformed);
            }
            Request::InstallCredential(install) => self.install_credential(install)?,
            Request::Credentials => Reply::Credentials(self.credentials()?),
            Request::RevokeCredential(revoke) => self.revoke_credential(&revoke)?,
            Request::Create(create) => Reply::Created(self.create(create)?),
            Request::Csr(id) => Reply::Csr(self.request(&id)?),
            Request::InstallChain(install) => Reply::ChainInstalled(self.install_chain(&install)?),
            Request::Import(import) => Reply::Imported(self.import(import)?),
            Request::Provision(provision) => Reply::Provisioned(self.provision(provision)?),
            Request::Restore(blob) => Reply::Restored(listed(self.provisioner.restore(blob.as_bytes())?)?),
            Request::List(cursor) => Reply::Keys(self.list(cursor)?),
            Request::Supersede(id) => Reply::Superseded(self.supersede(id)?),
            Request::Reinstate(id) => Reply::Reinstated(self.reinstate(id)?),
            Request::Retire(id) => self.retire(id)?,
            Request::Narrow(narrow) => Reply::Narrowed(self.narrow(narrow)?),
            Request::Chain(id) => Reply::Chain(self.chain(&id)?),
            Request::Statistics => Reply::Statistics(self.counters()?),
            Request::Attest(attest) => Reply::Attested(self.attest(&attest)?),
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

    fn revoke_credential(&self, revoke: &RevokeCredential) -> Result<Reply, ControlError> {
        self.state.keys.revoke_credential(&revoke.client, &revoke.id)?;
        tracing::info!(client = %revoke.client, "credential revoked");
        Ok(Reply::CredentialRevoked)
    }
}

/// Whether a request leaves something here that was not here before.
fn takes_memory(request: &Request) -> bool {
    match request {
        Request::Create(_)
        | Request::InstallChain(_)
        | Request::Import(_)
        | Request::Provision(_)
        | Request::Restore(_) => true,
        Request::Ping
        | Request::Status
        | Request::Policy(_)
        | Request::Ready
        | Request::InstallCredential(_)
        | Request::InstallAws(_)
        | Request::Credentials
        | Request::RevokeCredential(_)
        | Request::Csr(_)
        | Request::List(_)
        | Request::Supersede(_)
        | Request::Reinstate(_)
        | Request::Retire(_)
        | Request::Narrow(_)
        | Request::Chain(_)
        | Request::Statistics
        | Request::Begin(_)
        | Request::Job(_)
        | Request::Attest(_) => false,
    }
}

fn listed<T, const MAX: usize>(items: Vec<T>) -> Result<Listed<T, MAX>, ControlError> {
    Listed::try_from(items).map_err(|_: DecodeError| ControlError::Failed)
}
