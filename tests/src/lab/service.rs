//! The lab's service, killed, stopped and started again by a test.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::process::{self, Signal};
use super::signing::Connection;
use super::{Enclave, Lab};

/// Kills the service and waits until it is gone. Returns when the signal was sent.
pub fn kill(lab: &Lab) -> Result<Instant> {
    let pid = lab.service()?;
    let at = Instant::now();
    process::signal(pid, Signal::KILL)?;
    process::wait_until(LIMIT, "the end of the service", || !process::is_alive(pid))?;
    // Its sockets close with its last thread, which may outlive the first.
    process::wait_until(LIMIT, "the end of its signing listener", || {
        Connection::open(&lab.signing).is_err()
    })?;
    Ok(at)
}

/// Starts the service with the words of its first start, and waits until its signing listener opens. Returns when.
pub fn start(lab: &Lab) -> Result<Instant> {
    let words = lab
        .commands
        .get("service")
        .context("the lab does not say how its service was started")?;
    let (program, arguments) = words.split_first().context("no words")?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.logs.join("service.log"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    let mut child = command.spawn().context("the service does not start")?;
    process::wait_until(LIMIT, "its signing listener", || {
        // QEMU ends at once where its vsock device, which begins anew after each machine, is not ready for it.
        if lab.enclave == Enclave::Emulated && matches!(child.try_wait(), Ok(Some(_))) {
            command.spawn().into_iter().for_each(|again| child = again);
        }
        Connection::open(&lab.signing).is_ok()
    })?;
    Ok(Instant::now())
}

/// A service that does nothing, until it is dropped.
pub struct Stalled {
    pid: u32,
    /// Since when.
    pub since: Instant,
}

impl Stalled {
    /// Stops the service.
    pub fn stop(lab: &Lab) -> Result<Self> {
        let pid = lab.service()?;
        process::signal(pid, Signal::STOP)?;
        Ok(Self {
            pid,
            since: Instant::now(),
        })
    }

    /// Lets it go on. Returns when.
    pub fn resume(self) -> Instant {
        drop(self);
        Instant::now()
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        drop(process::signal(self.pid, Signal::CONT)); // if it is gone, nothing waits for it
    }
}

/// The service needs milliseconds.
const LIMIT: Duration = Duration::from_secs(15);
