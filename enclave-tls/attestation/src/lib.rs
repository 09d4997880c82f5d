//! AWS Nitro attestation documents: decoded strictly, verified against a pinned root, compared with what a caller expects.
//!
//! Three steps, each a type that only the step before can make, so that none can be left out:
//! [`SignedDocument::decode`] reads bytes, [`SignedDocument::verify`] proves who signed them, and [`Expectations::check`] decides
//! whether that is the enclave that was meant. A [`Statement`] travels beside a document and is bound by its `user_data`.
//! No I/O and no clock: the caller says what time it is.

#![deny(missing_docs)]
#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

mod cbor;
mod chain;
mod document;
mod expect;
mod nsm;
mod sign1;
mod statement;

pub use chain::ChainError;
pub use document::{Document, DocumentError, PCR_COUNT, Pcr};
pub use expect::{Expectations, Mismatch};
pub use nsm::{Bound, Nsm, NsmError, Register};
pub use sign1::{AWS_ROOT_SHA256, SignedDocument, Verified, VerifyError, decode_unsigned, sign};
pub use statement::{AttestedKey, Purpose, Statement, StatementError};
