//! What runs, in a file each: `enclave-ID.json`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arguments::Wanted;
use crate::lab::Lab;

/// One enclave.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Record {
    pub(crate) id: String,
    /// With the name that it was given.
    pub(crate) wanted: Wanted,
    pub(crate) measurements: Map<String, Value>,
    pub(crate) terminating: bool,
    /// The process that holds it, once there is one.
    pub(crate) holder: Option<Identity>,
    /// Its processes in the order of their start; the last one is the enclave.
    pub(crate) processes: Vec<Identity>,
    /// All of them run.
    pub(crate) started: bool,
}

impl Record {
    pub(crate) fn name(&self) -> &str {
        self.wanted.name.as_deref().unwrap_or_default()
    }

    /// Its holder is there.
    pub(crate) fn is_alive(&self) -> bool {
        self.holder.as_ref().is_some_and(Identity::is_alive)
    }

    /// The enclave itself is there, or about to end.
    pub(crate) fn runs(&self) -> bool {
        self.started && (self.terminating || self.processes.last().is_some_and(Identity::is_alive))
    }

    pub(crate) fn path(lab: &Lab, id: &str) -> PathBuf {
        lab.dir.join(format!("enclave-{id}.json"))
    }

    pub(crate) fn read(lab: &Lab, id: &str) -> Result<Self> {
        let path = Self::path(lab, id);
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self, lab: &Lab) -> Result<()> {
        let path = Self::path(lab, &self.id);
        let new = path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        Ok(fs::rename(new, path)?)
    }

    /// All that there are; those whose holder has ended leave nothing behind.
    pub(crate) fn all(lab: &Lab) -> Result<Vec<Self>> {
        let mut alive = Vec::new();
        for entry in fs::read_dir(&lab.dir)? {
            let file = entry?.file_name();
            let id = file
                .to_str()
                .and_then(|name| name.strip_prefix("enclave-")?.strip_suffix(".json"));
            let Some(id) = id else { continue };
            // It may end between the two.
            let Ok(record) = Self::read(lab, id) else { continue };
            match record.is_alive() {
                true => alive.push(record),
                false if record.holder.is_some() => record.sweep(lab),
                false => {}
            }
        }
        alive.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(alive)
    }

    /// Ends what its holder could not end any more.
    pub(crate) fn sweep(&self, lab: &Lab) {
        for process in self.processes.iter().rev() {
            process.signal(Signal::KILL);
        }
        drop(fs::remove_file(Self::path(lab, &self.id)));
    }
}

/// A process that cannot be mistaken: a pid alone may be another's after a while.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// In clock ticks since boot, from `/proc/PID/stat`.
    started: u64,
}

impl Identity {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name, in parentheses, may hold anything; the fields after it may not.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        if fields.next()? == "Z" {
            return None;
        }
        Some(Self {
            pid,
            started: fields.nth(18)?.parse().ok()?,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_alive()) {
            // It may have ended since.
            let _ = kill_process(pid, signal);
        }
    }
}
