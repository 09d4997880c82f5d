//! The lab's web servers: one handshake by an independent client, their processes, their reloads.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::process::{self, Signal};
use super::program::{openssl, run_with_input, succeed_with_input};
use super::{Endpoint, Files, Kind, Lab};

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// TLS 1.2
    V12,
    /// TLS 1.3
    V13,
}

impl Tls {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// `1.2` or `1.3`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// What a client saw that verified chain and name.
#[derive(Debug)]
pub struct Session {
    /// The leaf, in PEM.
    pub leaf: String,
    /// The leaf's SPKI, in PEM.
    pub spki: String,
    /// The server's signature: `RSA-PSS`, `ECDSA`, …
    pub signature: String,
    /// The worker that answered.
    pub worker: u32,
    /// The first line of its answer.
    pub body: String,
}

/// One full handshake and one request, by `openssl s_client` without any configuration of ours. Where a port shows keys of both
/// kinds, the client can verify this endpoint's alone.
pub fn get(lab: &Lab, endpoint: &Endpoint, tls: Tls, options: &[&str]) -> Result<Session> {
    let mut client = s_client(endpoint, tls);
    client
        .args([
            "-verify_return_error",
            "-verify_hostname",
            &endpoint.name,
            "-ign_eof",
            "-CAfile",
        ])
        .arg(&lab.ca);
    if lab.is_shared(endpoint) && !options.contains(&"-sigalgs") {
        let is_rsa = lab.key(&endpoint.key)?.kind.starts_with("RSA");
        client.args(["-sigalgs", if is_rsa { RSA } else { ECDSA }]);
    }
    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", endpoint.name);
    let ran = run_with_input(client.args(options), request.as_bytes())?;
    let printed = &ran.stdout;
    ensure!(
        printed.contains("Verification: OK"),
        "{endpoint}, TLS {}: not verified: {}",
        tls.name(),
        ran.stderr
    );
    ensure!(
        printed.contains(&format!("Verified peername: {}", endpoint.name)),
        "{endpoint}: another name"
    );
    ensure!(
        printed.contains(&format!("New, TLSv{}, Cipher is", tls.name())),
        "{endpoint}: not TLS {}",
        tls.name()
    );
    let begin = printed.find("-----BEGIN CERTIFICATE-----").context("no certificate")?;
    let end = printed.find(END).context("no whole certificate")? + END.len();
    let leaf = printed.get(begin..end).context("no certificate")?;
    let (_, response) = printed
        .split_once("\nHTTP/1.")
        .with_context(|| format!("{endpoint}: no response"))?;
    let (head, body) = response
        .split_once("\r\n\r\n")
        .with_context(|| format!("{endpoint}: no body"))?;
    // HAProxy writes names of fields in small letters.
    let worker =
        after(&head.to_ascii_lowercase(), "x-worker: ").with_context(|| format!("{endpoint}: no worker answered"))?;
    Ok(Session {
        leaf: leaf.to_owned(),
        spki: succeed_with_input(openssl().args(["x509", "-noout", "-pubkey"]), leaf.as_bytes())?,
        signature: after(printed, "Peer signature type: ").context("the server did not sign")?,
        worker: worker.parse()?,
        body: body.lines().next().unwrap_or_default().to_owned(),
    })
}

/// `openssl s_client` for an endpoint, that makes a full handshake and verifies nothing.
pub fn s_client(endpoint: &Endpoint, tls: Tls) -> Command {
    let mut client = openssl();
    client.args([
        "s_client",
        "-connect",
        &endpoint.address(),
        "-servername",
        &endpoint.name,
    ]);
    client.arg(if tls == Tls::V12 { "-tls1_2" } else { "-tls1_3" });
    client
}

/// One of the lab's servers, by the way in which it takes its keys.
#[derive(Debug)]
pub struct Server<'a> {
    lab: &'a Lab,
    via: &'a str,
}

impl<'a> Server<'a> {
    /// The server of this name.
    pub fn of(lab: &'a Lab, via: &'a str) -> Self {
        Self { lab, via }
    }

    fn files(&self) -> Result<&Files> {
        self.lab.files(self.via)
    }

    /// The master that runs now: a binary upgrade of NGINX changes it.
    pub fn master(&self) -> Result<u32> {
        let files = self.files()?;
        let text = std::fs::read_to_string(&files.pid_file)?;
        text.trim()
            .parse()
            .with_context(|| format!("{} holds no pid", files.pid_file.display()))
    }

    /// The workers that take connections, not those that only finish theirs. Those of httpd and HAProxy are not told apart.
    pub fn workers(&self) -> Result<Vec<u32>> {
        let children = process::children(self.master()?);
        Ok(match self.files()?.kind {
            Kind::Nginx => children
                .into_iter()
                .filter(|pid| is_titled(*pid, "nginx: worker process"))
                .collect(),
            Kind::Httpd | Kind::Haproxy => children,
        })
    }

    /// The same, once a reload that may be under way has come to its end.
    pub fn settled_workers(&self) -> Result<Vec<u32>> {
        let mut workers = self.workers()?;
        let mut since = Instant::now();
        process::wait_until(CHANGE, "the workers to stay", || {
            if let Ok(now) = self.workers()
                && now != workers
            {
                (workers, since) = (now, Instant::now());
            }
            since.elapsed() >= SETTLED
        })?;
        Ok(workers)
    }

    /// Makes handshakes, many at the same time, until each worker has answered one.
    pub fn wake_every_worker(&self, endpoint: &Endpoint, tls: Tls) -> Result<()> {
        let mut asleep = self.workers()?;
        process::wait_until(CHANGE, "each worker to answer", || {
            let answered = thread::scope(|scope| {
                let crowd: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| get(self.lab, endpoint, tls, &[])))
                    .collect();
                crowd
                    .into_iter()
                    .filter_map(|client| Some(client.join().ok()?.ok()?.worker))
                    .collect::<Vec<_>>()
            });
            asleep.retain(|worker| !answered.contains(worker));
            asleep.is_empty()
        })
    }

    /// Reloads gracefully and waits until only new workers are there.
    pub fn reload(&self) -> Result<()> {
        let old = self.workers()?;
        self.tell()?;
        let is_nginx = self.files()?.kind == Kind::Nginx;
        process::wait_until(CHANGE, "new workers after a reload", || {
            self.workers().is_ok_and(|new| {
                // httpd has as many as it needs.
                let is_whole = if is_nginx {
                    new.len() == old.len()
                } else {
                    !new.is_empty()
                };
                is_whole && new.iter().all(|pid| !old.contains(pid))
            })
        })
    }

    /// Tells the master to reload gracefully.
    pub fn tell(&self) -> Result<()> {
        let signal = match self.files()?.kind {
            Kind::Nginx => Signal::HUP,
            Kind::Httpd => Signal::USR1,
            Kind::Haproxy => Signal::USR2,
        };
        process::signal(self.master()?, signal)
    }

    /// Changes an NGINX to a new master by a binary upgrade: USR2, then QUIT to the old one when the new one has workers.
    pub fn upgrade(&self) -> Result<()> {
        let (old, count) = (self.master()?, self.workers()?.len());
        process::signal(old, Signal::USR2)?;
        process::wait_until(CHANGE, "a new master with its workers", || {
            self.master().is_ok_and(|new| new != old) && self.workers().is_ok_and(|workers| workers.len() == count)
        })?;
        process::signal(old, Signal::QUIT)?;
        process::wait_until(CHANGE, "the end of the old master", || !process::is_alive(old))
    }
}

fn is_titled(pid: u32, title: &str) -> bool {
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.trim_end_matches(['\0', ' ']) == title
}

fn after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    Some(rest.lines().next().unwrap_or_default().trim().to_owned())
}

/// A reload takes as long as the slowest of the old connections.
const CHANGE: Duration = Duration::from_secs(20);
/// Between the start of new workers and the word to older ones there are milliseconds; httpd ends one that it needs no more each second.
const SETTLED: Duration = Duration::from_millis(1_200);
const END: &str = "-----END CERTIFICATE-----";
/// For a client that verifies one kind of signature alone. With one of PKCS#1: HAProxy 2.6 shows its RSA certificate to nobody who
/// offers PSS alone.
const RSA: &str = "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256";
const ECDSA: &str = "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512";
