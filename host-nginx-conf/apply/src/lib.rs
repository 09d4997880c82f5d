//! What the agent asks of `enclave-tls-apply`, the one program of the parent's side that runs as root.
//!
//! A unix socket; one request and one reply a connection, each one line of JSON. The set of requests is closed. They name
//! things of the configuration file, which the helper reads itself: nothing in a request is a path, a program or a template.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm
)]

mod client;
mod json;
mod reply;
mod request;

pub use client::{Client, ClientError};
pub use reply::{
    ClientState, Deployed, Fault, LiveCertificate, MAX_MESSAGE, Outcome, Refusal, Reply, ServerOutcome, ServerState,
    State, Step, bounded,
};
pub use request::{
    Deployment, DeploymentError, Directory, Generation, MAX_CERTIFICATES, MAX_KEEP, MAX_OBJECTS, MAX_REQUEST,
    ObjectsFile, Request,
};
