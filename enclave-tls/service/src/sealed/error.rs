//! Why a state is not sealed, or a blob not opened.

use enclave_wire::DecodeError;
use enclave_wire::control::ControlError;

/// Why a state was not sealed, or a blob not opened. None carries anything of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedError {
    /// Not a sealed state: whoever kept it changed it, or it never was one.
    Form(DecodeError),
    /// Sealed by another version of this service.
    Version,
    /// Another data key than the one that it names.
    OtherDataKey,
    /// The header or the ciphertext was changed, or the data key is another.
    NotAuthentic,
    /// Authentic, yet its parts do not belong together: the service that sealed it was at fault.
    Inconsistent,
    /// What KMS opened has not the length of a key.
    NoDataKey,
    /// More bytes than a state may have: fewer generations, or shorter chains, fit.
    TooLarge,
    /// More generations than a state may have.
    TooManyGenerations,
    /// The library failed. Trying again may help.
    Library,
}

impl std::fmt::Display for SealedError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form(error) => return write!(f, "not a sealed state: {error}"),
            Self::Version => "the state was sealed by another version of the service",
            Self::OtherDataKey => "the state was sealed under another data key",
            Self::NotAuthentic => "the state was changed, or sealed under another data key",
            Self::Inconsistent => "the parts of the state do not belong together",
            Self::NoDataKey => "what KMS opened is no data key",
            Self::TooLarge => "the state has more than 120,000 bytes",
            Self::TooManyGenerations => "the state has more than 64 generations",
            Self::Library => "the cryptographic library failed",
        })
    }
}

impl std::error::Error for SealedError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Form(error) => Some(error),
            Self::Version
            | Self::OtherDataKey
            | Self::NotAuthentic
            | Self::Inconsistent
            | Self::NoDataKey
            | Self::TooLarge
            | Self::TooManyGenerations
            | Self::Library => None,
        }
    }
}

impl From<DecodeError> for SealedError {
    fn from(error: DecodeError) -> Self {
        Self::Form(error)
    }
}

impl From<SealedError> for ControlError {
    fn from(error: SealedError) -> Self {
        match error {
            SealedError::Form(_)
            | SealedError::Version
            | SealedError::OtherDataKey
            | SealedError::NotAuthentic
            | SealedError::Inconsistent
            | SealedError::NoDataKey => Self::StateInvalid,
            SealedError::TooLarge | SealedError::TooManyGenerations => Self::LimitReached,
            SealedError::Library => Self::Failed,
        }
    }
}
