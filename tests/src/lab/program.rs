//! Other programs, run to their end within a limit of time.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

/// How a program ended, and what it printed.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Both outputs, for searching.
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program with nothing on its standard input.
pub fn run(command: &mut Command) -> Result<Ran> {
    run_with_input(command, b"")
}

/// Runs a program with `input` on its standard input, and kills it if it takes more than a minute.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Ran> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", line_of(command)))?;
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has ended wants no more; its output says why.
        drop(stdin.write_all(input));
    }
    let whole = || Some((stdout.recv_timeout(LIMIT).ok()?, stderr.recv_timeout(LIMIT).ok()?));
    let Some((stdout, stderr)) = whole() else {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s", line_of(command), LIMIT.as_secs());
    };
    Ok(Ran {
        status: child.wait()?,
        stdout,
        stderr,
    })
}

/// Runs a program that must succeed, and returns its standard output.
pub fn succeed(command: &mut Command) -> Result<String> {
    succeed_with_input(command, b"")
}

/// Runs a program that must succeed, with `input` on its standard input.
pub fn succeed_with_input(command: &mut Command, input: &[u8]) -> Result<String> {
    let ran = run_with_input(command, input)?;
    ensure!(
        ran.status.success(),
        "{}: {}\n{}",
        line_of(command),
        ran.status,
        ran.printed()
    );
    Ok(ran.stdout)
}

/// The system's openssl, with no configuration of ours.
pub fn openssl() -> Command {
    let mut command = Command::new("openssl");
    command.env_remove("OPENSSL_CONF");
    command
}

/// Makes a P-256 key in a file, PKCS#8 in PEM.
pub fn new_p256(file: &Path) -> Result<()> {
    let kind = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
    succeed(openssl().args(["genpkey", "-quiet"]).args(kind).arg("-out").arg(file)).map(drop)
}

/// A program as a user that owns nothing and belongs to no group.
pub fn as_nobody(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
        .arg(program);
    command
}

fn reader(stream: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            drop(stream.read_to_end(&mut bytes)); // what came before an error is all there is
        }
        drop(sender.send(String::from_utf8_lossy(&bytes).into_owned())); // nobody waits any more: the limit was reached
    });
    receiver
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(60);
