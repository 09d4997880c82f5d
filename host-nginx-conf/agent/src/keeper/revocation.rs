//! Certificates that their CA shall revoke: the enclave asks it, with the account that ordered them, again and again until it has.

use std::time::Duration;

use enclave_tls_admin::acme as words;
use enclave_tls_config::{Certificate, Config, Source};
use enclave_wire::KeyId;
use enclave_wire::control::{self, Job, JobId, JobKind, JobPhase, KeyInfo, Reply, Request, Revoke};

use super::history::What as Happened;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, accounts, its_own};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has what shall be revoked be revoked.
    pub(super) fn revocations(&mut self, config: &Config, keys: &Keys) -> Result<(), EnclaveError> {
        for (id, reason) in self.memory.rotations().revoking() {
            let Some(key) = keys.all().find(|key| key.id.to_string() == id).cloned() else {
                continue;
            };
            let what = What::Revoke(key.name.clone());
            if self.troubles.is_early(&what) {
                continue;
            }
            let certificate = config.certificates.get(&key.name);
            let outcome = match certificate.and_then(|certificate| account(config, certificate, keys)) {
                Some(account) => its_own(self.revoke_one(&key, account, &reason))?.and_then(|outcome| outcome),
                None => Err(NO_ACCOUNT.to_owned()),
            };
            match outcome {
                Ok(true) => self.troubles.well(&what),
                Ok(false) => {}
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    /// Has a certificate revoked that the enclave ordered, whose key is not to be trusted.
    pub(super) fn revoke_by_its_ca(&mut self, config: &Config, key: &KeyInfo) {
        let certificate = config.certificates.get(&key.name);
        if certificate.is_some_and(|certificate| matches!(certificate.source, Source::Acme(_)))
            && let Some(reason) = self.memory.rotations().urgent(key.id).map(str::to_owned)
        {
            self.memory.rotations_mut().revoke(key.id, &reason);
        }
    }

    /// Whether a key has to stay until its certificate is revoked: the enclave asks by the certificate that it holds.
    pub(super) fn is_to_be_revoked_first(&mut self, id: KeyId) -> bool {
        let since = self.memory.superseded(id);
        self.memory.rotations().is_revoking(id) && !self.memory.has_passed(since, AT_MOST)
    }

    /// Whether it is revoked.
    fn revoke_one(
        &mut self,
        key: &KeyInfo,
        account: control::Account,
        reason: &str,
    ) -> Result<Result<bool, String>, EnclaveError> {
        let id = JobId {
            kind: JobKind::Revoke,
            key: key.id,
        };
        let phase = match self.enclave.ask(&Request::Job(id))? {
            Reply::Job(state) => state.map(|state| state.phase),
            _ => return Err(EnclaveError::Unexpected),
        };
        let known = self.troubles.why(&What::Revoke(key.name.clone())).map(str::to_owned);
        match (phase, known) {
            (Some(JobPhase::Waiting | JobPhase::Running(_)), _) => return Ok(Ok(false)),
            (Some(JobPhase::Done(_)), _) => {}
            (Some(JobPhase::Failed(failure)), None) => return Ok(Err(words::failed(&failure))),
            // The service has forgotten it, or its wait after a failure is over: it begins, and waits longer should it fail again.
            (None | Some(JobPhase::Failed(_)), known) => {
                let revoke = Revoke {
                    key: key.id,
                    account,
                    reason: code(reason),
                };
                match self.enclave.ask(&Request::Begin(Job::Revoke(revoke)))? {
                    Reply::Begun(_) => return Ok(known.map_or(Ok(false), Err)),
                    _ => return Err(EnclaveError::Unexpected),
                }
            }
        }
        self.memory.rotations_mut().revoked(key.id);
        let event = Event::CertificateRevoked.about().certificate(&key.name);
        event.generation(key.generation).key(key.id).say(format_args!(
            "the certificate of {} generation {} is revoked by its CA",
            key.name, key.generation
        ));
        self.happened(Happened::Revoked, key, None, Some(reason.to_owned()));
        Ok(Ok(true))
    }
}

/// What the enclave is told of the account that ordered a certificate; none: it comes from elsewhere.
fn account(config: &Config, certificate: &Certificate, keys: &Keys) -> Option<control::Account> {
    let Source::Acme(acme) = &certificate.source else {
        return None;
    };
    let account = config.accounts.get(&acme.account)?;
    let key = accounts::key_of(&acme.account, keys)?;
    accounts::job_of(account, key.id).ok()
}

/// The codes of RFC 5280, section 5.3.1.
fn code(reason: &str) -> u8 {
    match reason {
        "key-compromise" => 1,
        "affiliation-changed" => 3,
        "superseded" => 4,
        "cessation-of-operation" => 5,
        _ => 0,
    }
}

const NO_ACCOUNT: &str = "the account that ordered it is no longer in the configuration or has no key; have the CA revoke it by its serial number \
     (`enclave-tlsctl history`)";
/// A key that is not to be trusted does not stay for ever because its CA is away.
const AT_MOST: Duration = Duration::from_secs(3_600);
