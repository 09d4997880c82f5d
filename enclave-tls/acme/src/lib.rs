//! An ACME client (RFC 8555) for an enclave, with renewal information (RFC 9773) and profiles.
//!
//! It has no key of its own ([`Signer`]), no connection ([`Transport`]) and no clock but the caller's. It keeps no state either:
//! an order is its URL, and whoever has that goes on where another stopped ([`Account::order_at`]).
//!
//! The caller chooses the directory, which the measured policy allows, and every URL that comes from the server must be of that
//! same host and port: so a policy that names a directory names all that the enclave speaks to. CAs that spread themselves over
//! several hosts are refused; Let's Encrypt, ACM, Google and pebble do not.
//!
//! What a server says is bounded, and what it says for people is made printable; nothing of it is believed but what the chain that
//! comes proves, and that is for the caller to verify.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod account;
mod attempts;
mod authorization;
mod certificate;
mod directory;
mod error;
mod jws;
mod link;
mod order;
mod pem;
mod problem;
mod renewal;
mod revocation;
mod server;
mod signer;
mod transport;

pub use account::{Account, Binding, Registration};
pub use authorization::{Authorization, AuthorizationState, Challenge, ChallengeKind};
pub use certificate::{Chain, Preferred};
pub use directory::{MAX_PROFILES, Meta};
pub use error::{AcmeError, Cause, LocalRefusal, ProtocolError, Step, Unavailable};
pub use order::{MAX_NAMES, NewOrder, Order, OrderState};
pub use problem::{MAX_DETAIL, MAX_SUBPROBLEMS, Problem, Subproblem};
pub use renewal::{CertId, RenewalInfo};
pub use revocation::{Reason, Revoked};
pub use server::{MAX_NONCES, Server};
pub use signer::{NoSignature, PublicKey, Signer};
pub use transport::{LIMITS, Sent, Transport};
