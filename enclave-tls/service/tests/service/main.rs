//! The service as a whole, in this process, over unix sockets: its peers are written by hand.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once"
)]

mod agent;
mod client;
mod control;
mod handshake;
mod lab;
mod listing;
mod program;
mod signing;
mod transport;
