//! A program on a terminal, or read by a pipe, while a test disturbs what it looks at.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Lab;
use super::process;

/// It, and what it has said so far.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    /// `enclave-tlsctl` on a terminal of its own, by `script`: what it says to standard output and to standard error is one.
    pub fn on_a_terminal(lab: &Lab, arguments: &str) -> Result<Self> {
        let line = format!(
            "exec env {HEARS_INTERRUPTS} {} --socket {} {arguments}",
            lab.ctl.display(),
            lab.ctl_socket.display()
        );
        let mut command = Command::new("script");
        command.args(["-qefc", &line, "/dev/null"]);
        command
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        Self::start(command.stdin(Stdio::piped()))
    }

    /// The same, read by a pipe.
    pub fn by_a_pipe(lab: &Lab, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new("env");
        command
            .args([
                HEARS_INTERRUPTS.as_ref(),
                lab.ctl.as_os_str(),
                "--socket".as_ref(),
                lab.ctl_socket.as_os_str(),
            ])
            .args(arguments)
            .env("TERM", "xterm")
            .env_remove("NO_COLOR");
        Self::start(command.stdin(Stdio::null()))
    }

    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let input = child.stdin.take();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().context("no output")?),
            Box::new(child.stderr.take().context("no errors")?),
        ];
        for mut output in outputs {
            let said = Arc::clone(&said);
            std::thread::spawn(move || {
                let mut part = [0; 4_096];
                while let Ok(count @ 1..) = output.read(&mut part) {
                    let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                    said.extend_from_slice(part.get(..count).unwrap_or_default());
                }
            });
        }
        Ok(Self { child, input, said })
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Waits until it has said this, after what it had said before this many bytes.
    pub fn wait_for(&self, from: usize, what: &str) -> Result<()> {
        let says = || self.said().get(from..).is_some_and(|said| said.contains(what));
        process::wait_until(LIMIT, &format!("{what:?}"), says).with_context(|| self.said())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Somebody types Ctrl-C.
    pub fn type_interrupt(&mut self) -> Result<()> {
        let input = self.input.as_mut().context("it has no terminal")?;
        input.write_all(b"\x03")?;
        Ok(input.flush()?)
    }

    /// How it ended.
    pub fn ended(mut self) -> Result<ExitStatus> {
        process::wait_until(LIMIT, "its end", || matches!(self.child.try_wait(), Ok(Some(_))))?;
        Ok(self.child.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended
        drop(self.child.wait());
    }
}

/// The commands look each half second, or every two.
const LIMIT: Duration = Duration::from_secs(30);

/// What is started in the background, as these tests may be, would not hear an interrupt.
const HEARS_INTERRUPTS: &str = "--default-signal=INT";
