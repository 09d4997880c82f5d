//! The account's key, which is another's.

use aws_lc_rs::digest::{SHA256, digest};
use base64ct::{Base64UrlUnpadded, Encoding as _};

/// Signs for an account.
pub trait Signer: Send + Sync {
    /// The key's public half.
    fn public(&self) -> PublicKey;

    /// The ECDSA signature of `message`, `r ‖ s` in the curve's full length: with SHA-256 for P-256, with SHA-384 for P-384.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, NoSignature>;
}

/// The key did not sign: it is gone, or the library failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoSignature;

/// A public key: the two coordinates of its point, `x ‖ y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicKey {
    /// Of ES256.
    P256([u8; 64]),
    /// Of ES384.
    P384([u8; 96]),
}

impl PublicKey {
    /// The algorithm that a signature names.
    pub(crate) fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
        }
    }

    pub(crate) fn signature_len(&self) -> usize {
        match self {
            Self::P256(point) => point.len(),
            Self::P384(point) => point.len(),
        }
    }

    /// The key as JSON, in the one form that a thumbprint is made of (RFC 7638).
    pub(crate) fn jwk(&self) -> String {
        let (curve, x, y) = match self {
            Self::P256(point) => ("P-256", &point[..32], &point[32..]),
            Self::P384(point) => ("P-384", &point[..48], &point[48..]),
        };
        let (x, y) = (base64url(x), base64url(y));
        format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#)
    }

    /// What a challenge's answer names the account by.
    pub(crate) fn thumbprint(&self) -> String {
        base64url(digest(&SHA256, self.jwk().as_bytes()).as_ref())
    }
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of RFC 7515, appendix A.3; its thumbprint as Python's hashlib gives it.
    #[test]
    fn a_key_and_its_thumbprint() {
        let mut point = [0; 64];
        let (x, y) = point.split_at_mut(32);
        Base64UrlUnpadded::decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", x).unwrap();
        Base64UrlUnpadded::decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", y).unwrap();
        let key = PublicKey::P256(point);
        assert_eq!(
            key.jwk(),
            r#"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#
        );
        assert_eq!(key.thumbprint(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
        assert_eq!((key.algorithm(), key.signature_len()), ("ES256", 64));
        let key = PublicKey::P384([0; 96]);
        assert!(key.jwk().contains(r#""crv":"P-384""#) && key.jwk().contains(&"A".repeat(64)));
        assert_eq!((key.algorithm(), key.signature_len()), ("ES384", 96));
    }
}
