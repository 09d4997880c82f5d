//! Keys: which are taken, and what they sign.

mod fault;
mod import;
pub(in crate::keystore) mod openssl;
mod signatures;

use super::SigningKey;

/// A private key of `tests/vectors/keys`.
macro_rules! vector {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/keys/",
            $name,
            ".der"
        ))
        .as_slice()
    };
}
use vector;

/// A key of every kind, as an administrator imports them.
fn imported_keys() -> Vec<SigningKey> {
    [
        vector!("rsa-2048"),
        vector!("p-256"),
        vector!("p-384"),
        vector!("p-521"),
        vector!("ed25519"),
    ]
    .map(|der| SigningKey::from_pkcs8(der).unwrap())
    .into()
}
