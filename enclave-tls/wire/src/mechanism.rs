//! The signature mechanisms that the signing plane carries.

use crate::codec::byte_enum;
use crate::identity::{KeyType, Usage};

byte_enum! {
    /// A mechanism, by the byte that stands for it. "Over a digest" means that the caller hashed; the others carry the whole
    /// message, and the enclave hashes.
    pub enum Mechanism {
        /// RSASSA-PKCS1-v1_5 over a DigestInfo (RFC 8017, section 9.2) of SHA-256, 384 or 512.
        RsaPkcs1 = 0x01,
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RsaPkcs1Sha256 = 0x11,
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RsaPkcs1Sha384 = 0x12,
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RsaPkcs1Sha512 = 0x13,
        /// RSASSA-PSS over a SHA-256 digest; the salt is as long as the hash, here and below.
        RsaPssDigestSha256 = 0x21,
        /// RSASSA-PSS over a SHA-384 digest.
        RsaPssDigestSha384 = 0x22,
        /// RSASSA-PSS over a SHA-512 digest.
        RsaPssDigestSha512 = 0x23,
        /// RSASSA-PSS with SHA-256.
        RsaPssSha256 = 0x31,
        /// RSASSA-PSS with SHA-384.
        RsaPssSha384 = 0x32,
        /// RSASSA-PSS with SHA-512.
        RsaPssSha512 = 0x33,
        /// ECDSA over a digest of 1 to 64 bytes.
        Ecdsa = 0x40,
        /// ECDSA with SHA-256.
        EcdsaSha256 = 0x51,
        /// ECDSA with SHA-384.
        EcdsaSha384 = 0x52,
        /// ECDSA with SHA-512.
        EcdsaSha512 = 0x53,
        /// Ed25519, pure (RFC 8032).
        Ed25519 = 0x60,
    }
}

byte_enum! {
    /// A hash function of the SHA-2 family.
    pub enum Hash {
        /// SHA-256.
        Sha256 = 0x01,
        /// SHA-384.
        Sha384 = 0x02,
        /// SHA-512.
        Sha512 = 0x03,
    }
}

impl Hash {
    /// The length of a digest, in bytes.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// What precedes a digest in a DigestInfo (RFC 8017, section 9.2, note 1).
    #[must_use]
    pub const fn digest_info_prefix(self) -> [u8; 19] {
        let (outer, oid, inner) = match self {
            Self::Sha256 => (0x31, 0x01, 0x20),
            Self::Sha384 => (0x41, 0x02, 0x30),
            Self::Sha512 => (0x51, 0x03, 0x40),
        };
        [
            0x30, outer, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, oid, 0x05, 0x00, 0x04,
            inner,
        ]
    }
}

/// What a mechanism takes as input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A DigestInfo of one of the SHA-2 family.
    DigestInfo,
    /// A digest of exactly this hash.
    Digest(Hash),
    /// A digest of 1 to 64 bytes.
    AnyDigest,
    /// The message, which the enclave hashes with this hash.
    Message(Hash),
    /// The message, which the mechanism itself hashes.
    PureMessage,
}

/// The algorithm that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    RsaPkcs1,
    /// RSASSA-PSS, MGF1 with the same hash, salt as long as the hash (RFC 8017, section 8.1).
    RsaPss,
    /// ECDSA (FIPS 186-5), r ‖ s.
    Ecdsa,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

impl Mechanism {
    /// The algorithm that signs.
    #[must_use]
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::RsaPkcs1 | Self::RsaPkcs1Sha256 | Self::RsaPkcs1Sha384 | Self::RsaPkcs1Sha512 => Scheme::RsaPkcs1,
            Self::RsaPssDigestSha256
            | Self::RsaPssDigestSha384
            | Self::RsaPssDigestSha512
            | Self::RsaPssSha256
            | Self::RsaPssSha384
            | Self::RsaPssSha512 => Scheme::RsaPss,
            Self::Ecdsa | Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512 => Scheme::Ecdsa,
            Self::Ed25519 => Scheme::Ed25519,
        }
    }

    /// What it takes as input.
    #[must_use]
    pub const fn input(self) -> Input {
        match self {
            Self::RsaPkcs1 => Input::DigestInfo,
            Self::RsaPssDigestSha256 => Input::Digest(Hash::Sha256),
            Self::RsaPssDigestSha384 => Input::Digest(Hash::Sha384),
            Self::RsaPssDigestSha512 => Input::Digest(Hash::Sha512),
            Self::Ecdsa => Input::AnyDigest,
            Self::RsaPkcs1Sha256 | Self::RsaPssSha256 | Self::EcdsaSha256 => Input::Message(Hash::Sha256),
            Self::RsaPkcs1Sha384 | Self::RsaPssSha384 | Self::EcdsaSha384 => Input::Message(Hash::Sha384),
            Self::RsaPkcs1Sha512 | Self::RsaPssSha512 | Self::EcdsaSha512 => Input::Message(Hash::Sha512),
            Self::Ed25519 => Input::PureMessage,
        }
    }

    /// Whether a key of this type and usage may sign by this mechanism at all. The message is judged apart.
    /// The module refuses locally by it, and the enclave decides by it.
    #[must_use]
    pub fn allowed_for(self, key_type: KeyType, usage: Usage) -> bool {
        let fits = match self.scheme() {
            Scheme::RsaPkcs1 | Scheme::RsaPss => matches!(key_type, KeyType::Rsa(_)),
            Scheme::Ecdsa => matches!(key_type, KeyType::P256 | KeyType::P384 | KeyType::P521),
            Scheme::Ed25519 => key_type == KeyType::Ed25519,
        };
        let carries_message = matches!(self.input(), Input::Message(_) | Input::PureMessage);
        fits && match usage {
            Usage::Digest => true,
            Usage::Tls => carries_message,
            // TLS 1.3 alone, which has no RSASSA-PKCS1-v1_5 in CertificateVerify (RFC 8446, section 4.2.3).
            Usage::TlsClient => carries_message && self.scheme() != Scheme::RsaPkcs1,
            // The service signs with it by itself, and for no client.
            Usage::AcmeAccount => false,
        }
    }
}

/// The longest input of any mechanism, in bytes.
pub const MAX_INPUT: usize = 16_384;
/// The longest digest that ECDSA takes, in bytes: SHA-512's.
pub const MAX_DIGEST: usize = 64;
/// The longest signature, in bytes: RSA-8192's.
pub const MAX_SIGNATURE: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tls_key_takes_messages_only() {
        let p256: Vec<_> = Mechanism::ALL
            .iter()
            .filter(|m| m.allowed_for(KeyType::P256, Usage::Tls))
            .map(|m| m.byte())
            .collect();
        assert_eq!(p256, [0x51, 0x52, 0x53]);
        let rsa = "RSA-2048".parse().unwrap();
        let count = |usage| Mechanism::ALL.iter().filter(|m| m.allowed_for(rsa, usage)).count();
        assert_eq!(
            (count(Usage::Tls), count(Usage::TlsClient), count(Usage::Digest)),
            (6, 3, 10)
        );
        assert_eq!(count(Usage::AcmeAccount), 0);
    }

    #[test]
    fn digest_info_prefixes_say_the_lengths_that_follow() {
        for hash in Hash::ALL {
            let prefix = hash.digest_info_prefix();
            assert_eq!(usize::from(prefix[18]), hash.digest_len());
            assert_eq!(usize::from(prefix[1]) + 2, prefix.len() + hash.digest_len());
        }
    }
}
