//! Revokes the certificate of a key, in the name of the account that ordered it (RFC 8555, section 7.6).

use enclave_acme::Reason;
use enclave_wire::control::{ControlError, JobError, JobFailure, JobOutcome, Revoke};

use super::Worker;
use super::admission::certified;
use super::failure::{acme, failure, ruled};

impl Worker {
    pub(super) async fn revoke(&self, revoke: &Revoke) -> Result<JobOutcome, JobFailure> {
        let reason = Reason::of_code(revoke.reason);
        let reason = reason.ok_or_else(|| failure(JobError::Order, "a subscriber gives no such reason"))?;
        let key = certified(&self.state, &revoke.key).map_err(ruled)?;
        let leaf = key.chain().certificates().first();
        let leaf = leaf.ok_or_else(|| ruled(ControlError::NoCertificate))?;
        let signer = self.signer(&revoke.account.key)?;
        self.progress.at("revokes the certificate");
        let server = self.server(&revoke.account.directory).await?;
        let account = self.found(&server, &signer).await?;
        account.revoke(leaf.as_bytes(), reason).await.map_err(acme)?;
        Ok(JobOutcome::Revoked)
    }
}
