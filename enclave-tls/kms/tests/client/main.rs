//! The client against a host that answers as a test says: over TLS, in memory, on a clock that stands still.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod fake;
mod kms;
mod retries;
mod s3;
mod trust;
