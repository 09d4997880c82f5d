//! What the administrator's commands and the agent share: the protocol of the admin socket, and the few forms that both read and
//! write.
//!
//! `enclave-tlsctl` speaks to the agent and never to the enclave. The socket is `/run/enclave-tls/admin.sock`, of mode 0660 and the
//! group `enclave-tls-admin`; the agent looks at who connects all the same ([`peer`]).

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::arithmetic_side_effects)
)]
#![deny(clippy::wildcard_enum_match_arm)]

pub mod acme;
pub mod advice;
pub mod client;
pub mod deadline;
pub mod eab;
pub mod files;
pub mod frames;
pub mod hex;
pub mod outage;
pub mod peer;
pub mod pem;
pub mod printable;
pub mod promise;
pub mod protocol;
pub mod report;
pub mod s3;
pub mod schedule;
