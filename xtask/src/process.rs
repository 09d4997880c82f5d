//! Other programs: run to their end, or started and later ended by their identity.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process that cannot be mistaken: a pid alone may be another's after a while.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot, from `/proc/PID/stat`.
    started: u64,
}

impl Identity {
    /// The process that has this pid now.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold anything; the fields after it may not.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        if fields.next()? == "Z" && !has_more_threads(pid) {
            return None; // it has ended; its parent was not told yet
        }
        Some(Self {
            pid,
            started: fields.nth(18)?.parse().ok()?,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Asks the process to end; if it does not within `patience`, ends it.
    pub(crate) fn end(&self, patience: Duration) -> Result<()> {
        for signal in [Signal::TERM, Signal::KILL] {
            self.signal(signal)?;
            if wait_until(patience, || !self.is_alive()) {
                return Ok(());
            }
        }
        bail!("process {} does not end", self.pid)
    }

    /// Sends a signal, unless the process has ended.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let pid = pid.context("no such pid")?;
        Ok(kill_process(pid, signal).or_else(|error| if self.is_alive() { Err(error) } else { Ok(()) })?)
    }
}

/// The processes whose parent is `parent`.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    processes().filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

/// Every process whose command line is `wanted`, word for word.
pub(crate) fn with_command_line<S: AsRef<OsStr>>(wanted: &[S]) -> Vec<Identity> {
    let mut line = Vec::new();
    for word in wanted {
        line.extend_from_slice(word.as_ref().as_encoded_bytes());
        line.push(0);
    }
    processes()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line))
        .filter_map(Identity::of)
        .collect()
}

/// Every process that calls itself `title…` and has a file below `dir` open.
pub(crate) fn titled_with_open_file(title: &str, dir: &Path) -> Vec<Identity> {
    let below = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|file| file.starts_with(dir));
    let opens = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|all| all.flatten().any(below));
    let wanted = |pid: &u32| command_line(*pid).starts_with(title) && opens(pid);
    processes().filter(wanted).filter_map(Identity::of).collect()
}

fn command_line(pid: u32) -> String {
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&raw).replace('\0', " ")
}

/// Runs to the end; what it printed is told only if it failed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    capture(command).map(drop)
}

/// Runs to the end and returns what it wrote to its standard output.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}{}",
            line_of(command),
            output.status,
            text(&output.stdout),
            text(&output.stderr)
        );
    }
    Ok(text(&output.stdout))
}

/// Runs to the end, whatever its exit status is.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", line_of(command)))
}

/// Runs to the end with the terminal's standard output and error.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", line_of(command)))?;
    if !status.success() {
        bail!("{}: {status}", line_of(command));
    }
    Ok(())
}

/// Whether `condition` came true in time.
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
}

pub(crate) fn line_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(OsStr::to_string_lossy));
    words.join(" ")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first thread may end before others, which hold what the process has open.
fn has_more_threads(pid: u32) -> bool {
    fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let me = Identity::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(
            !Identity {
                started: me.started + 1,
                ..me
            }
            .is_alive()
        );
    }

    #[test]
    fn a_child_is_found_and_ended() {
        let mut child = Command::new("sleep").arg("61.25").spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        let identity = Identity::of(child.id()).unwrap();
        assert!(wait_until(Duration::from_secs(5), || with_command_line(&[
            "sleep", "61.25"
        ])
        .contains(&identity)));
        identity.end(Duration::from_secs(5)).unwrap();
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }
}
