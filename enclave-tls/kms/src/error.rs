//! Why a call failed: who is at fault, and whether to ask again.

use enclave_attestation::NsmError;

use crate::cms::CmsError;

/// Why KMS or S3 did not give what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KmsError {
    /// The parent has given no credentials yet.
    CredentialsMissing,
    /// The credentials are past their time, by the enclave's clock or by the service's word.
    CredentialsExpired,
    /// The service does not know the credentials, or finds the signature wrong.
    CredentialsRefused(ErrorName),
    /// The parent's allow-list has not the host.
    EgressRefused,
    /// Who answered could not prove, under the policy's roots, to be the host.
    Untrusted,
    /// No answer, or one that says to ask later, until the deadline or for too many attempts.
    Unavailable(Unavailable),
    /// The key's policy or the bucket's says no: another image, another policy, another role.
    Denied,
    /// The ciphertext is not one of this key and this encryption context.
    CiphertextInvalid,
    /// No such key, bucket or object.
    NotFound,
    /// The service refused for another reason.
    Refused(ErrorName),
    /// What came back is not what was asked for. The service, or whoever can speak for it, is at fault.
    ReplyInvalid(ReplyError),
    /// The NSM made no document.
    Attestation(NsmError),
    /// A bucket or a key that S3 cannot have.
    ObjectName,
}

impl KmsError {
    /// Whether the same call may succeed later, with nobody doing anything. Each call has already retried within its deadline.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::CredentialsMissing
            | Self::CredentialsExpired
            | Self::CredentialsRefused(_)
            | Self::EgressRefused
            | Self::Untrusted
            | Self::Denied
            | Self::CiphertextInvalid
            | Self::NotFound
            | Self::Refused(_)
            | Self::ReplyInvalid(_)
            | Self::Attestation(_)
            | Self::ObjectName => false,
        }
    }
}

impl std::fmt::Display for KmsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::CredentialsMissing => f.write_str("no credentials yet"),
            Self::CredentialsExpired => f.write_str("the credentials have expired"),
            Self::CredentialsRefused(name) => write!(f, "the credentials were refused: {name}"),
            Self::EgressRefused => f.write_str("the parent's allow-list has not this host"),
            Self::Untrusted => f.write_str("the host did not prove its name under the policy's roots"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
            Self::Denied => f.write_str("access denied"),
            Self::CiphertextInvalid => f.write_str("not a ciphertext of this key and this encryption context"),
            Self::NotFound => f.write_str("not found"),
            Self::Refused(name) => write!(f, "refused: {name}"),
            Self::ReplyInvalid(why) => write!(f, "the reply is invalid: {why}"),
            Self::Attestation(error) => write!(f, "no attestation document: {error}"),
            Self::ObjectName => f.write_str("no name of a bucket or an object"),
        }
    }
}

impl std::error::Error for KmsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Attestation(error) => Some(error),
            Self::ReplyInvalid(error) => Some(error),
            Self::CredentialsMissing
            | Self::CredentialsExpired
            | Self::CredentialsRefused(_)
            | Self::EgressRefused
            | Self::Untrusted
            | Self::Unavailable(_)
            | Self::Denied
            | Self::CiphertextInvalid
            | Self::NotFound
            | Self::Refused(_)
            | Self::ObjectName => None,
        }
    }
}

/// Why there was no answer yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// The host was not reached.
    Unreachable,
    /// The connection ended before the reply did.
    Interrupted,
    /// No answer in time.
    Timeout,
    /// The service asks for fewer requests.
    Throttled,
    /// The service failed, with this status.
    Failed(u16),
    /// The library of cryptography failed.
    Library,
}

impl std::fmt::Display for Unavailable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable => f.write_str("the host was not reached"),
            Self::Interrupted => f.write_str("the connection ended early"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Throttled => f.write_str("too many requests"),
            Self::Failed(status) => write!(f, "the service failed with {status}"),
            Self::Library => f.write_str("the library of cryptography failed"),
        }
    }
}

/// What is wrong with a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// Not HTTP/1.1.
    Http,
    /// Longer than such a reply can be.
    TooLong,
    /// Not the JSON of this operation.
    Form,
    /// Another key than the one that was asked for.
    OtherKey,
    /// A plaintext: the reply was not encrypted to this enclave.
    Plaintext,
    /// No `CiphertextForRecipient`.
    NoCiphertext,
    /// A data key that is not wrapped, or not of 32 bytes.
    DataKey,
    /// What was encrypted to this enclave cannot be read.
    Cms(CmsError),
}

impl std::fmt::Display for ReplyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Http => f.write_str("not HTTP/1.1"),
            Self::TooLong => f.write_str("too long"),
            Self::Form => f.write_str("not the JSON of this operation"),
            Self::OtherKey => f.write_str("another key's"),
            Self::Plaintext => f.write_str("a plaintext, not encrypted to this enclave"),
            Self::NoCiphertext => f.write_str("no CiphertextForRecipient"),
            Self::DataKey => f.write_str("no data key of 32 bytes"),
            Self::Cms(error) => write!(f, "CiphertextForRecipient: {error}"),
        }
    }
}

impl std::error::Error for ReplyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Cms(error) => Some(error),
            Self::Http
            | Self::TooLong
            | Self::Form
            | Self::OtherKey
            | Self::Plaintext
            | Self::NoCiphertext
            | Self::DataKey => None,
        }
    }
}

/// The name of a service's error, such as `KMSInvalidStateException`: letters, digits and dots, for the enclave's own log. The
/// message beside it is not kept: nobody bounds what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorName(String);

impl ErrorName {
    pub(crate) fn filtered(text: &str) -> Self {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || *c == '.';
        Self(text.chars().filter(allowed).take(MAX_ERROR_NAME).collect())
    }

    /// The name, empty where the service gave none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ErrorName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "(no name)" } else { &self.0 })
    }
}

/// The longest of KMS's has 42 letters.
const MAX_ERROR_NAME: usize = 64;
