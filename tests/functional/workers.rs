//! NGINX under load while its workers change: reloads, a binary upgrade, workers killed. No handshake may fail but those
//! that a killed worker held.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::lab::Lab;
use e2e::lab::load::{CONCURRENCY, Load, Outcome};
use e2e::lab::process::{self, Signal};
use e2e::lab::server::Server;
use e2e::lab::suite::Test;
use e2e::tlsload::FailureKind;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_51_reloads_under_load_through_the_provider,
    threat_51_reloads_under_load_through_the_engine,
    upgrade_under_load_through_the_provider,
    upgrade_under_load_through_the_engine,
    workers_killed_under_load_through_the_provider,
    workers_killed_under_load_through_the_engine,
];

fn threat_51_reloads_under_load_through_the_provider(lab: &Lab) -> Result<()> {
    reloads(lab, "provider")
}

fn threat_51_reloads_under_load_through_the_engine(lab: &Lab) -> Result<()> {
    reloads(lab, "engine")
}

fn upgrade_under_load_through_the_provider(lab: &Lab) -> Result<()> {
    upgrade(lab, "provider")
}

fn upgrade_under_load_through_the_engine(lab: &Lab) -> Result<()> {
    upgrade(lab, "engine")
}

fn workers_killed_under_load_through_the_provider(lab: &Lab) -> Result<()> {
    workers_killed(lab, "provider")
}

fn workers_killed_under_load_through_the_engine(lab: &Lab) -> Result<()> {
    workers_killed(lab, "engine")
}

fn reloads(lab: &Lab, via: &str) -> Result<()> {
    let server = Server::of(lab, via);
    let loads = Loads::start(lab, via)?;
    let mut generations = vec![server.workers()?];
    for _ in 0..if lab.full { 100 } else { 10 } {
        server.reload()?;
        generations.push(server.workers()?);
        sleep(Duration::from_millis(300));
    }
    loads.finish()?.expect_none_failed_by_any_of(&generations)
}

fn upgrade(lab: &Lab, via: &str) -> Result<()> {
    let server = Server::of(lab, via);
    let loads = Loads::start(lab, via)?;
    let mut generations = vec![server.workers()?];
    for _ in 0..if lab.full { 10 } else { 1 } {
        server.upgrade()?;
        generations.push(server.workers()?);
        sleep(Duration::from_secs(1));
    }
    loads.finish()?.expect_none_failed_by_any_of(&generations)
}

fn workers_killed(lab: &Lab, via: &str) -> Result<()> {
    lab.need_not_be_emulated()?;
    let server = Server::of(lab, via);
    let (master, old) = (server.master()?, server.workers()?);
    let loads = Loads::start(lab, via)?;
    let mut kills = Vec::new();
    for &worker in &old {
        kills.push(Instant::now());
        process::signal(worker, Signal::KILL)?;
        process::wait_until(Duration::from_secs(5), "a new worker", || {
            server
                .workers()
                .is_ok_and(|now| now.len() == old.len() && !now.contains(&worker))
        })?;
        sleep(Duration::from_secs(1));
    }
    let ended = loads.finish()?;
    ensure!(server.master()? == master, "the master changed");
    let new = server.workers()?;
    ensure!(
        ended.workers().iter().any(|pid| new.contains(pid)),
        "no new worker signed: {:?}",
        ended.workers()
    );
    for outcome in &ended.0 {
        for failure in outcome.failures()? {
            let at = outcome.began + Duration::from_millis(u64::try_from(failure.at_ms)?);
            let own = kills.iter().any(|&kill| at + CLOCKS >= kill && at < kill + SOON);
            // Http: the handshake was over, the answer was not.
            let cut = matches!(
                failure.kind,
                FailureKind::Reset | FailureKind::Closed | FailureKind::Http
            );
            ensure!(own && cut, "not a killed worker's own: {failure:?}");
        }
        ensure!(
            outcome.report.failed <= u64::try_from(old.len() * CONCURRENCY)?,
            "{} failed",
            outcome.report.failed
        );
    }
    ended.expect_rate()
}

/// P-256 and RSA at the same time.
struct Loads(Vec<Load>);

impl Loads {
    fn start(lab: &Lab, via: &str) -> Result<Self> {
        let p256 = Load::start(lab, lab.lasting_endpoint(via, "P-256")?, P256_RATE)?;
        let rsa = Load::start(lab, lab.lasting_endpoint(via, "RSA-2048")?, RSA_RATE)?;
        sleep(Duration::from_millis(500));
        Ok(Self(vec![p256, rsa]))
    }

    fn finish(self) -> Result<Ended> {
        sleep(Duration::from_secs(1));
        Ok(Ended(self.0.into_iter().map(Load::finish).collect::<Result<_>>()?))
    }
}

struct Ended(Vec<Outcome>);

impl Ended {
    /// And in each generation of workers one at least was seen to sign.
    fn expect_none_failed_by_any_of(&self, generations: &[Vec<u32>]) -> Result<()> {
        for outcome in &self.0 {
            outcome.expect_none_failed()?;
        }
        let seen = self.workers();
        for generation in generations {
            ensure!(
                generation.iter().any(|pid| seen.contains(pid)),
                "none of {generation:?} signed: {seen:?}"
            );
        }
        self.expect_rate()
    }

    fn workers(&self) -> BTreeSet<u32> {
        self.0.iter().flat_map(Outcome::workers).collect()
    }

    fn expect_rate(&self) -> Result<()> {
        let rate: f64 = self.0.iter().map(Outcome::rate).sum();
        ensure!(rate >= RATE, "{rate:.0} handshakes a second");
        Ok(())
    }
}

/// Handshakes a second that must hold, through whatever happens to the workers.
const RATE: f64 = 200.0;
/// Asked for are half as many again, so that a short pause of this machine does not fail the test.
const P256_RATE: f64 = 240.0;
const RSA_RATE: f64 = 60.0;
/// A client learns of a killed worker at once.
const SOON: Duration = Duration::from_millis(500);
/// Between the time of a signal and the time in a report.
const CLOCKS: Duration = Duration::from_millis(20);
