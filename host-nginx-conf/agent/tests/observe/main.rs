//! What the agent shows of itself: the real program on a configuration of its own, without an enclave and without its helper.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod journal;
mod metrics;
mod promtool;
mod running;
mod systemd;
