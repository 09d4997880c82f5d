//! Handshakes in the background while a test disturbs the servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};

use super::server::Tls;
use super::{Endpoint, Lab};
use crate::tlsload::{self, Failure, FailureKind, LoadError, Options, Report, Signature, Version};

/// Full handshakes at a rate, each verified, with an HTTP request; the answer names the worker.
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Report, LoadError>>,
}

/// How a load ended.
#[derive(Debug)]
pub struct Outcome {
    /// The counts.
    pub report: Report,
    /// When it began: the report's times count from here.
    pub began: Instant,
}

impl Load {
    /// Begins, and waits until the first handshakes are made.
    pub fn start(lab: &Lab, endpoint: &Endpoint, rate: f64) -> Result<Self> {
        Self::start_with(lab, endpoint, rate, &[&lab.key(&endpoint.key)?.id])
    }

    /// The same, where the key may be any of these, by their ids.
    pub fn start_with(lab: &Lab, endpoint: &Endpoint, rate: f64, keys: &[&str]) -> Result<Self> {
        let options = Options {
            rate: Some(rate),
            ..options(lab, endpoint, keys)?
        };
        let stop = Arc::new(AtomicBool::new(false));
        let flag = stop.clone();
        let thread = thread::spawn(move || tlsload::run(&options, &flag));
        thread::sleep(Duration::from_millis(300));
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub fn finish(self) -> Result<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        let report = self.thread.join().map_err(|_| anyhow!("the load panicked"))??;
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .as_millis()
            .saturating_sub(report.started_unix_ms);
        let began = Instant::now() - Duration::from_millis(u64::try_from(since)?);
        Ok(Outcome { report, began })
    }
}

/// Makes so many handshakes of one version, one after another; each must go well.
pub fn one_by_one(lab: &Lab, endpoint: &Endpoint, tls: Tls, count: u64) -> Result<()> {
    let options = Options {
        tls: Some(match tls {
            Tls::V12 => Version::Tls12,
            Tls::V13 => Version::Tls13,
        }),
        count: Some(count),
        concurrency: 1,
        ..options(lab, endpoint, &[&lab.key(&endpoint.key)?.id])?
    };
    let report = tlsload::run(&options, &AtomicBool::new(false))?;
    ensure!(report.ok == count && report.failed == 0, "{report:?}");
    Ok(())
}

fn options(lab: &Lab, endpoint: &Endpoint, keys: &[&str]) -> Result<Options> {
    let spki = |id: &&str| hex::decode(id)?.try_into().map_err(|_| anyhow!("not a key's id"));
    Ok(Options {
        connect: vec![endpoint.address()],
        name: endpoint.name.clone(),
        ca: lab.ca.clone(),
        spki: keys.iter().map(spki).collect::<Result<_>>()?,
        tls: None,
        sig: match lab.is_shared(endpoint) {
            false => Signature::Any,
            true if lab.key(&endpoint.key)?.kind.starts_with("RSA") => Signature::Rsa,
            true => Signature::Ecdsa,
        },
        rate: None,
        seconds: None,
        count: None,
        concurrency: CONCURRENCY,
        timeout: TIMEOUT.as_secs_f64(),
        http: Some("/".to_owned()),
        client_cert: None,
        client_key: None,
        progress: false,
    })
}

impl Outcome {
    /// No handshake failed.
    pub fn expect_none_failed(&self) -> Result<()> {
        ensure!(
            self.report.failed == 0,
            "{} of {} failed: {:?}",
            self.report.failed,
            self.count(),
            self.failures()?
        );
        Ok(())
    }

    /// How many a second went well, over the whole time.
    pub fn rate(&self) -> f64 {
        u32::try_from(self.report.ok).map_or(f64::MAX, f64::from) / self.report.seconds
    }

    /// Failures only from the beginning of an outage until a second after its end, and then everything goes well again.
    pub fn expect_bounded(&self, from: Instant, to: Instant) -> Result<()> {
        for failure in self.failures()? {
            let at = self.began + Duration::from_millis(u64::try_from(failure.at_ms)?);
            ensure!(at + CLOCKS >= from, "before the outage: {failure:?}");
            ensure!(at <= to + RECOVERY, "{:?} after its end: {failure:?}", at - to);
        }
        ensure!(self.failed_by(FailureKind::Timeout) == 0, "clients were kept waiting");
        let soon = self.between(to, to + RECOVERY, false);
        ensure!(soon > 0, "no handshake went well within {RECOVERY:?}");
        let later = self.between(to + RECOVERY, to + RECOVERY + Duration::from_secs(1), false);
        ensure!(
            later >= 20,
            "only {later} handshakes went well in the second after the recovery"
        );
        let failed_later = self.between(to + RECOVERY, to + Duration::from_secs(60), true);
        ensure!(failed_later == 0, "{failed_later} failed after the recovery");
        Ok(())
    }

    /// The failures, as far as the report keeps them.
    pub fn failures(&self) -> Result<&[Failure]> {
        let failures = &self.report.endpoints.first().context("no endpoint")?.failures;
        Ok(failures)
    }

    /// Failures of this kind.
    pub fn failed_by(&self, kind: FailureKind) -> u64 {
        self.report
            .endpoints
            .iter()
            .filter_map(|endpoint| endpoint.failed_by_kind.get(&kind))
            .sum()
    }

    /// The workers that answered.
    pub fn workers(&self) -> Vec<u32> {
        let workers = self
            .report
            .endpoints
            .iter()
            .flat_map(|endpoint| endpoint.workers.keys());
        workers.filter_map(|pid| pid.parse().ok()).collect()
    }

    /// How many went well, or failed, from one time to another, in whole tenths of a second inside it.
    pub fn between(&self, from: Instant, to: Instant, failed: bool) -> u64 {
        let tenth = |time: Instant| {
            usize::try_from(time.saturating_duration_since(self.began).as_millis() / 100).unwrap_or(usize::MAX)
        };
        let counts = self
            .report
            .endpoints
            .iter()
            .map(|e| if failed { &e.failed_per_100ms } else { &e.ok_per_100ms });
        let inside = counts.flat_map(|per| per.iter().take(tenth(to)).skip(tenth(from) + 1));
        inside.sum()
    }

    fn count(&self) -> u64 {
        self.report.ok + self.report.failed
    }
}

/// Connections at the same time.
pub const CONCURRENCY: usize = 16;
/// A connection that takes longer has failed: well above the one second after which a stalled service is an error.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Within this after the end of an outage everything goes well.
pub const RECOVERY: Duration = Duration::from_secs(1);
/// Between the time of a signal and the time in a report.
const CLOCKS: Duration = Duration::from_millis(20);
