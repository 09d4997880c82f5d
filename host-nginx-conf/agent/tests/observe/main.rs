//! What the agent shows of itself: the real program on a configuration of its own, without an enclave and without its helper.

mod journal;
mod metrics;
mod promtool;
mod running;
mod systemd;
