//! The program as a process, on the stand-in NSM: how it starts and ends, what it leaves readable, what a signature costs it, and whose
//! time it takes. What the release program does without an NSM is tested where it is built.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once"
)]

// The service's own peers, written by hand for its tests. Other parts of them are of use there.
#[path = "../../../../enclave-tls/service/tests/service/agent.rs"]
#[expect(dead_code, reason = "not all of a peer is needed here")]
mod agent;
#[path = "../../../../enclave-tls/service/tests/service/client.rs"]
#[expect(dead_code, reason = "not all of a peer is needed here")]
mod client;
#[path = "../../../../enclave-tls/service/tests/service/kept.rs"]
#[expect(dead_code, reason = "not all of a peer is needed here")]
mod kept;

mod nsm;
mod running;
mod serving;
