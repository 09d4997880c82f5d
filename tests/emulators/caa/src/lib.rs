//! A CA that enforces CAA, for tests: a proxy in front of an ACME server that looks at no CAA records (pebble), which refuses to
//! finalise an order where the records of one of its names do not let this account have it, by this method.
//!
//! The rules are those of RFC 8659 (tree climbing, `issue` and `issuewild`, critical properties) and RFC 8657 (`accounturi`,
//! `validationmethods`). The records come from a zone file that the test sets, not from DNS; aliases are not followed. The account is
//! the one that signs the request, whose signature the server behind verifies; URLs are the server's own, which makes them of the
//! host that a request names.
//!
//! An order that is refused stays `ready`: the server behind knows nothing of it.

#![deny(missing_docs)]

mod judge;
mod observed;
mod property;
mod proxy;
mod server;
mod upstream;
mod zone;

pub use server::{CaaServer, Options, StartError};
pub use zone::ZoneError;
