//! The parent's credentials: short-lived, pushed over the control plane, never sealed.

use zeroize::Zeroizing;

use crate::sigv4::Identity;

/// Credentials of the parent's role.
///
/// They say who asks, not what runs: what KMS releases to this enclave it releases by attestation. The parent has them too; they are
/// wiped here so that a request's secrets do not pile up.
pub struct Credentials {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    session_token: Option<Zeroizing<String>>,
    expires: i64,
}

impl Credentials {
    /// Takes credentials that expire at `expires`, in seconds since 1970, UTC. They are text that goes into headers, so that only
    /// printable ASCII is taken. A user's have no session token.
    pub fn new(
        access_key_id: String,
        secret_access_key: Zeroizing<String>,
        session_token: Option<Zeroizing<String>>,
        expires: i64,
    ) -> Result<Self, InvalidCredentials> {
        let token = session_token.as_ref().map(|token| (token.as_str(), MAX_TOKEN));
        let parts = [
            (access_key_id.as_str(), MAX_ACCESS_KEY_ID),
            (secret_access_key.as_str(), MAX_SECRET),
        ];
        if parts.into_iter().chain(token).all(|(text, max)| is_graphic(text, max)) {
            Ok(Self {
                access_key_id,
                secret_access_key,
                session_token,
                expires,
            })
        } else {
            Err(InvalidCredentials)
        }
    }

    /// Until when they may be used, in seconds since 1970, UTC.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.expires
    }

    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity {
            access_key_id: &self.access_key_id,
            secret_access_key: &self.secret_access_key,
            session_token: self.session_token.as_ref().map(|token| token.as_str()),
        }
    }
}

/// Credentials that are empty, too long, or hold what no header may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCredentials;

impl std::fmt::Display for InvalidCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("credentials are printable ASCII: an access key's id, its secret, and a session token")
    }
}

impl std::error::Error for InvalidCredentials {}

fn is_graphic(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// As IAM bounds it.
const MAX_ACCESS_KEY_ID: usize = 128;
/// Today's have 40 characters.
const MAX_SECRET: usize = 128;
/// STS names no limit; today's are under 2 KiB, and a header of this size passes.
const MAX_TOKEN: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::*;

    fn made(id: &str, secret: &str, token: &str) -> Result<(), InvalidCredentials> {
        let (secret, token) = (secret.to_owned().into(), Some(token.to_owned().into()));
        Credentials::new(id.to_owned(), secret, token, 0).map(|_| ())
    }

    #[test]
    fn what_no_header_may_hold_is_refused() {
        assert_eq!(made("AKID", "se/cret+", "token=="), Ok(()));
        let of_a_user = Credentials::new("AKID".to_owned(), "secret".to_owned().into(), None, 0);
        assert!(of_a_user.is_ok_and(|credentials| credentials.identity().session_token.is_none()));
        for (id, secret, token) in [
            ("", "s", "t"),
            ("A", "", "t"),
            ("A", "s", ""),
            ("A\r\nX: y", "s", "t"),
            ("A", "s", "t\nX: y"),
            ("A B", "s", "t"),
            ("Ä", "s", "t"),
            (&"A".repeat(129), "s", "t"),
            ("A", &"s".repeat(129), "t"),
            ("A", "s", &"t".repeat(8_193)),
        ] {
            assert_eq!(made(id, secret, token), Err(InvalidCredentials), "{id:?} {token:?}");
        }
    }
}
