//! Processes, by what `/proc` says of them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    let target = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no such pid")?;
    kill_process(target, signal).with_context(|| format!("cannot signal {pid}"))
}

/// Whether a process lives. A zombie does not, unless other threads of it are still ending: they have its files open and locked.
pub fn is_alive(pid: u32) -> bool {
    let is_zombie = |fields: &[String]| fields.first().is_some_and(|state| state == "Z");
    let threads = |fields: &[String]| fields.get(17).and_then(|count| count.parse::<u32>().ok());
    stat(pid).is_some_and(|fields| !is_zombie(&fields) || threads(&fields).is_some_and(|count| count > 1))
}

/// The processes whose parent is `parent`, in order.
pub fn children(parent: u32) -> Vec<u32> {
    let is_child =
        |pid: &u32| is_alive(*pid) && stat(*pid).is_some_and(|fields| fields.get(1) == Some(&parent.to_string()));
    let mut found: Vec<u32> = all().filter(is_child).collect();
    found.sort_unstable();
    found
}

/// The process that was started with exactly these words.
pub fn with_command_line(words: &[String]) -> Option<u32> {
    let wanted: String = words.iter().map(|word| format!("{word}\0")).collect();
    all().find(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == wanted.as_bytes()))
}

/// Waits until `condition` holds, and says what was waited for if it does not.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            bail!("not within {} ms: {what}", limit.as_millis());
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/PID/stat` after the name, which may itself hold anything: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(
        text.rsplit_once(')')?
            .1
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect(),
    )
}
