//! The service stops answering, or dies and comes back, while clients come. The last test ends the lab's born keys.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::load::{Load, Outcome};
use e2e::lab::program::succeed;
use e2e::lab::server::{Server, Tls, s_client};
use e2e::lab::service::{self, Stalled};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};
use e2e::tlsload::FailureKind;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_57_a_stalled_service_stalls_no_worker_of_the_provider,
    threat_57_a_stalled_service_stalls_no_worker_of_the_engine,
    threat_11_killed_and_restarted_under_load,
    born_keys_are_gone_after_a_restart_and_list_says_so,
];

fn threat_57_a_stalled_service_stalls_no_worker_of_the_provider(lab: &Lab) -> Result<()> {
    stalled(lab, lab.lasting_endpoint("provider", "P-256")?)
}

fn threat_57_a_stalled_service_stalls_no_worker_of_the_engine(lab: &Lab) -> Result<()> {
    stalled(lab, lab.lasting_endpoint("engine", "P-256")?)
}

fn stalled(lab: &Lab, endpoint: &Endpoint) -> Result<()> {
    let workers = Server::of(lab, &endpoint.via).workers()?;
    let mut visitors = Visitor::of_each_worker(endpoint, &workers)?;
    let load = Load::start(lab, endpoint, LOAD)?;
    let stall = Stalled::stop(lab)?;
    let since = stall.since;
    // The first signature of each worker misses its deadline; from then on they fail at once, but for one short probe.
    sleep(FIRST_DEADLINE);
    let (mut requests, mut slowest) = (0, Duration::ZERO);
    while since.elapsed() < FIRST_DEADLINE + STALL {
        for visitor in &mut visitors {
            let began = Instant::now();
            visitor.get()?;
            slowest = slowest.max(began.elapsed());
            requests += 1;
        }
        sleep(Duration::from_millis(20));
    }
    let resumed = stall.resume();
    sleep(RECOVERY + Duration::from_secs(2));
    let outcome = load.finish()?;
    ensure!(
        requests > 20 && slowest < PROBE,
        "{requests} requests beside it, the slowest took {slowest:?}"
    );
    expect_bounded(&outcome, since, resumed)?;
    let failed = outcome.between(since + FIRST_DEADLINE, resumed, true);
    // As many as come: had each waited for the deadline, there would be two a second.
    ensure!(failed >= 60, "only {failed} handshakes failed in {STALL:?}: they wait");
    ensure!(Server::of(lab, &endpoint.via).workers()? == workers, "a worker died");
    Ok(())
}

fn threat_11_killed_and_restarted_under_load(lab: &Lab) -> Result<()> {
    let servers = ["provider", "engine"].map(|via| Server::of(lab, via));
    let processes = || -> Result<Vec<_>> {
        servers
            .iter()
            .map(|server| Ok((server.master()?, server.workers()?)))
            .collect()
    };
    let before = processes()?;
    let mut loads = Vec::new();
    for via in ["provider", "engine"] {
        for kind in ["P-256", "RSA-2048"] {
            loads.push((via, Load::start(lab, lab.lasting_endpoint(via, kind)?, LOAD)?));
        }
    }
    sleep(Duration::from_secs(1));
    let killed = service::kill(lab)?;
    sleep(OUTAGE);
    let opened = service::start(lab)?;
    sleep(RECOVERY + Duration::from_secs(2));
    for (via, load) in loads {
        let outcome = load.finish()?;
        expect_bounded(&outcome, killed, opened).with_context(|| format!("by {via}"))?;
        // A dead service is an error at once: no handshake was left waiting for its return.
        let failed = outcome.between(killed, opened, true);
        ensure!(
            failed >= 20,
            "by {via}: only {failed} handshakes failed in {OUTAGE:?}: they wait"
        );
    }
    ensure!(processes()? == before, "NGINX's processes changed");
    Ok(())
}

fn born_keys_are_gone_after_a_restart_and_list_says_so(lab: &Lab) -> Result<()> {
    if lab.service()? == lab.pid("service")? {
        service::kill(lab)?;
        service::start(lab)?;
    }
    let listed = lab.ctl(&["list"])?;
    let ids = |part: &str| -> BTreeSet<String> {
        let keys = listed[part].as_array().into_iter().flatten();
        keys.filter_map(|key| key["id"].as_str()).map(str::to_owned).collect()
    };
    let (there, lost) = (ids("keys"), ids("lost"));
    for key in &lab.keys {
        let imported = key.origin == "imported";
        ensure!(
            there.contains(&key.id) == imported,
            "{} ({}) is in {there:?}",
            key.label,
            key.origin
        );
        ensure!(
            lost.contains(&key.id) != imported,
            "{} ({}) and {lost:?}",
            key.label,
            key.origin
        );
    }
    let text = succeed(lab.ctl_command()?.arg("list"))?;
    ensure!(
        text.contains("Lost when the service restarted"),
        "nothing is said of born keys: {text}"
    );
    Ok(())
}

/// Failures only from the beginning of an outage until a second after its end, and then everything goes well again.
fn expect_bounded(outcome: &Outcome, from: Instant, to: Instant) -> Result<()> {
    for failure in outcome.failures()? {
        let at = outcome.began + Duration::from_millis(u64::try_from(failure.at_ms)?);
        ensure!(at + CLOCKS >= from, "before the outage: {failure:?}");
        ensure!(at <= to + RECOVERY, "{:?} after its end: {failure:?}", at - to);
    }
    ensure!(
        outcome.failed_by(FailureKind::Timeout) == 0,
        "clients were kept waiting"
    );
    let later = outcome.between(to + RECOVERY, to + RECOVERY + Duration::from_secs(1), false);
    ensure!(
        later >= 20,
        "only {later} handshakes went well in the second after the recovery"
    );
    let failed_later = outcome.between(to + RECOVERY, to + Duration::from_secs(60), true);
    ensure!(failed_later == 0, "{failed_later} failed after the recovery");
    Ok(())
}

/// A client whose connection was made before the outage: its requests need no signature, only a worker that is free.
struct Visitor {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    name: String,
    worker: u32,
}

impl Visitor {
    /// One for each worker: connects at the same time, as often as it takes.
    fn of_each_worker(endpoint: &Endpoint, workers: &[u32]) -> Result<Vec<Self>> {
        let mut visitors: Vec<Self> = Vec::new();
        let end = Instant::now() + Duration::from_secs(20);
        while visitors.len() < workers.len() {
            ensure!(
                Instant::now() < end,
                "not every worker of {workers:?} takes a connection"
            );
            let crowd: Vec<Self> = (0..8).map(|_| Self::connect(endpoint)).collect::<Result<_>>()?;
            for mut visitor in crowd {
                visitor.get()?;
                if visitors.iter().all(|other| other.worker != visitor.worker) {
                    visitors.push(visitor);
                }
            }
        }
        Ok(visitors)
    }

    fn connect(endpoint: &Endpoint) -> Result<Self> {
        let mut client = s_client(endpoint, Tls::V13);
        client
            .args(["-quiet", "-no_ign_eof"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = client.spawn()?;
        let requests = process.stdin.take().context("no input")?;
        let answers = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self {
            process,
            requests,
            answers,
            name: endpoint.name.clone(),
            worker: 0,
        })
    }

    fn get(&mut self) -> Result<()> {
        write!(self.requests, "GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.name)?;
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            if self.answers.read_line(&mut line)? == 0 {
                bail!("the connection ended");
            }
            match line.trim_end().split_once(": ") {
                Some(("Content-Length", value)) => length = value.parse()?,
                Some(("X-Worker", value)) => self.worker = value.parse()?,
                _ if line == "\r\n" => break,
                _ => (),
            }
        }
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut self.answers, &mut body)?;
        ensure!(self.worker != 0 && length > 0, "no answer of a worker");
        Ok(())
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        drop(self.process.kill()); // it may have ended
        drop(self.process.wait());
    }
}

/// Handshakes a second at each endpoint.
const LOAD: f64 = 50.0;
const OUTAGE: Duration = Duration::from_secs(2);
const STALL: Duration = Duration::from_secs(3);
/// A signature that waits for a stalled service ends within a second; the rest is for two workers on a busy machine.
const FIRST_DEADLINE: Duration = Duration::from_millis(2_500);
/// The most that a request may wait behind a probe, which has a deadline of 50 ms.
const PROBE: Duration = Duration::from_millis(400);
/// Within this after the end of an outage everything goes well.
const RECOVERY: Duration = Duration::from_secs(1);
/// Between the time of a signal and the time in a report.
const CLOCKS: Duration = Duration::from_millis(20);
