//! Processor time and memory of a process.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use crate::signbench::cpu;

/// What a process has run up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Its living threads, to the nanosecond.
    living: Duration,
    /// The ended ones too, in ticks of 10 ms.
    whole: Duration,
    /// The children that it has waited for.
    children: Duration,
}

/// Processor time in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spent {
    /// Of the process itself.
    pub own_ms: f64,
    /// Of the children that it has waited for, in steps of 10.
    pub children_ms: f64,
}

impl Usage {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let stat = Stat::of(pid)?;
        Ok(Self {
            living: Duration::from_nanos(cpu::of_process(pid)?),
            whole: stat.ticks(USER)? + stat.ticks(SYSTEM)?,
            children: stat.ticks(CHILDREN_USER)? + stat.ticks(CHILDREN_SYSTEM)?,
        })
    }
}

impl Sub for Usage {
    type Output = Spent;

    /// A thread that ended is missing in the fine count, so the greater one is the better.
    fn sub(self, before: Self) -> Spent {
        let living = self.living.saturating_sub(before.living);
        let whole = self.whole.saturating_sub(before.whole);
        Spent {
            own_ms: milliseconds(living.max(whole)),
            children_ms: milliseconds(self.children.saturating_sub(before.children)),
        }
    }
}

/// What a process has in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Now.
    pub resident_kib: u64,
    /// At most since its start.
    pub peak_kib: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok())
                .with_context(|| format!("process {pid} has no {name}"))
        };
        Ok(Self {
            resident_kib: field("VmRSS:")?,
            peak_kib: field("VmHWM:")?,
        })
    }
}

/// How long ago a process began.
pub(super) fn age(pid: u32) -> Result<Duration> {
    let now = clock_gettime(ClockId::Boottime);
    let now = Duration::new(now.tv_sec.try_into()?, now.tv_nsec.try_into()?);
    Ok(now.saturating_sub(Stat::of(pid)?.ticks(STARTED)?))
}

/// The fields of `/proc/PID/stat` behind the name.
struct Stat(Vec<String>);

impl Stat {
    fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
        let (_, fields) = text.rsplit_once(')').context("no stat")?;
        Ok(Self(fields.split_whitespace().map(str::to_owned).collect()))
    }

    /// By its number in proc(5).
    fn ticks(&self, number: usize) -> Result<Duration> {
        let field = number.checked_sub(BEHIND_NAME).and_then(|at| self.0.get(at));
        let ticks: u64 = field.context("a stat without this field")?.parse()?;
        let per_second = clock_ticks_per_second();
        Ok(Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second)))
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The number of the first field behind the name.
const BEHIND_NAME: usize = 3;
const USER: usize = 14;
const SYSTEM: usize = 15;
const CHILDREN_USER: usize = 16;
const CHILDREN_SYSTEM: usize = 17;
const STARTED: usize = 22;

#[cfg(test)]
mod tests {
    use std::process::{Command, id};
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_of_a_thread_that_ended_counts() {
        let before = Usage::of(id()).unwrap();
        let work = || {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(100) {
                std::hint::spin_loop();
            }
        };
        std::thread::spawn(work).join().unwrap();
        let spent = Usage::of(id()).unwrap() - before;
        assert!(spent.own_ms > 10.0, "{spent:?}");
    }

    #[test]
    fn a_process_has_an_age_and_memory() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(age(child.id()).unwrap() < Duration::from_secs(30));
        let memory = Memory::of(id()).unwrap();
        assert!(
            memory.resident_kib > 100 && memory.peak_kib >= memory.resident_kib,
            "{memory:?}"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Usage::of(u32::MAX).is_err());
    }
}
