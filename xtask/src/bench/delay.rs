//! A service that is as far away as a real enclave: `signbench delay` passes on what clients ask at once, and each reply later.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::handshakes::DELAY_US;
use super::runner::Runner;
use crate::lab::Description;
use crate::process;

/// Ended when this is dropped.
pub(super) struct Delay {
    child: Child,
    address: String,
}

impl Delay {
    pub(super) fn start(runner: &Runner, lab: &Description) -> Result<Self> {
        // Beside the lab's other sockets of abstract names, which any user reaches, as its workers do the service.
        let address = format!("{}-far", lab.signing);
        let mut command = Command::new(runner.program());
        command.args(["delay", &address, &lab.signing, &DELAY_US.to_string()]);
        let mut child = command
            .stdin(Stdio::null())
            .spawn()
            .context("signbench does not start")?;
        let name = address.strip_prefix("unix:").context("not a unix socket")?.to_owned();
        let is_there = || std::fs::read_to_string(PROC).is_ok_and(|sockets| sockets.contains(&name));
        let is_there = process::wait_until(Duration::from_secs(10), is_there);
        ensure!(is_there && child.try_wait()?.is_none(), "nothing listens at {address}");
        Ok(Self { child, address })
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

const PROC: &str = "/proc/net/unix";
