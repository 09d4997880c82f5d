//! Asks a CA when it would have a certificate renewed (RFC 9773). It needs no account.

use enclave_acme::CertId;
use enclave_wire::control::{ControlError, JobFailure, JobOutcome, Renewal, RenewalWindow, Validity};
use enclave_wire::log::Text;

use super::Worker;
use super::admission::certified;
use super::failure::{acme, ruled};

impl Worker {
    pub(super) async fn renewal(&self, renewal: &Renewal) -> Result<JobOutcome, JobFailure> {
        let key = certified(&self.state, &renewal.key).map_err(ruled)?;
        let leaf = key.chain().certificates().first();
        let leaf = leaf.ok_or_else(|| ruled(ControlError::NoCertificate))?;
        let id = CertId::of(leaf.as_bytes()).map_err(|refusal| acme(refusal.into()))?;
        self.progress.at("asks when to renew");
        let server = self.server(&renewal.directory).await?;
        let info = server.renewal_info(&id).await.map_err(acme)?;
        let window = info.as_ref().map(|info| Validity {
            not_before: info.start,
            not_after: info.end,
        });
        let ask_again = info.as_ref().map(|info| info.ask_again.as_secs());
        Ok(JobOutcome::Renewal(RenewalWindow {
            window,
            explanation: info.and_then(|info| info.explanation).map(|page| Text::lossy(&page)),
            ask_again_s: ask_again.and_then(|time| u32::try_from(time).ok()).unwrap_or(A_DAY),
        }))
    }
}

/// A CA that has no renewal information may have some after its next release.
const A_DAY: u32 = 86_400;
