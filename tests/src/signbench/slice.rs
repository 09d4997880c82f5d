//! One subject for the time of one slice.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use super::cpu::{self, CpuError};
use super::stats;
use super::subject::{Subject, SubjectError, Worker};

/// Each figure by its name: `p50` and `p99` in µs, `rate` in operations a second, `cpu.PART` in µs an operation, `idle.CORE` in hundredths
/// of the slice.
pub(super) type Figures = BTreeMap<String, f64>;

/// Why a slice gave no figures.
pub(super) enum SliceError {
    Subject(SubjectError),
    Cpu(CpuError),
}

/// Runs a slice.
pub(super) fn run(subject: &mut Subject, length: Duration) -> Result<Figures, SliceError> {
    let before = Cpu::now(subject)?;
    let (begin, idle) = (Instant::now(), cpu::idle().map_err(SliceError::Cpu)?);
    let latencies = work(&mut subject.workers, begin + length).map_err(SliceError::Subject)?;
    let (took, idle_then) = (begin.elapsed(), cpu::idle().map_err(SliceError::Cpu)?);
    let after = Cpu::now(subject)?;
    let mut figures = figures(latencies, took, &before, &after);
    for (core, (before, after)) in idle.iter().zip(&idle_then).enumerate() {
        let idle = (after - before) * 100.0 / took.as_secs_f64();
        figures.insert(format!("idle.{core}"), idle);
    }
    Ok(figures)
}

/// CPU time so far, by part.
struct Cpu {
    parts: BTreeMap<String, u64>,
}

impl Cpu {
    /// Of this process and of those that the subject uses, once all have come to rest.
    fn now(subject: &Subject) -> Result<Self, SliceError> {
        // The last operation may still occupy a server; and the kernel tells a running thread's time late.
        thread::sleep(SETTLE);
        let mut parts = BTreeMap::from([(CLIENT.to_owned(), cpu::of_this_process())]);
        for watch in &subject.watch {
            *parts.entry(watch.part.clone()).or_default() += cpu::of_tree(watch.pid).map_err(SliceError::Cpu)?;
        }
        Ok(Self { parts })
    }
}

/// All workers at the same time. The nanoseconds that each operation took.
pub(super) fn work(workers: &mut [Box<dyn Worker>], end: Instant) -> Result<Vec<u32>, SubjectError> {
    if let [single] = workers {
        return single.repeat(end);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(move || worker.repeat(end)))
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            match thread.join() {
                Ok(latencies) => all.append(&mut latencies?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(all)
    })
}

fn figures(mut latencies: Vec<u32>, took: Duration, before: &Cpu, after: &Cpu) -> Figures {
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    let mut figures = Figures::new();
    figures.insert("p50".to_owned(), stats::percentile(&latencies, 50) / 1e3);
    figures.insert("p99".to_owned(), stats::percentile(&latencies, 99) / 1e3);
    figures.insert("rate".to_owned(), count / took.as_secs_f64());
    for (part, now) in &after.parts {
        let used = now.saturating_sub(before.parts.get(part).copied().unwrap_or(0));
        figures.insert(format!("cpu.{part}"), used as f64 / 1e3 / count);
    }
    figures
}

/// The part of this process.
pub(super) const CLIENT: &str = "client";

const SETTLE: Duration = Duration::from_millis(3);

#[cfg(test)]
mod tests {
    use super::*;

    struct Nap;

    impl Worker for Nap {
        fn once(&mut self) -> Result<(), SubjectError> {
            thread::sleep(Duration::from_millis(2));
            Ok(())
        }
    }

    #[test]
    fn a_slice_counts_what_all_threads_did() {
        let nap = || -> Box<dyn Worker> { Box::new(Nap) };
        let length = Duration::from_millis(40);
        let mut two = Subject {
            name: "naps".to_owned(),
            workers: vec![nap(), nap()],
            watch: Vec::new(),
        };
        let Ok(figures) = run(&mut two, length) else {
            panic!("a nap fails")
        };
        assert!(figures["p50"] >= 2000.0 && figures["p99"] >= figures["p50"]);
        assert!(figures["rate"] <= 1000.0, "two threads nap 500 times a second each");
        assert!(figures["cpu.client"] > 0.0);
    }

    #[test]
    fn a_failing_operation_ends_the_slice() {
        struct Broken;
        impl Worker for Broken {
            fn once(&mut self) -> Result<(), SubjectError> {
                Err(SubjectError::Sign)
            }
        }
        let mut subject = Subject {
            name: "broken".to_owned(),
            workers: vec![Box::new(Broken)],
            watch: Vec::new(),
        };
        assert!(matches!(
            run(&mut subject, Duration::from_millis(5)),
            Err(SliceError::Subject(SubjectError::Sign))
        ));
    }
}
