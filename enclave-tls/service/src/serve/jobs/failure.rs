//! Why a job ended without a result, in the words of the control plane.

use enclave_acme::{AcmeError, Cause, LocalRefusal, Step};
use enclave_wire::control::{ControlError, JobError, JobFailure};
use enclave_wire::log::Text;

/// One that says all in its words.
pub(super) fn failure(error: JobError, detail: &str) -> JobFailure {
    JobFailure {
        error,
        rule: None,
        detail: Text::lossy(detail),
        retry_at: None,
    }
}

/// One that a rule of the control plane explains.
pub(super) fn ruled(rule: ControlError) -> JobFailure {
    JobFailure {
        error: of_rule(rule),
        rule: Some(rule),
        detail: Text::lossy(""),
        retry_at: None,
    }
}

/// One that the ACME client met.
pub(super) fn acme(error: AcmeError) -> JobFailure {
    JobFailure {
        error: of_cause(error.step, &error.cause),
        rule: None,
        detail: Text::lossy(&error.to_string()),
        retry_at: error.retry_at(),
    }
}

/// What is wrong with a chain says so; the parent's and AWS's part is the service's.
fn of_rule(rule: ControlError) -> JobError {
    match rule {
        ControlError::CertificateInvalid
        | ControlError::ChainKeyMismatch
        | ControlError::ChainOrder
        | ControlError::ChainSignature
        | ControlError::ChainNotCa
        | ControlError::ChainPathLength
        | ControlError::ChainExtendedKeyUsage
        | ControlError::ChainNames
        | ControlError::ChainNotYetValid
        | ControlError::ChainExpired
        | ControlError::ChainIncomplete
        | ControlError::ChainCriticalExtension
        | ControlError::ChainAlgorithm
        | ControlError::ChainIssuerKey => JobError::Certificate,
        ControlError::EgressRefused => JobError::EgressRefused,
        ControlError::Malformed
        | ControlError::Version
        | ControlError::PolicyFirst
        | ControlError::PolicyAlreadySet
        | ControlError::PolicyInvalid
        | ControlError::NoSuchKey
        | ControlError::KeyExists
        | ControlError::LimitReached
        | ControlError::Failed
        | ControlError::MemoryFull
        | ControlError::ClockSourceRefused
        | ControlError::NameRefused
        | ControlError::UsageRefused
        | ControlError::KeyTypeRefused
        | ControlError::ImportsRefused
        | ControlError::NotNarrower
        | ControlError::NoSuchClient
        | ControlError::KeyInvalid
        | ControlError::SizeNotGenerated
        | ControlError::SealingRefused
        | ControlError::KmsKeyRefused
        | ControlError::ForeignBundleRefused
        | ControlError::RegionRefused
        | ControlError::SealedOtherwise
        | ControlError::BundleInvalid
        | ControlError::BundleName
        | ControlError::StateInvalid
        | ControlError::StateRollback
        | ControlError::StateNotStored
        | ControlError::CredentialsMissing
        | ControlError::AwsUnavailable
        | ControlError::AwsDenied
        | ControlError::CiphertextInvalid
        | ControlError::AwsReplyInvalid
        | ControlError::NoSuchObject
        | ControlError::AttestationFailed
        | ControlError::DirectoryRefused
        | ControlError::AccountKey
        | ControlError::ResolverRefused
        | ControlError::NoCertificate => JobError::Service,
    }
}

fn of_cause(step: Step, cause: &Cause) -> JobError {
    match cause {
        Cause::EgressRefused => JobError::EgressRefused,
        Cause::Untrusted => JobError::Untrusted,
        Cause::Unavailable { .. } => JobError::Unavailable,
        Cause::RateLimited { .. } => JobError::RateLimited,
        Cause::Refused(problem) if is_of_account(&problem.name) => JobError::Account,
        Cause::Refused(_) | Cause::Invalid(_) => of_step(step),
        Cause::Deadline { .. } => JobError::Deadline,
        Cause::Local(refusal) => of_refusal(refusal),
        Cause::Protocol(_) => JobError::Protocol,
        Cause::NoSignature => JobError::Service,
    }
}

fn of_step(step: Step) -> JobError {
    match step {
        Step::Account => JobError::Account,
        Step::Challenge => JobError::Challenge,
        Step::Order | Step::Finalize | Step::Certificate | Step::Renewal | Step::Revocation => JobError::Order,
        // A directory is read by anybody: a server that refuses that is none.
        Step::Directory => JobError::Protocol,
    }
}

fn of_refusal(refusal: &LocalRefusal) -> JobError {
    match refusal {
        LocalRefusal::Terms(_) | LocalRefusal::Binding | LocalRefusal::AccountStatus => JobError::Account,
        LocalRefusal::Profile(_) | LocalRefusal::Names => JobError::Order,
        LocalRefusal::NoChallenge(_) => JobError::NoChallenge,
        LocalRefusal::NotOffered => JobError::Protocol,
        LocalRefusal::NoCertId => JobError::Certificate,
    }
}

/// Problems that a new order, or one's certificate, does not mend (RFC 8555, section 6.7).
fn is_of_account(problem: &str) -> bool {
    [
        "accountDoesNotExist",
        "badPublicKey",
        "badSignatureAlgorithm",
        "externalAccountRequired",
        "invalidContact",
        "unsupportedContact",
        "userActionRequired",
    ]
    .contains(&problem)
}

#[cfg(test)]
mod tests {
    use enclave_acme::{Problem, Unavailable};
    use enclave_wire::Encode as _;

    use super::*;

    fn problem(name: &str) -> Problem {
        Problem {
            name: name.to_owned(),
            status: 403,
            detail: "No".to_owned(),
            subproblems: Vec::new(),
        }
    }

    #[test]
    fn each_cause_is_said_in_one_word() {
        let why = Unavailable::Failed(503);
        let limited = Cause::RateLimited {
            problem: problem("rateLimited"),
            retry_at: Some(7),
        };
        for (step, cause, error) in [
            (Step::Order, Cause::EgressRefused, JobError::EgressRefused),
            (Step::Directory, Cause::Untrusted, JobError::Untrusted),
            (
                Step::Order,
                Cause::Unavailable { why, retry_at: None },
                JobError::Unavailable,
            ),
            (Step::Order, limited, JobError::RateLimited),
            (
                Step::Account,
                Cause::Refused(problem("unauthorized")),
                JobError::Account,
            ),
            (
                Step::Order,
                Cause::Refused(problem("userActionRequired")),
                JobError::Account,
            ),
            (
                Step::Order,
                Cause::Refused(problem("rejectedIdentifier")),
                JobError::Order,
            ),
            (Step::Finalize, Cause::Refused(problem("caa")), JobError::Order),
            (Step::Challenge, Cause::Invalid(None), JobError::Challenge),
            (Step::Finalize, Cause::Invalid(None), JobError::Order),
            (
                Step::Revocation,
                Cause::Refused(problem("badRevocationReason")),
                JobError::Order,
            ),
            (Step::Finalize, Cause::Deadline { retry_at: None }, JobError::Deadline),
            (Step::Account, Cause::Local(LocalRefusal::Binding), JobError::Account),
            (
                Step::Order,
                Cause::Local(LocalRefusal::Profile(Vec::new())),
                JobError::Order,
            ),
            (
                Step::Challenge,
                Cause::Local(LocalRefusal::NoChallenge(String::new())),
                JobError::NoChallenge,
            ),
            (
                Step::Revocation,
                Cause::Local(LocalRefusal::NotOffered),
                JobError::Protocol,
            ),
            (Step::Order, Cause::NoSignature, JobError::Service),
        ] {
            let retry_at = if error == JobError::RateLimited { Some(7) } else { None };
            let failure = acme(AcmeError { step, cause });
            assert_eq!((failure.error, failure.rule, failure.retry_at), (error, None, retry_at));
        }
    }

    #[test]
    fn each_rule_is_someones_part() {
        for rule in ControlError::ALL {
            let error = ruled(*rule).error;
            let chain = (0x20..0x30).contains(&rule.to_bytes()[0]);
            assert_eq!(error == JobError::Certificate, chain, "{rule:?}");
        }
        assert_eq!(ruled(ControlError::EgressRefused).error, JobError::EgressRefused);
        assert_eq!(ruled(ControlError::NoSuchKey).error, JobError::Service);
    }
}
