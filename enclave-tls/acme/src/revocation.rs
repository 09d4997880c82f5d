//! Revocation (RFC 8555, section 7.6).

use crate::account::Account;
use crate::error::{AcmeError, Cause, LocalRefusal, Step};
use crate::problem::ALREADY_REVOKED;
use crate::signer::base64url;

/// Why a certificate is revoked: what a subscriber may say (RFC 5280, section 5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is said.
    Unspecified,
    /// Somebody else has the key, or may have it.
    KeyCompromise,
    /// The subject's name or other facts have changed.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// The names are not used any more.
    CessationOfOperation,
}

/// Whose doing a revocation was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// This one's.
    Now,
    /// An earlier one's.
    Before,
}

impl Account<'_> {
    /// Revokes a certificate (DER) that this account ordered.
    pub async fn revoke(&self, leaf: &[u8], reason: Reason) -> Result<Revoked, AcmeError> {
        let Some(url) = &self.server.directory.revoke else {
            let (step, cause) = (Step::Revocation, Cause::Local(LocalRefusal::NotOffered));
            return Err(AcmeError { step, cause });
        };
        let payload = serde_json::json!({ "certificate": base64url(leaf), "reason": reason.code() }).to_string();
        match self.ask(Step::Revocation, url, payload).await {
            Ok(_) => Ok(Revoked::Now),
            Err(AcmeError {
                cause: Cause::Refused(problem),
                ..
            }) if problem.is(ALREADY_REVOKED) => Ok(Revoked::Before),
            Err(error) => Err(error),
        }
    }
}

impl Reason {
    /// The reason of this code, where a subscriber may say it.
    #[must_use]
    pub fn of_code(code: u8) -> Option<Self> {
        let all = [
            Self::Unspecified,
            Self::KeyCompromise,
            Self::AffiliationChanged,
            Self::Superseded,
            Self::CessationOfOperation,
        ];
        all.into_iter().find(|reason| reason.code() == code)
    }

    /// As RFC 5280 numbers it.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
        }
    }
}
