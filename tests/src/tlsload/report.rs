//! Counts, and what is made of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::attempt::{Failed, Success};

/// The result of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Why it ended.
    pub ended: Ended,
    /// When it began, in milliseconds since 1970: other programs' logs can be held against it.
    pub started_unix_ms: u128,
    /// How long it took.
    pub seconds: f64,
    /// All connections that went well.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// In the order given.
    pub endpoints: Vec<EndpointReport>,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// The time was over.
    Time,
    /// The number was reached.
    Count,
    /// Someone asked for it.
    Signal,
}

/// What happened at one endpoint.
#[derive(Debug, Default, Serialize)]
pub struct EndpointReport {
    /// As given.
    pub connect: String,
    /// Connections that went well.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// The others by kind.
    pub failed_by_kind: BTreeMap<FailureKind, u64>,
    /// Connections that went well by the SHA-256 of the key.
    pub keys: BTreeMap<String, u64>,
    /// Answers by `X-Worker:`.
    pub workers: BTreeMap<String, u64>,
    /// How long handshakes took, in microseconds, if there was one.
    pub handshake_us: Option<Quantiles>,
    /// How many went well in each tenth of a second since the start, by when they ended.
    pub ok_per_100ms: Vec<u64>,
    /// How many did not.
    pub failed_per_100ms: Vec<u64>,
    /// The first failures, 20,000 at most.
    pub failures: Vec<Failure>,
}

/// A connection that failed.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// When it ended, in milliseconds since the start.
    pub at_ms: u128,
    /// How.
    pub kind: FailureKind,
    /// What the system or the TLS library said.
    pub text: String,
}

/// Ways to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// Nobody listens.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer closed the connection too early.
    Closed,
    /// The time for one connection was over.
    Timeout,
    /// The peer sent an alert.
    Alert,
    /// Chain or name are wrong.
    Verify,
    /// Chain and name are right, but the key is not one of those expected.
    WrongKey,
    /// The peer does not speak TLS as it should.
    Protocol,
    /// An incomplete answer, or a status other than 2xx.
    Http,
    /// Anything else that the system said.
    Io,
}

/// How long handshakes took.
#[derive(Debug, Serialize)]
pub struct Quantiles {
    /// Half of them were faster.
    pub p50: u128,
    /// 99 of 100 were faster.
    pub p99: u128,
    /// The slowest.
    pub max: u128,
}

/// Counts while a run goes on.
pub(super) struct Tally {
    start: Instant,
    started: SystemTime,
    endpoints: Vec<EndpointReport>,
    took: Vec<Vec<Duration>>,
    progress: Progress,
}

struct Progress {
    next: Instant,
    ok: u64,
    failed: u64,
}

impl Tally {
    pub(super) fn new(start: Instant, endpoints: &[String]) -> Self {
        let empty = |connect: &String| EndpointReport {
            connect: connect.clone(),
            ..Default::default()
        };
        Self {
            start,
            started: SystemTime::now(),
            endpoints: endpoints.iter().map(empty).collect(),
            took: vec![Vec::new(); endpoints.len()],
            progress: Progress {
                next: start + SECOND,
                ok: 0,
                failed: 0,
            },
        }
    }

    pub(super) fn add(&mut self, endpoint: usize, result: Result<Success, Failed>) {
        let at = self.start.elapsed();
        let report = &mut self.endpoints[endpoint];
        match result {
            Ok(success) => {
                self.took[endpoint].push(success.took);
                report.ok += 1;
                count_at(&mut report.ok_per_100ms, at);
                *report.keys.entry(hex::encode(success.spki)).or_default() += 1;
                if let Some(worker) = success.worker {
                    *report.workers.entry(worker).or_default() += 1;
                }
            }
            Err(Failed { kind, text }) => {
                report.failed += 1;
                count_at(&mut report.failed_per_100ms, at);
                *report.failed_by_kind.entry(kind).or_default() += 1;
                if report.failures.len() < MAX_FAILURES {
                    report.failures.push(Failure {
                        at_ms: at.as_millis(),
                        kind,
                        text,
                    });
                }
            }
        }
    }

    /// Prints a line if a second has passed since the last.
    pub(super) fn print_progress(&mut self) {
        if Instant::now() < self.progress.next {
            return;
        }
        let (ok, failed) = self.sums();
        let Progress {
            ok: ok_before,
            failed: failed_before,
            ..
        } = self.progress;
        let seconds = self.start.elapsed().as_secs();
        eprintln!("{seconds} s: {} ok, {} failed", ok - ok_before, failed - failed_before);
        self.progress = Progress {
            next: self.progress.next + SECOND,
            ok,
            failed,
        };
    }

    pub(super) fn report(mut self, ended: Ended) -> Report {
        let (ok, failed) = self.sums();
        for (endpoint, took) in self.endpoints.iter_mut().zip(self.took) {
            endpoint.handshake_us = quantiles(took);
        }
        Report {
            ended,
            started_unix_ms: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            seconds: self.start.elapsed().as_secs_f64(),
            ok,
            failed,
            endpoints: self.endpoints,
        }
    }

    fn sums(&self) -> (u64, u64) {
        let sum = |(ok, failed), endpoint: &EndpointReport| (ok + endpoint.ok, failed + endpoint.failed);
        self.endpoints.iter().fold((0, 0), sum)
    }
}

fn count_at(counts: &mut Vec<u64>, at: Duration) {
    let slot = usize::try_from(at.as_millis() / 100).unwrap_or(0);
    if counts.len() <= slot {
        counts.resize(slot + 1, 0);
    }
    counts[slot] += 1;
}

fn quantiles(mut took: Vec<Duration>) -> Option<Quantiles> {
    took.sort_unstable();
    let at = |index: usize| took.get(index).map(Duration::as_micros);
    let last = took.len().checked_sub(1)?;
    Some(Quantiles {
        p50: at(last / 2)?,
        p99: at(last * 99 / 100)?,
        max: at(last)?,
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for endpoint in &self.endpoints {
            write!(
                f,
                "{}: {} ok, {} failed",
                endpoint.connect, endpoint.ok, endpoint.failed
            )?;
            if let Some(Quantiles { p50, p99, max }) = &endpoint.handshake_us {
                write!(f, "; handshake p50 {p50} µs, p99 {p99} µs, max {max} µs")?;
            }
            writeln!(f)?;
            for (key, count) in &endpoint.keys {
                writeln!(f, "  key {key}: {count}")?;
            }
            for (worker, count) in &endpoint.workers {
                writeln!(f, "  worker {worker}: {count}")?;
            }
            for (kind, count) in &endpoint.failed_by_kind {
                let first = endpoint.failures.iter().find(|failure| failure.kind == *kind);
                let first = first.map(|failure| format!(", first at {} ms: {}", failure.at_ms, failure.text));
                writeln!(f, "  {kind:?}: {count}{}", first.unwrap_or_default())?;
            }
        }
        writeln!(f, "{} ok, {} failed in {:.1} s", self.ok, self.failed, self.seconds)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A long outage at a high rate must not make a report of gigabytes; the counts are complete in any case.
const MAX_FAILURES: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_few_and_many() {
        assert!(quantiles(Vec::new()).is_none());
        let one = quantiles(vec![Duration::from_micros(5)]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (5, 5, 5));
        let many = quantiles((0..=1000).rev().map(Duration::from_micros).collect()).unwrap();
        assert_eq!((many.p50, many.p99, many.max), (500, 990, 1000));
    }

    #[test]
    fn failures_are_counted_by_kind_and_kept_with_their_time() {
        let mut tally = Tally::new(Instant::now(), &["a".to_owned(), "b".to_owned()]);
        tally.add(
            0,
            Ok(Success {
                took: Duration::from_millis(1),
                spki: [7; 32],
                worker: Some("12".to_owned()),
            }),
        );
        tally.add(
            1,
            Err(Failed {
                kind: FailureKind::WrongKey,
                text: "x".to_owned(),
            }),
        );
        let report = serde_json::to_value(tally.report(Ended::Count)).unwrap();
        assert_eq!(
            (&report["ok"], &report["failed"], &report["ended"]),
            (&1.into(), &1.into(), &"count".into())
        );
        assert_eq!(report["endpoints"][0]["workers"]["12"], 1);
        assert_eq!(report["endpoints"][0]["keys"][hex::encode([7; 32])], 1);
        assert_eq!(report["endpoints"][1]["failed_by_kind"]["wrong-key"], 1);
        assert_eq!(report["endpoints"][1]["failures"][0]["kind"], "wrong-key");
    }
}
