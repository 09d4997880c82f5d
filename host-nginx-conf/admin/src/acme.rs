//! What became of orders and accounts, in words; and their part of the report.

use enclave_wire::control::{JobError, JobFailure};
use serde::{Deserialize, Serialize};

use crate::advice;

/// An account at a CA.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    pub name: String,
    /// The URL of the CA's directory.
    pub directory: String,
    /// The id of its key, once there is one.
    pub key: Option<String>,
    /// Its own URL, once it is registered: what a CAA record names.
    pub url: Option<String>,
    /// Whether a restart of the enclave leaves it as it is.
    pub sealed: bool,
    pub problem: Option<String>,
}

/// How a certificate is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// The account that orders it.
    pub account: String,
    /// How its names are proven: `http-01`, `dns-01` or `none`.
    pub challenge: String,
    /// When the next order begins; none: one is under way, or waits.
    pub next: Option<i64>,
    /// Why then.
    pub why: Option<String>,
    /// The CA's own words on why, a page.
    pub explanation: Option<String>,
    /// When a certificate came last.
    pub last: Option<i64>,
    /// How often the order has failed since.
    pub failures: u32,
    /// What the order that is under way is at.
    pub progress: Option<String>,
    /// Why it failed last, and what to do.
    pub problem: Option<String>,
}

/// Why an order, or an account, came to nothing, and what to do about it.
#[must_use]
pub fn failed(failure: &JobFailure) -> String {
    says(advice_of(failure.error), failure)
}

/// The same of a revocation.
#[must_use]
pub fn not_revoked(failure: &JobFailure) -> String {
    let advice = if failure.error == JobError::Order {
        "the CA refuses to revoke it: if it is revoked already, or of another CA, have it seen to there by its serial number"
    } else if failure.error == JobError::Account {
        "the CA does not let this account revoke it: have it revoked there by its serial number"
    } else {
        advice_of(failure.error)
    };
    says(advice, failure)
}

fn says(advice: &str, failure: &JobFailure) -> String {
    let mut says = advice.to_owned();
    if let Some(rule) = failure.rule {
        says = format!("{says}: {}", advice::refused(rule));
    }
    match failure.detail.as_str() {
        "" => says,
        detail => format!("{says} ({detail})"),
    }
}

fn advice_of(error: JobError) -> &'static str {
    match error {
        JobError::EgressRefused => "the agent does not let the enclave reach the CA: add its host to [egress] allow",
        JobError::Unavailable => "the CA does not answer; it is asked again by itself",
        JobError::Untrusted => {
            "who answers is not the CA of the policy's roots: correct `roots` of its [[acme]] in the policy, or find out who answers"
        }
        JobError::Protocol => "the CA answers what ACME does not have; is `directory` the URL that it gives?",
        JobError::RateLimited => {
            "the CA has had too many requests of this account or for these names; it is asked again when it says"
        }
        JobError::Account => {
            "the CA refuses the account: look at contacts and eab under [acme], and whether its terms of service have changed"
        }
        JobError::Order => "the CA refuses the order: look at dns_names, profile, and the names' CAA records",
        JobError::NoChallenge => "the CA offers no challenge of this kind for these names: choose another `challenge`",
        JobError::Unpublished => "the challenge could not be published; see [http01] and [dns01]",
        JobError::Challenge => {
            "the CA looked and did not find the proof: do these names lead to this machine, and does its web server pass \
             /.well-known/acme-challenge/ on to the agent (dns-01: does the CA's resolver see the record)?"
        }
        JobError::Deadline => "it took too long; it is tried again by itself",
        JobError::Certificate => "the certificate that came does not fit the key",
        JobError::Service => "it was not the CA",
    }
}

#[cfg(test)]
mod tests {
    use enclave_wire::control::ControlError;
    use enclave_wire::log::Text;

    use super::*;

    #[test]
    fn a_failure_says_what_to_do_which_rule_and_what_the_ca_said() {
        let failure = JobFailure {
            error: JobError::Certificate,
            rule: Some(ControlError::ChainKeyMismatch),
            detail: Text::lossy("leaf of another key"),
            retry_at: None,
        };
        let says = failed(&failure);
        assert!(
            says.starts_with("the certificate that came does not fit the key: the leaf certificate is for another key"),
            "{says}"
        );
        assert!(says.ends_with(" (leaf of another key)"), "{says}");
        let refused = JobFailure {
            error: JobError::Order,
            rule: None,
            ..failure
        };
        let says = not_revoked(&refused);
        assert!(
            says.starts_with("the CA refuses to revoke it: ") && !says.contains("dns_names"),
            "{says}"
        );
        let bare = JobFailure {
            error: JobError::Deadline,
            rule: None,
            detail: Text::lossy(""),
            retry_at: None,
        };
        assert_eq!(failed(&bare), "it took too long; it is tried again by itself");
    }
}
