//! One machine that runs, and its end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::{Machine, VM, device_socket};
use crate::process;

/// How to boot an image.
pub(crate) struct Boot<'a> {
    pub(crate) image: &'a Path,
    /// Sockets and the console's log go here; it must be empty.
    pub(crate) dir: &'a Path,
    pub(crate) mebibytes: u32,
    pub(crate) cpus: u32,
    /// What the parent adds to the command line; nothing measures it.
    pub(crate) append: &'a str,
    /// The port on which the guest dials its parent. Where the host connects before the guest's driver is up, its device ends the one
    /// thread that it has, and no later connection comes through.
    pub(crate) knock: u32,
}

/// A running machine; it ends when this is dropped.
pub(crate) struct Guest {
    dir: PathBuf,
    vsock: Child,
    qemu: Child,
    knocked: UnixListener,
    /// What the guest dialled first.
    first: Option<UnixStream>,
}

impl Guest {
    /// Boots, and waits until the guest has dialled its parent.
    pub(crate) fn boot(machine: &Machine, boot: &Boot<'_>) -> Result<Self> {
        let mut guest = Self::start(machine, boot)?;
        guest.wait_for_knock()?;
        Ok(guest)
    }

    /// Boots a guest that may never dial this parent; then nobody may connect to it.
    pub(crate) fn start(machine: &Machine, boot: &Boot<'_>) -> Result<Self> {
        let dir = boot.dir.to_owned();
        let knocked = UnixListener::bind(dir.join(format!("{VM}_{}", boot.knock)))?;
        knocked.set_nonblocking(true)?;
        let mut vsock = start(&machine.vsock_words(&dir), &dir.join("vsock.log"))?;
        if !process::wait_until(PATIENCE, || device_socket(&dir).exists()) {
            end(&mut vsock);
            bail!("vhost-device-vsock: {}", text(&dir.join("vsock.log")));
        }
        let qemu = start(&machine.qemu_words(boot), &dir.join("console.log"));
        match qemu {
            Ok(qemu) => Ok(Self {
                dir,
                vsock,
                qemu,
                knocked,
                first: None,
            }),
            Err(error) => {
                end(&mut vsock);
                Err(error)
            }
        }
    }

    fn wait_for_knock(&mut self) -> Result<()> {
        let Self {
            qemu, knocked, first, ..
        } = self;
        process::wait_until(PATIENCE, || {
            let ended = !matches!(qemu.try_wait(), Ok(None));
            *first = knocked.accept().ok().map(|(stream, _)| stream);
            ended || first.is_some()
        });
        ensure!(self.first.is_some(), "the guest does not come up: {}", self.console());
        Ok(())
    }

    /// The connection by which the guest dialled its parent first.
    pub(crate) fn dialled(&mut self) -> Result<UnixStream> {
        let stream = self
            .first
            .take()
            .context("the guest dialled nobody, or this was asked for before")?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Whether somebody listens at a port of the guest's, at this moment. No answer at all is an error.
    pub(crate) fn listens(&self, port: u32) -> Result<bool> {
        Ok(self.dial(port)?.is_some())
    }

    /// Connects to a port of the guest; tries again while nobody listens there yet.
    pub(crate) fn connect(&mut self, port: u32, limit: Duration) -> Result<UnixStream> {
        let deadline = Instant::now() + limit;
        loop {
            match self.try_connect(port) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(limit))?;
                    return Ok(stream);
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(error.context(format!("nobody answers at port {port}: {}", self.console())));
                }
                Err(_) => sleep(Duration::from_millis(20)),
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("the machine ended ({status}): {}", self.console());
            }
        }
    }

    /// Asks with one line and reads the answer to its end.
    pub(crate) fn ask(&mut self, port: u32, question: &str) -> Result<Vec<u8>> {
        let mut stream = self.connect(port, PATIENCE)?;
        writeln!(stream, "{question}")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    /// What the guest, QEMU and the device printed.
    pub(crate) fn console(&self) -> String {
        text(&self.dir.join("console.log"))
    }

    /// Waits until the guest has ended the machine.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let ended = process::wait_until(limit, || !matches!(self.qemu.try_wait(), Ok(None)));
        ensure!(ended, "the machine does not end: {}", self.console());
        Ok(())
    }

    fn try_connect(&self, port: u32) -> Result<UnixStream> {
        self.dial(port)?.context("refused")
    }

    /// Nothing where the guest refuses.
    fn dial(&self, port: u32) -> Result<Option<UnixStream>> {
        let mut stream = UnixStream::connect(self.dir.join(VM))?;
        // A request that comes while the guest's driver starts is lost: nobody will ever answer it.
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        // In one piece: the device takes what it reads first for all.
        stream.write_all(format!("CONNECT {port}\n").as_bytes())?;
        let mut line = String::new();
        // Not more than that line: what follows is the guest's.
        BufReader::with_capacity(1, &stream).read_line(&mut line)?;
        ensure!(
            line.is_empty() || line.starts_with("OK "),
            "the device answers {line:?}"
        );
        Ok((!line.is_empty()).then_some(stream))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        end(&mut self.qemu);
        end(&mut self.vsock);
    }
}

fn start(words: &[String], log: &Path) -> Result<Child> {
    let (program, arguments) = words.split_first().context("no command")?;
    let log = File::create(log)?;
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn();
    child.with_context(|| format!("cannot start {program}"))
}

fn end(child: &mut Child) {
    // It has ended already where this fails.
    drop(child.kill());
    drop(child.wait());
}

fn text(log: &Path) -> String {
    process::text(&fs::read(log).unwrap_or_default())
}

/// Emulation is slow where other work runs.
const PATIENCE: Duration = Duration::from_secs(30);
