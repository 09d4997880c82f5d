//! Registers an account, or finds it again: which it is, its key says.

use enclave_acme::{Account as Known, Binding as MacKey, Registration, Server};
use enclave_wire::control::{Account, Binding, ControlError, JobError, JobFailure, JobOutcome, Url};
use enclave_wire::log::Text;
use tokio::task::spawn_blocking;

use super::Worker;
use super::admission::binding_key;
use super::failure::{acme, failure, ruled};
use super::server::{AccountSigner, after};
use crate::provision::binding;

impl Worker {
    pub(super) async fn account(&self, account: &Account) -> Result<JobOutcome, JobFailure> {
        let signer = self.signer(&account.key)?;
        self.progress.at("asks for the account");
        let server = self.server(&account.directory).await?;
        let known = self.registered(&server, &signer, account).await?;
        url(&known).map(JobOutcome::Account)
    }

    /// The account that the key has, or a new one.
    pub(super) async fn registered<'a>(
        &self,
        server: &'a Server,
        signer: &'a AccountSigner,
        account: &Account,
    ) -> Result<Known<'a>, JobFailure> {
        if let Some(known) = server.find(signer).await.map_err(acme)? {
            return Ok(known);
        }
        self.progress.at("registers the account");
        let binding = match &account.binding {
            Some(binding) => Some(self.mac_key(account.directory.as_str(), binding).await?),
            None => None,
        };
        let contacts = account.contacts.items().iter();
        let registration = Registration {
            contacts: contacts.map(|contact| contact.as_str().to_owned()).collect(),
            terms_agreed: account.terms_agreed,
            binding: binding.as_ref(),
        };
        let known = server.register(signer, &registration).await.map_err(acme)?;
        tracing::info!(key = %account.key, url = %known.url(), "an account was registered");
        Ok(known)
    }

    /// The account that the key has: what was ordered, or is to be pinned, is of no new one.
    pub(super) async fn found<'a>(
        &self,
        server: &'a Server,
        signer: &'a AccountSigner,
    ) -> Result<Known<'a>, JobFailure> {
        let known = server.find(signer).await.map_err(acme)?;
        known.ok_or_else(|| {
            failure(
                JobError::Account,
                "the key has no account there: begin the account first",
            )
        })
    }

    /// Has KMS open the key of a binding, with the credentials of the agent that is there.
    async fn mac_key(&self, directory: &str, of: &Binding) -> Result<MacKey, JobFailure> {
        let kms_key = binding_key(self.force()?, of).map_err(ruled)?;
        let mut agents = self.agents.clone();
        let agent = agents.wait(std::time::Duration::ZERO, after(super::AGENT_TIME)).await;
        let agent = agent.ok_or_else(|| failure(JobError::Service, "there was no agent to lend AWS credentials"))?;
        let (state, of, directory) = (self.state.clone(), of.clone(), directory.to_owned());
        let opened = spawn_blocking(move || {
            let force = state.in_force().ok_or(ControlError::PolicyFirst)?;
            let mac_key = binding::open(&force.aws.calls(&agent), &kms_key, &directory, &of)?;
            let kid = of.kid.as_str().to_owned();
            Ok(MacKey { kid, mac_key })
        });
        opened.await.unwrap_or(Err(ControlError::Failed)).map_err(ruled)
    }
}

/// An account's address.
pub(super) fn url(known: &Known<'_>) -> Result<Url, JobFailure> {
    text(known.url())
}

/// An address as the control plane says it. None that the ACME client takes is longer.
pub(super) fn text(url: &enclave_https::Url) -> Result<Url, JobFailure> {
    let text = url.as_str();
    let whole: Url = Text::lossy(text);
    if whole.as_str() == text {
        Ok(whole)
    } else {
        Err(failure(JobError::Protocol, "an address of the server is too long"))
    }
}
