//! What KMS answers when it does not do what was asked.

use emulator_aws::{SignatureError, SignatureFault};
use serde_json::{Value, json};

/// A refusal, with the words that AWS uses where they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KmsError {
    pub(crate) kind: Kind,
    pub(crate) message: String,
}

/// AWS's names of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    AccessDenied,
    AlreadyExists,
    Disabled,
    DryRunOperation,
    ExpiredToken,
    IncompleteSignature,
    IncorrectKey,
    InternalFailure,
    InvalidAliasName,
    InvalidCiphertext,
    InvalidGrantId,
    InvalidSignature,
    KmsInternal,
    MalformedPolicyDocument,
    MissingAuthenticationToken,
    NotFound,
    RequestEntityTooLarge,
    Serialization,
    ServiceUnavailable,
    Throttling,
    UnknownOperation,
    UnrecognizedClient,
    UnsupportedOperation,
    Validation,
}

impl KmsError {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(Kind::Validation, message)
    }

    /// KMS says nothing more of it.
    pub(crate) fn invalid_ciphertext() -> Self {
        Self::new(Kind::InvalidCiphertext, "")
    }

    /// A library that failed at what cannot fail.
    pub(crate) fn internal() -> Self {
        Self::new(Kind::KmsInternal, "internal error of the emulator")
    }

    pub(crate) fn status(&self) -> u16 {
        match self.kind {
            Kind::InternalFailure | Kind::KmsInternal => 500,
            Kind::ServiceUnavailable => 503,
            Kind::RequestEntityTooLarge => 413,
            _ => 400,
        }
    }

    /// AWS JSON: authorisation answers `Message`, everything else `message`, and some refusals come without one.
    pub(crate) fn body(&self) -> Value {
        let name = self.kind.name();
        match (self.kind, self.message.as_str()) {
            (_, "") => json!({ "__type": name }),
            (Kind::AccessDenied, message) => json!({ "__type": name, "Message": message }),
            (_, message) => json!({ "__type": name, "message": message }),
        }
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AccessDenied => "AccessDeniedException",
            Self::AlreadyExists => "AlreadyExistsException",
            Self::Disabled => "DisabledException",
            Self::DryRunOperation => "DryRunOperationException",
            Self::ExpiredToken => "ExpiredTokenException",
            Self::IncompleteSignature => "IncompleteSignatureException",
            Self::IncorrectKey => "IncorrectKeyException",
            Self::InternalFailure => "InternalFailure",
            Self::InvalidAliasName => "InvalidAliasNameException",
            Self::InvalidCiphertext => "InvalidCiphertextException",
            Self::InvalidGrantId => "InvalidGrantIdException",
            Self::InvalidSignature => "InvalidSignatureException",
            Self::KmsInternal => "KMSInternalException",
            Self::MalformedPolicyDocument => "MalformedPolicyDocumentException",
            Self::MissingAuthenticationToken => "MissingAuthenticationTokenException",
            Self::NotFound => "NotFoundException",
            Self::RequestEntityTooLarge => "RequestEntityTooLargeException",
            Self::Serialization => "SerializationException",
            Self::ServiceUnavailable => "ServiceUnavailableException",
            Self::Throttling => "ThrottlingException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::UnrecognizedClient => "UnrecognizedClientException",
            Self::UnsupportedOperation => "UnsupportedOperationException",
            Self::Validation => "ValidationException",
        }
    }
}

impl From<aws_lc_rs::error::Unspecified> for KmsError {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self::internal()
    }
}

impl From<SignatureError> for KmsError {
    fn from(error: SignatureError) -> Self {
        let kind = match error.fault {
            SignatureFault::MissingAuthenticationToken => Kind::MissingAuthenticationToken,
            SignatureFault::Incomplete => Kind::IncompleteSignature,
            SignatureFault::Invalid => Kind::InvalidSignature,
            SignatureFault::UnrecognizedClient => Kind::UnrecognizedClient,
            SignatureFault::ExpiredToken => Kind::ExpiredToken,
        };
        Self::new(kind, error.message)
    }
}
