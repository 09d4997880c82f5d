//! What a key may sign, by its usage. The grammar is exact: a message is signed only where all of it was understood.
//!
//! A prefix is never enough. `TLS 1.3, server CertificateVerify` shares its padding with exported authenticators, with
//! delegated credentials (RFC 9345: seven days of a key of the signer's own) and with signed HTTP exchanges.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod handshake;

use enclave_wire::mechanism::{Input, MAX_INPUT, Scheme};
use enclave_wire::{Hash, KeyType, Mechanism, Usage};

use handshake::{HandshakeMessage, Peer};

/// Whether a key of this usage and type signs `message` by `mechanism`.
///
/// For `digest` everything goes that the mechanism itself takes; its length is the mechanism's to judge.
#[must_use]
pub fn permits(usage: Usage, key_type: KeyType, mechanism: Mechanism, message: &[u8]) -> bool {
    if message.len() > MAX_INPUT || !mechanism.allowed_for(key_type, usage) {
        return false;
    }
    let signer = match usage {
        Usage::Digest => return true,
        Usage::Tls => Peer::Server,
        Usage::TlsClient => Peer::Client,
        Usage::AcmeAccount => return false,
    };
    match HandshakeMessage::parse(message) {
        Some(HandshakeMessage::CertificateVerify(peer)) => peer == signer && tls13_scheme(key_type, mechanism),
        Some(HandshakeMessage::ServerKeyExchange) => signer == Peer::Server && tls12_scheme(key_type, mechanism),
        None => false,
    }
}

/// The signature schemes of TLS 1.3 (RFC 8446, section 4.2.3): there a curve goes with one hash, and RSA with PSS.
fn tls13_scheme(key_type: KeyType, mechanism: Mechanism) -> bool {
    match key_type {
        KeyType::Rsa(_) => mechanism.scheme() == Scheme::RsaPss && hashes_itself(mechanism),
        KeyType::P256 => mechanism == Mechanism::EcdsaSha256,
        KeyType::P384 => mechanism == Mechanism::EcdsaSha384,
        KeyType::P521 => mechanism == Mechanism::EcdsaSha512,
        KeyType::Ed25519 => mechanism == Mechanism::Ed25519,
    }
}

/// The signature schemes of TLS 1.2 (RFC 5246, section 7.4.1.4.1, and RFC 8446 for PSS): any curve with any hash of SHA-2.
fn tls12_scheme(key_type: KeyType, mechanism: Mechanism) -> bool {
    match key_type {
        KeyType::Rsa(_) => matches!(mechanism.scheme(), Scheme::RsaPkcs1 | Scheme::RsaPss) && hashes_itself(mechanism),
        KeyType::P256 | KeyType::P384 | KeyType::P521 => {
            mechanism.scheme() == Scheme::Ecdsa && hashes_itself(mechanism)
        }
        KeyType::Ed25519 => mechanism == Mechanism::Ed25519,
    }
}

/// Whether the mechanism takes a message and hashes it here. A digest says nothing of what was hashed.
fn hashes_itself(mechanism: Mechanism) -> bool {
    match mechanism.input() {
        Input::Message(Hash::Sha256 | Hash::Sha384 | Hash::Sha512) => true,
        Input::DigestInfo | Input::Digest(_) | Input::AnyDigest | Input::PureMessage => false,
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets the unexpected may stop at once"
)]
mod tests;
