//! The lab's service, killed, stopped and started again by a test.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::process::{self, Signal};
use super::program::run;
use super::signing::Connection;
use super::{Lab, agent};

/// Kills the service and waits until it is gone; its supervisor does nothing until [`start`]. Returns when the signal was sent.
pub fn kill(lab: &Lab) -> Result<Instant> {
    let pid = lab.service()?;
    process::signal(agent::pid(lab, "supervisor")?, Signal::STOP)?;
    let at = Instant::now();
    process::signal(pid, Signal::KILL)?;
    process::wait_until(LIMIT, "the end of the service", || !process::is_alive(pid))?;
    // Its sockets close with its last thread, which may outlive the first.
    process::wait_until(LIMIT, "the end of its signing listener", || {
        Connection::open(&lab.signing).is_err()
    })?;
    Ok(at)
}

/// Starts the service as its supervisor would, which then adopts it, and waits until its signing listener opens. Returns when.
pub fn start(lab: &Lab) -> Result<Instant> {
    let words = lab
        .commands
        .get("run-enclave")
        .context("the lab does not say how its enclave is started")?;
    let (program, arguments) = words.split_first().context("no words")?;
    let mut started = run(Command::new(program).args(arguments))?;
    // What stands around an emulated machine ends after it, and has its CID until then.
    let end = Instant::now() + LIMIT;
    while started.printed().contains("E33") && Instant::now() < end {
        sleep(Duration::from_millis(50));
        started = run(Command::new(program).args(arguments))?;
    }
    process::signal(agent::pid(lab, "supervisor")?, Signal::CONT)?;
    ensure!(started.status.success(), "no enclave: {}", started.printed());
    process::wait_until(OPENS, "its signing listener", || Connection::open(&lab.signing).is_ok())?;
    Ok(Instant::now())
}

/// A service, or another process, that does nothing until this is dropped.
pub struct Stalled {
    pid: u32,
    /// Since when.
    pub since: Instant,
}

impl Stalled {
    /// Stops the service.
    pub fn stop(lab: &Lab) -> Result<Self> {
        Self::stop_process(lab.service()?)
    }

    /// Stops another process.
    pub fn stop_process(pid: u32) -> Result<Self> {
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
/// It opens once KMS has not answered for eight seconds.
const OPENS: Duration = Duration::from_secs(60);
