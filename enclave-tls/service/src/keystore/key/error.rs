//! Why there is no key, or no request for a certificate.

use enclave_wire::control::ControlError;

/// Why a key could not be made or read. None carries anything of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyError {
    /// RSA keys are made in four sizes only.
    SizeNotGenerated,
    /// Not PKCS#8 in DER, or something follows it.
    Malformed,
    /// Not one private key in PEM, or in a form of PEM that is not taken.
    NotPem,
    /// Encrypted with a password, which nobody could give here.
    Encrypted,
    /// Another algorithm, another curve, or a curve written out instead of named.
    Unsupported,
    /// An RSA modulus outside 2048 to 8192 bits, or not of whole bytes.
    RsaSize,
    /// Its parts do not belong together, or it cannot make a signature that its public half verifies.
    Inconsistent,
    /// More names than a request for a certificate holds.
    TooManyNames,
    /// The library failed. Trying again may help.
    Library,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::SizeNotGenerated => "RSA keys are made with 2048, 3072, 4096 or 8192 bits",
            Self::Malformed => "the key is not PKCS#8 in DER, or something follows it",
            Self::NotPem => "the key is not one PEM block: PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY",
            Self::Encrypted => "the key is encrypted with a password",
            Self::Unsupported => "the key is neither RSA, ECDSA on a named curve P-256, P-384 or P-521, nor Ed25519",
            Self::RsaSize => "the RSA modulus has not 2048 to 8192 bits in whole bytes",
            Self::Inconsistent => "the parts of the key do not belong together",
            Self::TooManyNames => "the names do not fit in a certificate request",
            Self::Library => "the cryptographic library failed",
        })
    }
}

impl std::error::Error for KeyError {}

impl From<KeyError> for ControlError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::SizeNotGenerated => Self::SizeNotGenerated,
            KeyError::Malformed | KeyError::NotPem | KeyError::Encrypted | KeyError::Inconsistent => Self::KeyInvalid,
            KeyError::Unsupported | KeyError::RsaSize => Self::KeyTypeRefused,
            KeyError::TooManyNames => Self::LimitReached,
            KeyError::Library => Self::Failed,
        }
    }
}
