//! The processes that a master started, and which of them still run.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process: its number, and when it started, in the kernel's ticks since the boot. Both together are of one process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worker {
    pid: u32,
    started: u64,
}

impl Worker {
    /// Its number, while it runs.
    pub(crate) fn running(&self) -> Option<u32> {
        let now = Stat::of(self.pid)?;
        (now.started == self.started && now.runs).then_some(self.pid)
    }
}

/// The children of a process, as they are now. Where `/proc` says nothing there are none.
pub(crate) fn children(parent: u32) -> Vec<Worker> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let its = pids.filter_map(|pid| {
        let stat = Stat::of(pid).filter(|stat| stat.parent == parent && stat.runs)?;
        Some(Worker {
            pid,
            started: stat.started,
        })
    });
    its.take(MAX_WORKERS).collect()
}

/// When a process was started, in the kernel's ticks since the boot.
pub(crate) fn started(pid: u32) -> Option<u64> {
    Stat::of(pid).map(|stat| stat.started)
}

/// What `/proc/PID/stat` says of a process.
struct Stat {
    parent: u32,
    started: u64,
    /// It is no zombie.
    runs: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the program's name in parentheses, which may itself hold anything.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            runs: !matches!(fields.first(), Some(&("Z" | "X"))),
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// More than a server has workers, those of some reloads together.
const MAX_WORKERS: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_one_until_it_ends_and_its_number_is_not_taken_for_it() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let its = children(std::process::id());
        let worker = its.iter().find(|worker| worker.pid == child.id()).copied().unwrap();
        assert_eq!(worker.running(), Some(child.id()));
        let other = Worker {
            started: worker.started + 1,
            ..worker
        };
        assert_eq!(other.running(), None, "another process of this number");
        child.kill().unwrap();
        // It is a zombie until it is waited for.
        while worker.running().is_some() {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(worker.running(), None);
    }
}
