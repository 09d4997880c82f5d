//! The service as a whole, in this process, over unix sockets: its peers are written by hand.

mod agent;
mod client;
mod control;
mod handshake;
mod lab;
mod listing;
mod program;
mod signing;
mod transport;
