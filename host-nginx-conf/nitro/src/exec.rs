//! Runs a program to its end, for a bounded time and with bounded output.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

/// What a program said until it ended.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// Why there is no end to tell of.
#[derive(Debug)]
pub enum ExecError {
    /// It did not even start.
    Spawn(io::Error),
    /// It was killed at the bound.
    TimedOut {
        /// What it had said.
        stderr: Vec<u8>,
    },
    /// It was killed because it would not stop talking.
    TooMuch,
    /// The kernel would not let us wait.
    Wait(io::Error),
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn(error) => write!(f, "it does not start: {error}"),
            Self::TimedOut { stderr } => {
                let said = String::from_utf8_lossy(stderr);
                write!(f, "it did not end in time and was killed: {}", said.trim())
            }
            Self::TooMuch => f.write_str("it said more than anybody reads and was killed"),
            Self::Wait(error) => write!(f, "nobody can wait for it: {error}"),
        }
    }
}

/// Runs `command`. What it leaves running in the background may keep its end of the pipes: after its own end nobody waits for those.
pub fn run(command: &mut Command, patience: Duration) -> Result<Ended, ExecError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: at the bound all of it is killed.
        .process_group(0);
    let mut child = command.spawn().map_err(ExecError::Spawn)?;
    let ended = watch(&mut child, patience);
    if ended.is_err() {
        kill(&child);
        drop(child.wait());
    }
    ended
}

fn watch(child: &mut Child, patience: Duration) -> Result<Ended, ExecError> {
    let begun = Instant::now();
    let own = Pid::from_child(child);
    let exit = pidfd_open(own, PidfdFlags::empty()).map_err(|error| ExecError::Wait(error.into()))?;
    let mut stdout = Stream::of(child.stdout.take());
    let mut stderr = Stream::of(child.stderr.take());
    let mut over = false;
    loop {
        // After the end only what is in the pipes already.
        let left = if over {
            Duration::ZERO
        } else {
            patience.saturating_sub(begun.elapsed())
        };
        if left.is_zero() && !over {
            return Err(ExecError::TimedOut { stderr: stderr.bytes });
        }
        let [out, err, ended] = {
            let mut waited = [
                stdout.poll(&exit),
                stderr.poll(&exit),
                PollFd::new(&exit, PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).map_err(|error| ExecError::Wait(io::Error::other(error)))?;
            match poll(&mut waited, Some(&timeout)) {
                Ok(_) => waited.map(|one| !one.revents().is_empty()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(ExecError::Wait(error.into())),
            }
        };
        if out {
            stdout.take()?;
        }
        if err {
            stderr.take()?;
        }
        if over && !out && !err {
            let status = child.wait().map_err(ExecError::Wait)?;
            return Ok(Ended {
                status,
                stdout: stdout.bytes,
                stderr: stderr.bytes,
            });
        }
        over |= ended;
    }
}

/// One of the child's streams.
struct Stream<R> {
    pipe: Option<R>,
    bytes: Vec<u8>,
}

impl<R: Read + AsFd> Stream<R> {
    fn of(pipe: Option<R>) -> Self {
        Self {
            pipe,
            bytes: Vec::new(),
        }
    }

    /// A pipe that has ended is no longer asked about; its place is taken by `other`, of which nothing is asked.
    fn poll<'a>(&'a self, other: &'a impl AsFd) -> PollFd<'a> {
        match &self.pipe {
            Some(pipe) => PollFd::new(pipe, PollFlags::IN),
            None => PollFd::new(other, PollFlags::empty()),
        }
    }

    /// Reads what is there.
    fn take(&mut self) -> Result<(), ExecError> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut chunk = [0; 4096];
        let length = match pipe.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(ExecError::Wait(error)),
        };
        if length == 0 {
            self.pipe = None;
        }
        self.bytes.extend(chunk.iter().take(length));
        if self.bytes.len() > MAX_OUTPUT {
            Err(ExecError::TooMuch)
        } else {
            Ok(())
        }
    }
}

fn kill(child: &Child) {
    // It may have ended meanwhile, all of it: then there is nothing to kill. Its pid is not another's: nobody waited for it yet.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// Four enclaves are described in 4 KB; an error and its advice take 2 KB.
const MAX_OUTPUT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration) -> Result<Ended, ExecError> {
        run(Command::new("/bin/sh").args(["-c", script]), patience)
    }

    #[test]
    fn both_streams_and_the_status_are_told() {
        let ended = shell("echo out; echo err >&2; exit 3", LONG).unwrap();
        assert_eq!(ended.status.code(), Some(3));
        assert_eq!(
            (ended.stdout.as_slice(), ended.stderr.as_slice()),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }

    #[test]
    fn at_the_bound_it_is_killed_with_its_children() {
        let begun = Instant::now();
        let error = shell("echo why >&2; sleep 60.125 & wait", Duration::from_millis(300)).unwrap_err();
        assert!(
            matches!(&error, ExecError::TimedOut { stderr } if stderr == b"why\n"),
            "{error:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn what_it_leaves_behind_does_not_hold_us_up() {
        let begun = Instant::now();
        let ended = shell("setsid sleep 8.125 & echo started", LONG).unwrap();
        assert_eq!(ended.stdout, b"started\n");
        assert!(begun.elapsed() < Duration::from_secs(7));
    }

    #[test]
    fn endless_output_is_an_error() {
        assert!(matches!(shell("yes", LONG), Err(ExecError::TooMuch)));
        let long = shell("head -c 200000 /dev/zero", LONG).unwrap();
        assert_eq!(long.stdout.len(), 200_000);
    }

    #[test]
    fn a_missing_program_is_told_apart() {
        let error = run(&mut Command::new("/nonexistent/nitro-cli"), LONG).unwrap_err();
        assert!(matches!(error, ExecError::Spawn(_)), "{error:?}");
    }

    const LONG: Duration = Duration::from_secs(30);
}
