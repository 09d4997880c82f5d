//! The messages of a TLS handshake that a key may sign, read whole.

use aws_lc_rs::agreement::{self, ParsedPublicKey, UnparsedPublicKey};

/// A message that one side of a TLS handshake signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HandshakeMessage {
    /// TLS 1.3, CertificateVerify (RFC 8446, section 4.4.3).
    CertificateVerify(Peer),
    /// TLS 1.2, ServerKeyExchange of ECDHE (RFC 8422, section 5.4). The randoms before it are the peers' own choice:
    /// `SECURITY.md` says what that leaves an attacker.
    ServerKeyExchange,
}

/// The side of a handshake that signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// The server.
    Server,
    /// The client.
    Client,
}

impl HandshakeMessage {
    /// Reads `message`, all of it. The forms cannot be confused: after 64 bytes one has `T`, the other 3.
    pub(super) fn parse(message: &[u8]) -> Option<Self> {
        certificate_verify(message).or_else(|| server_key_exchange(message))
    }
}

/// 64 spaces ‖ context ‖ 0x00 ‖ transcript hash, which is as long as the cipher suite's hash: SHA-256's or SHA-384's.
pub(super) fn certificate_verify(message: &[u8]) -> Option<HandshakeMessage> {
    let signed = message.strip_prefix(&[b' '; PADDING])?;
    let (peer, transcript) = if let Some(rest) = signed.strip_prefix(SERVER_CONTEXT) {
        (Peer::Server, rest)
    } else {
        (Peer::Client, signed.strip_prefix(CLIENT_CONTEXT)?)
    };
    matches!(transcript.len(), 32 | 48).then_some(HandshakeMessage::CertificateVerify(peer))
}

/// client_random ‖ server_random ‖ named_curve(3) ‖ curve ‖ length ‖ point. Explicit curves have another type byte, and
/// finite-field parameters begin with a length, which is never 3 bytes and a known curve's point.
pub(super) fn server_key_exchange(message: &[u8]) -> Option<HandshakeMessage> {
    let (_randoms, parameters) = message.split_at_checked(RANDOMS)?;
    let [NAMED_CURVE, high, low, length, point @ ..] = parameters else {
        return None;
    };
    let group = Group::from_wire([*high, *low])?;
    (usize::from(*length) == point.len() && group.has_share(point)).then_some(HandshakeMessage::ServerKeyExchange)
}

/// A group of RFC 8422 that servers use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Secp256r1,
    Secp384r1,
    Secp521r1,
    X25519,
    X448,
}

impl Group {
    fn from_wire(code: [u8; 2]) -> Option<Self> {
        match code {
            [0x00, 0x17] => Some(Self::Secp256r1),
            [0x00, 0x18] => Some(Self::Secp384r1),
            [0x00, 0x19] => Some(Self::Secp521r1),
            [0x00, 0x1d] => Some(Self::X25519),
            [0x00, 0x1e] => Some(Self::X448),
            _ => None,
        }
    }

    /// Whether these bytes are a key share of this group. Every string of the right length is one of X25519 and X448.
    fn has_share(self, share: &[u8]) -> bool {
        match self {
            Self::Secp256r1 => share.len() == 65 && is_point(&agreement::ECDH_P256, share),
            Self::Secp384r1 => share.len() == 97 && is_point(&agreement::ECDH_P384, share),
            Self::Secp521r1 => share.len() == 133 && is_point(&agreement::ECDH_P521, share),
            Self::X25519 => share.len() == 32,
            Self::X448 => share.len() == 56,
        }
    }
}

/// Whether these bytes are an uncompressed point on the curve. The library would also take a SubjectPublicKeyInfo and the
/// hybrid form (0x06, 0x07): the first byte excludes both.
fn is_point(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    point.first() == Some(&UNCOMPRESSED) && ParsedPublicKey::try_from(UnparsedPublicKey::new(curve, point)).is_ok()
}

/// Spaces before the context string of TLS 1.3.
const PADDING: usize = 64;
const SERVER_CONTEXT: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT_CONTEXT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
/// client_random and server_random.
const RANDOMS: usize = 64;
/// ECCurveType.named_curve; explicit_prime is 1, explicit_char2 is 2.
const NAMED_CURVE: u8 = 3;
/// The first byte of an uncompressed point (SEC 1, section 2.3.3).
const UNCOMPRESSED: u8 = 4;
