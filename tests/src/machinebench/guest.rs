//! The machine: QEMU and its vsock device, started, watched from outside, and ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::logs::Logs;
use super::memory;
use super::plan::Machine;

/// A machine that runs. It ends when this is dropped.
pub(super) struct Guest {
    dir: PathBuf,
    mebibytes: u64,
    device: Child,
    qemu: Child,
    control: UnixListener,
    pub(super) logs: Logs,
    /// Just before QEMU's process was made.
    pub(super) begun: Instant,
}

/// Seconds on a processor.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cpu {
    /// QEMU: the guest and its emulation.
    pub qemu_s: f64,
    /// The vsock device.
    pub device_s: f64,
}

impl Cpu {
    /// What was used between an earlier look and this.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            qemu_s: self.qemu_s - earlier.qemu_s,
            device_s: self.device_s - earlier.device_s,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            qemu_s: self.qemu_s + other.qemu_s,
            device_s: self.device_s + other.device_s,
        }
    }
}

impl Guest {
    /// Everything that the guest dials is there before QEMU begins.
    pub(super) fn start(machine: &Machine) -> Result<Self> {
        raise_descriptors()?;
        let dir = machine.dir.clone();
        let dialled = |port: u32| UnixListener::bind(dir.join(format!("{VM}_{port}")));
        let control = dialled(CONTROL)?;
        control.set_nonblocking(true)?;
        let logs = Logs::take(dialled(LOGS)?);
        let mut device = start(&machine.device, &dir.join("device.log"))?;
        let ready = wait(PATIENCE, || device_socket(&dir).exists());
        let begun = Instant::now();
        let qemu = if ready {
            start(&machine.qemu, &dir.join("console.log"))
        } else {
            Err(anyhow::anyhow!("the vsock device does not start"))
        };
        match qemu {
            Ok(qemu) => Ok(Self {
                dir,
                mebibytes: machine.mebibytes,
                device,
                qemu,
                control,
                logs,
                begun,
            }),
            Err(error) => {
                end(&mut device);
                Err(error)
            }
        }
    }

    /// Waits until the service dials its parent.
    pub(super) fn dialled(&mut self) -> Result<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.control.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(stream);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => sleep(PAUSE),
                Err(error) => return Err(error.into()),
            }
            self.must_run()?;
        }
        bail!("no control connection within {PATIENCE:?}: {}", self.last_words())
    }

    /// Connects to the guest's signing port; only after the guest has dialled. It opens when the service has acknowledged `ready`.
    pub(super) fn connect(&mut self) -> Result<UnixStream> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_connect() {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(PAUSE),
            }
            self.must_run()?;
        }
    }

    /// An error if the machine has ended.
    pub(super) fn must_run(&mut self) -> Result<()> {
        match self.qemu.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the machine ended ({status}): {}", self.last_words()),
        }
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Result<Cpu> {
        Ok(Cpu {
            qemu_s: seconds(self.qemu.id())?,
            device_s: seconds(self.device.id())?,
        })
    }

    /// Bytes of the guest's memory that are in use.
    pub(super) fn used(&self) -> Result<u64> {
        memory::used(self.qemu.id(), self.mebibytes)
    }

    /// Why it ended, where this is how that was seen. PID 1 says so a moment after it did.
    pub(super) fn why(&self, error: &anyhow::Error) -> String {
        sleep(LAST_WORDS);
        format!("{error:#}; {}", self.last_words())
    }

    fn last_words(&self) -> String {
        let console = fs::read(self.dir.join("console.log")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let printed = console.lines().rfind(|line| !line.trim().is_empty());
        let words = [self.logs.last(), printed.map(str::to_owned)];
        words.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    fn try_connect(&self) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(self.dir.join(VM))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // In one piece: the device takes what it reads first for all.
        stream.write_all(format!("CONNECT {SIGNING}\n").as_bytes())?;
        let mut line = String::new();
        // Not a byte beyond the line: what follows is the guest's.
        BufReader::with_capacity(1, &stream).read_line(&mut line)?;
        ensure!(line.starts_with("OK "), "refused: {line:?}");
        Ok(stream)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.qemu);
        end(&mut self.device);
    }
}

fn start(words: &[String], log: &Path) -> Result<Child> {
    let (program, arguments) = words.split_first().context("no command")?;
    let log = File::create(log)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.spawn().with_context(|| format!("cannot start {program}"))
}

/// Two of the device's for each connection, and one here. The children inherit the limit.
fn raise_descriptors() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?)
}

fn end(child: &mut Child) {
    // It has ended already where this fails.
    drop(child.kill());
    drop(child.wait());
}

fn wait(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        sleep(PAUSE);
    }
    true
}

/// Of all threads that live; those of QEMU that matter live as long as it.
fn seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        match fs::read_to_string(task?.path().join("schedstat")) {
            Ok(text) => nanoseconds += run(&text).context("no schedstat")?,
            Err(error) if error.kind() == ErrorKind::NotFound => {} // a thread that ended since
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Duration::from_nanos(nanoseconds).as_secs_f64())
}

fn run(schedstat: &str) -> Option<u64> {
    schedstat.split(' ').next()?.parse().ok()
}

fn device_socket(dir: &Path) -> PathBuf {
    dir.join("vhost.sock")
}

/// The device's socket for the host; what the guest dials has the port's number behind it.
const VM: &str = "vm.vsock";
/// The planes, as `PROTOCOL.md` gives them.
const CONTROL: u32 = 440;
const LOGS: u32 = 442;
const SIGNING: u32 = 4_430;
/// Emulation is slow where other work runs.
const PATIENCE: Duration = Duration::from_secs(30);
const LAST_WORDS: Duration = Duration::from_millis(300);
/// A boot takes a second: this is no part of it that one could see.
const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedstat_begins_with_the_time_on_a_processor() {
        assert_eq!(run("1500000000 20 3\n"), Some(1_500_000_000));
        assert_eq!(run(""), None);
        assert!(seconds(std::process::id()).is_ok_and(|used| used >= 0.0));
    }

    #[test]
    fn what_was_used_since_is_a_difference() {
        let cpu = |qemu_s, device_s| Cpu { qemu_s, device_s };
        let used = cpu(3.0, 0.5).since(cpu(1.0, 0.25));
        assert_eq!((used.qemu_s, used.device_s), (2.0, 0.25));
    }
}
