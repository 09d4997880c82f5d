//! What names and describes a key: its id, its certificate's name, its type, its usage.

use crate::codec::{Decode, DecodeError, Encode, Reader, Writer, byte_enum};

/// SHA-256 of a key's SubjectPublicKeyInfo: `CKA_ID`, the same for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 32]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one run of the service. Sixteen random bytes, drawn at its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

impl std::fmt::Display for BootId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The name of a certificate or of a client: 1 to 64 of `A-Z a-z 0-9 - _ .`, beginning with a letter or a digit.
/// It can stand in a path, a URI and a log line as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = DecodeError;

    fn try_from(text: &str) -> Result<Self, DecodeError> {
        let first = text.bytes().next().ok_or(DecodeError::Invalid)?;
        let rest_allowed = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if text.len() > MAX_NAME || !first.is_ascii_alphanumeric() || !rest_allowed {
            return Err(DecodeError::Invalid);
        }
        Ok(Self(text.to_owned()))
    }
}

/// A DNS name that a certificate may carry: lower case, a wildcard only as its whole first label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

impl DnsName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for DnsName {
    type Error = DecodeError;

    fn try_from(text: &str) -> Result<Self, DecodeError> {
        let host = text.strip_prefix("*.").unwrap_or(text);
        if text.len() > MAX_DNS_NAME || !host.split('.').all(is_label) {
            return Err(DecodeError::Invalid);
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

macro_rules! text_forms {
    ($($type:ident, $max:ident;)*) => {$(
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl std::str::FromStr for $type {
            type Err = DecodeError;
            fn from_str(text: &str) -> Result<Self, DecodeError> {
                Self::try_from(text)
            }
        }
        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::try_from(reader.text($max)?)
            }
        }
        impl Encode for $type {
            fn encode(&self, writer: &mut Writer) {
                writer.bytes16(self.0.as_bytes());
            }
        }
    )*};
}
text_forms! { Name, MAX_NAME; DnsName, MAX_DNS_NAME; }

macro_rules! array_forms {
    ($($type:ident),*) => {$(
        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(reader.array()?))
            }
        }
        impl Encode for $type {
            fn encode(&self, writer: &mut Writer) {
                writer.put(&self.0);
            }
        }
    )*};
}
array_forms!(KeyId, BootId);

/// The type of a key, and its size where that is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyType {
    /// RSA, by the bits of its modulus.
    Rsa(RsaBits),
    /// NIST P-256 (secp256r1).
    P256,
    /// NIST P-384 (secp384r1).
    P384,
    /// NIST P-521 (secp521r1).
    P521,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl KeyType {
    /// The length of every signature of such a key, in bytes.
    #[must_use]
    pub fn signature_len(self) -> usize {
        match self {
            Self::Rsa(bits) => usize::from(bits.0.div_euclid(8)),
            Self::P256 | Self::Ed25519 => 64,
            Self::P384 => 96,
            Self::P521 => 132,
        }
    }
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA-{}", bits.0),
            Self::P256 => f.write_str("P-256"),
            Self::P384 => f.write_str("P-384"),
            Self::P521 => f.write_str("P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

impl std::str::FromStr for KeyType {
    type Err = DecodeError;

    /// Reads what [`Display`](std::fmt::Display) writes, in any case.
    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "p-256" => Ok(Self::P256),
            "p-384" => Ok(Self::P384),
            "p-521" => Ok(Self::P521),
            "ed25519" => Ok(Self::Ed25519),
            other => {
                let digits = other.strip_prefix("rsa-").ok_or(DecodeError::Invalid)?;
                let bits: u16 = digits.parse().map_err(|_| DecodeError::Invalid)?;
                RsaBits::try_from(bits).map(Self::Rsa)
            }
        }
    }
}

impl Decode for KeyType {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            1 => Ok(Self::Rsa(RsaBits::try_from(u16::decode(reader)?)?)),
            2 => Ok(Self::P256),
            3 => Ok(Self::P384),
            4 => Ok(Self::P521),
            5 => Ok(Self::Ed25519),
            _ => Err(DecodeError::UnknownTag),
        }
    }
}

impl Encode for KeyType {
    fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Rsa(bits) => {
                writer.put(&[1]);
                bits.0.encode(writer);
            }
            Self::P256 => writer.put(&[2]),
            Self::P384 => writer.put(&[3]),
            Self::P521 => writer.put(&[4]),
            Self::Ed25519 => writer.put(&[5]),
        }
    }
}

/// The bits of an RSA modulus: 2,048 to 8,192, whole bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RsaBits(u16);

impl RsaBits {
    /// The number of bits.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for RsaBits {
    type Error = DecodeError;

    fn try_from(bits: u16) -> Result<Self, DecodeError> {
        if (2048..=8192).contains(&bits) && bits.is_multiple_of(8) {
            Ok(Self(bits))
        } else {
            Err(DecodeError::Invalid)
        }
    }
}

byte_enum! {
    /// What a key may sign. Set at birth or import; it can only be narrowed.
    pub enum Usage {
        /// TLS 1.2 and 1.3 server handshakes, and nothing else: the enclave hashes and reads the message.
        Tls = 0x01,
        /// TLS 1.3 client CertificateVerify, and nothing else.
        TlsClient = 0x02,
        /// Any digest or message, for clients that send only digests. Weaker, and said so wherever it shows.
        Digest = 0x03,
        /// The key of an account at an ACME server: it signs the service's own requests there, and nothing else.
        AcmeAccount = 0x04,
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::TlsClient => "tls-client",
            Self::Digest => "digest",
            Self::AcmeAccount => "acme-account",
        })
    }
}

impl std::str::FromStr for Usage {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        Self::ALL
            .iter()
            .copied()
            .find(|usage| usage.to_string() == text)
            .ok_or(DecodeError::Invalid)
    }
}

byte_enum! {
    /// Where a generation stands. A retired one is gone, so it has no state.
    pub enum State {
        /// In use.
        Live = 0x01,
        /// A newer generation has taken its place; it still signs, for workers that have not reloaded.
        Superseded = 0x02,
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Superseded => "superseded",
        })
    }
}

macro_rules! byte_strings {
    ($($(#[$meta:meta])* $type:ident, $max:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub struct $type(Vec<u8>);

        impl $type {
            /// The bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl TryFrom<Vec<u8>> for $type {
            type Error = DecodeError;

            fn try_from(bytes: Vec<u8>) -> Result<Self, DecodeError> {
                if bytes.len() > $max { Err(DecodeError::TooLong) } else { Ok(Self(bytes)) }
            }
        }

        impl Decode for $type {
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self(reader.bytes16($max)?.to_vec()))
            }
        }

        impl Encode for $type {
            fn encode(&self, writer: &mut Writer) {
                writer.bytes16(&self.0);
            }
        }
    )*};
}
byte_strings! {
    /// A SubjectPublicKeyInfo (RFC 5280), DER. Its contents are the owner's to check.
    Spki, MAX_SPKI;
    /// One certificate, DER. Its contents are not looked at here.
    Certificate, MAX_CERTIFICATE;
    /// A certificate request (RFC 2986), DER.
    CertificateRequest, MAX_REQUEST;
}

/// A certificate chain, leaf first; empty where none is installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain(Vec<Certificate>);

impl Chain {
    /// The certificates, leaf first.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }
}

impl TryFrom<Vec<Certificate>> for Chain {
    type Error = DecodeError;

    fn try_from(certificates: Vec<Certificate>) -> Result<Self, DecodeError> {
        let total = certificates
            .iter()
            .fold(0usize, |sum, c| sum.saturating_add(c.as_bytes().len()));
        if certificates.len() > MAX_CHAIN || total > MAX_CHAIN_BYTES {
            return Err(DecodeError::TooLong);
        }
        Ok(Self(certificates))
    }
}

impl Decode for Chain {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::try_from(reader.list(MAX_CHAIN)?)
    }
}

impl Encode for Chain {
    fn encode(&self, writer: &mut Writer) {
        writer.list(&self.0);
    }
}

/// A label that fits `CKA_LABEL` and a log line.
pub const MAX_NAME: usize = 64;
/// RFC 1035, section 2.3.4.
const MAX_DNS_NAME: usize = 253;
/// The SPKI of RSA-8192 has 1,062 bytes.
const MAX_SPKI: usize = 1_200;
/// An RSA-4096 leaf with a hundred names has some 5 KB.
const MAX_CERTIFICATE: usize = 8_192;
/// A hundred names of 253 bytes do not fit in a certificate either.
const MAX_REQUEST: usize = 16_384;
/// A leaf, four intermediates, a cross-signed one, a root, and one to spare.
const MAX_CHAIN: usize = 8;
/// What a signing reply can carry with its header.
const MAX_CHAIN_BYTES: usize = 49_152;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_escape_a_path_or_a_uri_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            ".a",
            "-a",
            "a/b",
            "a b",
            "a;b",
            "a\n",
            "ä",
            "*.example.com",
            &"a".repeat(65),
        ] {
            assert_eq!(Name::try_from(bad), Err(DecodeError::Invalid), "{bad:?}");
        }
        for good in ["a", "www.example.com", "A_1-b.c", &"a".repeat(64)] {
            assert!(Name::try_from(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn dns_names_are_lower_case_with_one_leading_wildcard() {
        for bad in [
            "",
            "*",
            "*.",
            "A.com",
            "a..b",
            ".a",
            "a.",
            "-a.b",
            "a-.b",
            "a.*.b",
            "**.a",
            "a_b",
            &"a".repeat(64),
        ] {
            assert_eq!(DnsName::try_from(bad), Err(DecodeError::Invalid), "{bad:?}");
        }
        for good in ["localhost", "*.example.com", "xn--bcher-kva.example", "1.2.3"] {
            assert!(DnsName::try_from(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn key_types_are_read_as_they_are_written() {
        for text in ["RSA-2048", "RSA-8192", "P-256", "P-384", "P-521", "Ed25519"] {
            assert_eq!(text.parse::<KeyType>().map(|t| t.to_string()).as_deref(), Ok(text));
        }
        for bad in ["RSA-1024", "RSA-2050", "RSA-8200", "RSA-", "P-224", ""] {
            assert!(bad.parse::<KeyType>().is_err(), "{bad}");
        }
    }

    #[test]
    fn signature_lengths_are_those_of_the_keys() {
        let lengths = ["RSA-2048", "RSA-4096", "P-256", "P-384", "P-521", "Ed25519"]
            .map(|text| text.parse::<KeyType>().unwrap().signature_len());
        assert_eq!(lengths, [256, 512, 64, 96, 132, 64]);
    }
}
