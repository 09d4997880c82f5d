//! Registers an account, or finds it again: which it is, its key says.

use std::collections::BTreeSet;

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
        let known = match server.find(&signer).await.map_err(acme)? {
            Some(known) => {
                match self.keep_contacts(&known, account).await {
                    // The account is as good as it was: its orders do not wait for somebody to correct a line of the configuration.
                    Err(failed) if is_refusal(failed.error) => {
                        let (url, detail) = (known.url(), failed.detail.as_str());
                        tracing::warn!(key = %account.key, %url, detail, "the CA does not take an account's contacts: correct them");
                    }
                    kept => kept?,
                }
                known
            }
            None => self.register(&server, &signer, account).await?,
        };
        url(&known).map(JobOutcome::Account)
    }

    /// Contacts may have changed since the account was registered. A CA that says of none is told them each time, which is once a run of
    /// the agent.
    async fn keep_contacts(&self, known: &Known<'_>, account: &Account) -> Result<(), JobFailure> {
        let wanted = contacts(account);
        if BTreeSet::from_iter(&wanted) == BTreeSet::from_iter(known.contacts()) {
            return Ok(());
        }
        self.progress.at("tells the CA the account's contacts");
        known.change_contacts(&wanted).await.map_err(acme)?;
        tracing::info!(key = %account.key, url = %known.url(), "the CA was told an account's contacts");
        Ok(())
    }

    /// The account that the key has, or a new one.
    pub(super) async fn registered<'a>(
        &self,
        server: &'a Server,
        signer: &'a AccountSigner,
        account: &Account,
    ) -> Result<Known<'a>, JobFailure> {
        match server.find(signer).await.map_err(acme)? {
            Some(known) => Ok(known),
            None => self.register(server, signer, account).await,
        }
    }

    async fn register<'a>(
        &self,
        server: &'a Server,
        signer: &'a AccountSigner,
        account: &Account,
    ) -> Result<Known<'a>, JobFailure> {
        self.progress.at("registers the account");
        let binding = match &account.binding {
            Some(binding) => Some(self.mac_key(account.directory.as_str(), binding).await?),
            None => None,
        };
        let registration = Registration {
            contacts: contacts(account),
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

/// Whether a CA answered, and would say the same again.
fn is_refusal(error: JobError) -> bool {
    match error {
        JobError::Account | JobError::Order | JobError::Protocol => true,
        JobError::EgressRefused
        | JobError::Unavailable
        | JobError::Untrusted
        | JobError::RateLimited
        | JobError::NoChallenge
        | JobError::Unpublished
        | JobError::Challenge
        | JobError::Deadline
        | JobError::Certificate
        | JobError::Service => false,
    }
}

fn contacts(account: &Account) -> Vec<String> {
    let contacts = account.contacts.items().iter();
    contacts.map(|contact| contact.as_str().to_owned()).collect()
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
