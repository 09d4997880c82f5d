//! The service stops answering while clients come. That it dies and comes back is `service_restart.rs`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::load::{Load, RECOVERY};
use e2e::lab::server::{Server, Tls, s_client};
use e2e::lab::service::Stalled;
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_57_a_stalled_service_stalls_no_worker_of_nginx,
    threat_57_a_stalled_service_stalls_no_worker_of_httpd,
    threat_57_a_stalled_service_stalls_no_thread_of_haproxy,
];

fn threat_57_a_stalled_service_stalls_no_worker_of_nginx(lab: &Lab) -> Result<()> {
    stalled(lab, &["provider", "engine"])
}

fn threat_57_a_stalled_service_stalls_no_worker_of_httpd(lab: &Lab) -> Result<()> {
    stalled(lab, &["httpd-provider", "httpd-engine"])
}

fn threat_57_a_stalled_service_stalls_no_thread_of_haproxy(lab: &Lab) -> Result<()> {
    stalled(lab, &["haproxy"])
}

fn stalled(lab: &Lab, servers: &[&'static str]) -> Result<()> {
    let mut visited = servers
        .iter()
        .map(|via| Visited::begin(lab, via))
        .collect::<Result<Vec<_>>>()?;
    let stall = Stalled::stop(lab)?;
    let since = stall.since;
    // The first signature of each worker misses its deadline; from then on they fail at once, but for one short probe.
    sleep(FIRST_DEADLINE);
    while since.elapsed() < FIRST_DEADLINE + STALL {
        for server in &mut visited {
            server.visit()?;
        }
        // httpd ends a connection after a hundred requests.
        sleep(Duration::from_millis(50));
    }
    let resumed = stall.resume();
    sleep(RECOVERY + Duration::from_secs(2));
    for server in visited {
        let via = server.via;
        server.end(since, resumed).context(via)?;
    }
    Ok(())
}

/// A server with load, and with clients that were there before.
struct Visited<'a> {
    lab: &'a Lab,
    via: &'static str,
    workers: Vec<u32>,
    visitors: Vec<Visitor>,
    load: Load,
    requests: u32,
    slowest: Duration,
}

impl<'a> Visited<'a> {
    fn begin(lab: &'a Lab, via: &'static str) -> Result<Self> {
        let endpoint = lab.lasting_endpoint(via, "P-256")?;
        let workers = Server::of(lab, via).settled_workers()?;
        Ok(Self {
            lab,
            via,
            visitors: Visitor::of_each_worker(endpoint, &workers)?,
            workers,
            load: Load::start(lab, endpoint, LOAD)?,
            requests: 0,
            slowest: Duration::ZERO,
        })
    }

    fn visit(&mut self) -> Result<()> {
        for visitor in &mut self.visitors {
            let began = Instant::now();
            visitor.get().context(self.via)?;
            self.slowest = self.slowest.max(began.elapsed());
            self.requests += 1;
        }
        Ok(())
    }

    fn end(self, since: Instant, resumed: Instant) -> Result<()> {
        let outcome = self.load.finish()?;
        let (requests, slowest) = (self.requests, self.slowest);
        ensure!(
            requests > 20 && slowest < PROBE,
            "{requests} requests beside it, the slowest took {slowest:?}"
        );
        outcome.expect_bounded(since, resumed)?;
        let failed = outcome.between(since + FIRST_DEADLINE, resumed, true);
        // As many as come: had each waited for the deadline, there would be two a second.
        ensure!(failed >= 60, "only {failed} handshakes failed in {STALL:?}: they wait");
        // httpd may have more by now.
        let now = Server::of(self.lab, self.via).workers()?;
        ensure!(self.workers.iter().all(|worker| now.contains(worker)), "a worker died");
        Ok(())
    }
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
            // HAProxy writes names of fields in small letters.
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("x-worker", value)) => self.worker = value.parse()?,
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
const STALL: Duration = Duration::from_secs(3);
/// A signature that waits for a stalled service ends within a second; the rest is for two workers on a busy machine.
const FIRST_DEADLINE: Duration = Duration::from_millis(2_500);
/// The most that a request may wait behind a probe, which has a deadline of 50 ms.
const PROBE: Duration = Duration::from_millis(400);
