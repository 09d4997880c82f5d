//! The CPU that processes used, to the nanosecond, and the cores that they may use.

use std::fs;
use std::io;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds that the living threads of a process have run. Of those that ended, `/proc` knows ticks of 10 ms alone, which is too coarse
/// for a slice; so whatever is measured by this must keep its threads, as services, NGINX and `signer` do.
pub(crate) fn of_process(pid: u32) -> Result<u64, CpuError> {
    let failed = |error| CpuError { pid, error };
    let mut sum = 0;
    for task in tasks(pid).map_err(failed)? {
        match fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")) {
            Ok(text) => {
                sum += text
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0)
            }
            // A thread that ended since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(sum)
}

/// The same, with the processes that it started and that live.
pub(crate) fn of_tree(pid: u32) -> Result<u64, CpuError> {
    let mut sum = of_process(pid)?;
    for task in tasks(pid).map_err(|error| CpuError { pid, error })? {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|word| word.parse().ok()) {
            // One that ended since counts no more.
            sum += of_tree(child).unwrap_or(0);
        }
    }
    Ok(sum)
}

/// Nanoseconds that this process has run, with the threads that ended: those of a slice do, and `/proc` forgets them.
pub(super) fn of_this_process() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// For how many seconds each core has been idle, to a hundredth.
pub(super) fn idle() -> Result<Vec<f64>, CpuError> {
    let failed = |error| CpuError { pid: 0, error };
    let text = fs::read_to_string("/proc/stat").map_err(failed)?;
    let cores = text
        .lines()
        .filter(|line| line.starts_with("cpu") && !line.starts_with("cpu "));
    // The fourth number; 100 ticks a second.
    let ticks = |line: &str| line.split(' ').nth(4)?.parse::<f64>().ok();
    Ok(cores.filter_map(ticks).map(|ticks| ticks / 100.0).collect())
}

/// Threads that were given cores, to be given back their own.
#[derive(Default)]
pub(crate) struct Pinned {
    before: Vec<(Pid, CpuSet)>,
}

impl Pinned {
    /// Keeps all threads of a process on one core, until this is dropped.
    pub(crate) fn pin(&mut self, pid: u32, core: usize) -> Result<(), CpuError> {
        let failed = |error| CpuError { pid, error };
        let mut only = CpuSet::new();
        only.set(core);
        for task in tasks(pid).map_err(failed)? {
            let Some(task) = i32::try_from(task).ok().and_then(Pid::from_raw) else {
                continue;
            };
            let before = sched_getaffinity(Some(task)).map_err(|error| failed(error.into()))?;
            sched_setaffinity(Some(task), &only).map_err(|error| failed(error.into()))?;
            if !self.before.iter().any(|(known, _)| *known == task) {
                self.before.push((task, before));
            }
        }
        Ok(())
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (task, cores) in &self.before {
            // Refused only if it has ended.
            let _: Result<(), _> = sched_setaffinity(Some(*task), cores);
        }
    }
}

/// A process that does not tell its times, or does not take a core.
#[derive(Debug, thiserror::Error)]
#[error("process {pid}: {error}")]
pub struct CpuError {
    pid: u32,
    #[source]
    error: io::Error,
}

pub(super) fn this_process() -> u32 {
    std::process::id()
}

fn tasks(pid: u32) -> io::Result<Vec<u32>> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn work_is_seen_in_both_clocks() {
        let me = this_process();
        let (of_process_before, own_before) = (of_process(me).unwrap(), of_this_process());
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(60) {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_millis(5)); // the kernel counts at the latest when a thread stops
        for used in [
            of_process(me).unwrap() - of_process_before,
            of_this_process() - own_before,
        ] {
            assert!(used > 5_000_000, "{used} ns");
        }
    }

    #[test]
    fn a_pinned_thread_gets_its_cores_back() {
        let cores = || sched_getaffinity(None).unwrap();
        let before = cores();
        let core = (0..CpuSet::MAX_CPU).find(|&core| before.is_set(core)).unwrap();
        let mut pinned = Pinned::default();
        pinned.pin(this_process(), core).unwrap();
        assert_eq!(cores().count(), 1);
        drop(pinned);
        assert!(cores() == before);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(of_process(u32::MAX).is_err());
    }
}
