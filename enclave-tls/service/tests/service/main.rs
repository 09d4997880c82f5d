//! The service as a whole, in this process, over unix sockets: its peers are written by hand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once"
)]

mod agent;
mod asked;
mod attest;
mod aws;
mod client;
mod control;
mod credentials;
mod handshake;
mod hostile;
mod jobs;
mod kept;
mod lab;
mod listing;
mod machine;
mod program;
mod provision;
mod regions;
mod sealed;
mod signing;
mod statistics;
mod transport;
