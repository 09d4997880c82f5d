//! An ACME server that the policy names, asked with the key of an account.

use std::sync::Arc;
use std::time::Duration;

use enclave_acme::{LIMITS, NoSignature, PublicKey, Server, Signer};
use enclave_https::{Clock, Https, Limits, Url};
use enclave_wire::KeyId;
use enclave_wire::control::{ControlError, JobError, JobFailure, Url as UrlText};
use tokio::time::Instant;

use super::Worker;
use super::admission;
use super::failure::{acme, failure, ruled};
use crate::egress::Egress;
use crate::keystore::AccountKey;
use crate::serve::force::Force;

impl Worker {
    /// Connects to the server of a directory.
    pub(super) async fn server(&self, directory: &UrlText) -> Result<Server, JobFailure> {
        let (url, roots) = admission::allowed(self.force()?, directory).map_err(ruled)?;
        let https = self.https(&url, &roots, LIMITS)?;
        let deadline = after(CA_TIME);
        let session = Box::new(Arc::new(https).session());
        Server::connect(session, self.clock(), url, deadline)
            .await
            .map_err(acme)
    }

    /// What signs for an account.
    pub(super) fn signer(&self, account: &KeyId) -> Result<AccountSigner, JobFailure> {
        let key = self.state.keys.get(account).and_then(AccountKey::of);
        key.map(AccountSigner).map_err(ruled)
    }

    /// A client of one host, under its own roots.
    pub(super) fn https(&self, url: &Url, roots: &[Vec<u8>], limits: Limits) -> Result<Https, JobFailure> {
        let egress = self.state.config.egress.clone();
        let egress = egress.ok_or_else(|| ruled(ControlError::EgressRefused))?;
        let client = Https::new(Arc::new(Egress::new(egress)), roots, self.clock(), limits);
        client.map_err(|error| failure(JobError::Untrusted, &format!("{}: {error}", url.host())))
    }

    pub(super) fn force(&self) -> Result<&Force, JobFailure> {
        self.state.in_force().ok_or_else(|| ruled(ControlError::PolicyFirst))
    }

    fn clock(&self) -> Clock {
        let clock = Arc::clone(&self.state.platform.clock);
        Arc::new(move || clock.now_unix())
    }
}

/// Signs for an account, as long as its key is held: one that is retired meanwhile signs what is under way to its end.
pub(super) struct AccountSigner(AccountKey);

impl Signer for AccountSigner {
    fn public(&self) -> PublicKey {
        PublicKey::P256(self.0.point())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoSignature> {
        self.0.es256(message).map_err(|_| NoSignature)
    }
}

pub(super) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// For all that is asked of a CA in one job: some validate, or sign, for most of an hour.
const CA_TIME: Duration = Duration::from_secs(3_600);
