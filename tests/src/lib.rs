//! End-to-end tests of enclave-tls and the tools they need: [`keyscan`] looks for private keys in the memory of
//! processes, [`tlsload`] makes TLS handshakes and counts how they end, [`signbench`] measures what signatures and
//! handshakes cost, [`machinebench`] how an emulated machine's image boots and what it holds,
//! [`agentbench`] what the parent's agent takes, [`timing`] whether times tell secrets. Nothing in a release build depends on this.
#![warn(missing_docs)]

pub mod agentbench;
pub mod bridge;
pub mod keyscan;
pub mod lab;
pub mod machinebench;
pub mod signbench;
pub mod timing;
pub mod tlsload;
