//! The root certificates that a policy names.

use pem_rfc7468::LineEnding;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Reads PEM (RFC 7468): one certificate, nothing before it and nothing but a line end after it. The DER is returned.
pub(crate) fn from_pem(text: &str) -> Result<Vec<u8>, InvalidRoot> {
    // The decoder skips text before the first line; whoever reads the policy might take it for what is trusted.
    if !text.starts_with("-----BEGIN ") {
        return Err(InvalidRoot::Pem);
    }
    let (label, der) = pem_rfc7468::decode_vec(text.as_bytes()).map_err(|_| InvalidRoot::Pem)?;
    if label != LABEL {
        return Err(InvalidRoot::Pem);
    }
    Certificate::from_der(&der).map_err(|_| InvalidRoot::Certificate)?;
    Ok(der)
}

/// A certificate as PEM, in the one form that is written: lines of 64, each ended by a line feed.
pub(crate) fn to_pem(der: &[u8]) -> String {
    // It fails for a label that is none, and for more bytes than a usize counts.
    pem_rfc7468::encode_string(LABEL, LineEnding::LF, der).unwrap_or_default()
}

/// Why a text is no root certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidRoot {
    Pem,
    Certificate,
}

impl std::fmt::Display for InvalidRoot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pem => "a root is one certificate in PEM, and nothing around it",
            Self::Certificate => "a root is an X.509 certificate",
        })
    }
}

const LABEL: &str = "CERTIFICATE";
