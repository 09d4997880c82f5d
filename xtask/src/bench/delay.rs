//! A service that is as far away as a real enclave: `signbench delay` passes on what clients ask at once, and each reply later.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::handshakes::DELAY_US;
use super::runner::{Runner, other_core};
use crate::lab::Description;

/// Ended when this is dropped.
pub(super) struct Delay {
    child: Child,
    address: String,
    ping_us: f64,
}

impl Delay {
    pub(super) fn start(runner: &Runner, lab: &Description) -> Result<Self> {
        // Beside the lab's other sockets of abstract names, which any user reaches, as its workers do the service.
        let address = format!("{}-far", lab.signing);
        let mut command = Command::new(runner.program());
        command.args([
            "delay",
            &address,
            &lab.signing,
            &DELAY_US.to_string(),
            &other_core().to_string(),
        ]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut delay = Self {
            child: command.spawn().context("signbench does not start")?,
            address,
            ping_us: f64::NAN,
        };
        // Which it says once it listens.
        let mut ping = String::new();
        let said = delay.child.stdout.take().context("no output")?;
        BufReader::new(said).read_line(&mut ping)?;
        delay.ping_us = ping
            .trim()
            .parse()
            .with_context(|| format!("nothing listens at {}", delay.address))?;
        Ok(delay)
    }

    /// What an empty exchange through it takes.
    pub(super) fn ping_us(&self) -> f64 {
        self.ping_us
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
