//! A strict stand-in for the ACME side of AWS Certificate Manager, for tests: endpoints, domain validations, external account
//! bindings and accounts, as the model of AWS's SDK describes them.
//!
//! What the model refuses is refused here (a required member that is missing, a pattern, a length, a value of no enumeration), and
//! so is what AWS forgives (a member that it does not know). Things take the time of some looks: an endpoint is `CREATING` before it
//! is `ACTIVE`, a domain is `VALIDATING` until its record stands in a zone. Who may call what is a list for each principal; roles
//! are not looked up. It is no ACME server: its endpoints' directory is that of a server beside it, whose account keys it hands out.
//!
//! Where AWS does not document what it answers (a state that forbids an operation, mainly), this crate chose, and refuses.

#![deny(missing_docs)]

mod acm;
mod admin;
mod config;
mod emulator;
mod error;
mod http;
mod operations;
mod shape;
mod store;

pub use acm::Count;
pub use config::{AccountKey, Config, ConfigError, Principal};
pub use emulator::{Emulator, StartError};
pub use store::Registration;
