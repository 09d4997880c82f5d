//! Asks KMS and S3 from inside an enclave.
//!
//! The parent passes the bytes of [`Egress`], and nothing that comes from there is believed: TLS ends here, under the roots of the
//! measured policy, at the host that the key's ARN names. KMS encrypts what it answers to a key that an attestation document
//! carries ([`Attester`]); that key is made for one request and wiped after it.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod client;
pub mod cms;
mod credentials;
mod date;
mod error;
mod recipient;
pub mod sigv4;

pub use client::{Attester, Client, DataKey, Hosts, MAX_CIPHERTEXT, MAX_OBJECT, MAX_PLAINTEXT, RootsError};
pub use credentials::{Credentials, InvalidCredentials};
/// What a caller gives: the way out of the enclave, and its time.
pub use enclave_https::{BoxFuture, BoxIo, Clock, Egress, Stream};
pub use error::{ErrorName, KmsError, ReplyError, Unavailable};
