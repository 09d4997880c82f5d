//! From nothing to a signature.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enclave_wire::KeyType;
use serde::Serialize;

use super::agent::Agent;
use super::client::{Client, Credential};
use super::guest::{Cpu, Guest};
use super::plan::Machine;

/// One boot: milliseconds since just before QEMU's process was made.
#[derive(Clone, Debug, Serialize)]
pub struct Boot {
    /// PID 1's first record was read: kernel and ramdisk are through.
    pub first_record_ms: f64,
    /// The service had dialled its parent.
    pub control_ms: f64,
    /// It had made the key.
    pub key_ms: f64,
    /// Its first signature was verified here.
    pub signature_ms: f64,
    /// Processor time until then.
    pub cpu: Cpu,
}

/// Boots a machine as far as the first signature of a new P-256 key, and ends it.
pub fn boot(machine: &Machine) -> Result<Boot> {
    let credential = Credential::new()?;
    let mut guest = Guest::start(machine)?;
    let stream = guest.dialled()?;
    let control = Instant::now();
    let mut agent = Agent::new(stream)?;
    agent.begin(&credential)?;
    let key = agent.create("lab-bench", KeyType::P256, "bench.example")?;
    let made = Instant::now();
    agent.ready()?;
    let mut client = Client::authenticate(guest.connect()?, &credential)?;
    client.sign(&key)?;
    let signed = Instant::now();
    let cpu = guest.cpu()?;
    let first = guest.logs.first().context("the guest logs nothing")?;
    let since = |moment: Instant| milliseconds(moment - guest.begun);
    Ok(Boot {
        first_record_ms: since(first),
        control_ms: since(control),
        key_ms: since(made),
        signature_ms: since(signed),
        cpu,
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
