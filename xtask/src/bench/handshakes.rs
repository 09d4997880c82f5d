//! What a TLS handshake costs an NGINX worker: with our key through each client library, with SoftHSM2's through the same, and with a
//! key in a file; and how many there are in a second when the enclave is as far away as a real one.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::delay::Delay;
use super::plot::Plot;
use super::runner::{Group, Measured, Runner, SERVER_CORE, Subject, is_ours, other_core};
use super::show::{Columns, number, ratio};
use super::signatures;
use super::softhsm::{self, SoftHsm, signing_key};
use crate::lab::peers::{Client, OfSoftHsm, Peer, Plan, Site, Token};
use crate::lab::{Description, Key, Lab};
use crate::paths::Paths;
use crate::process;
use crate::progress::title;

pub(super) const TITLE: &str =
    "Full handshakes: NGINX on one core, client and service on another; no tickets, no cache; CPU in µs a handshake";

/// Both tables.
#[derive(serde::Deserialize, serde::Serialize)]
pub(super) struct Handshakes {
    /// One group for each version of TLS and type of key.
    near: Vec<Measured>,
    /// The same, with the service's replies delayed.
    far: Vec<Measured>,
    /// What an empty exchange took over that distance.
    #[serde(default)]
    far_ping_us: Option<f64>,
}

pub(super) fn measure(paths: &Paths, lab: &Lab, runner: &Runner) -> Result<Handshakes> {
    let bench = Bench { paths, lab };
    let mut handshakes = Handshakes {
        near: Vec::new(),
        far: Vec::new(),
        far_ping_us: None,
    };
    let softhsm = bench.softhsm(runner)?;
    let theirs = Token {
        module: softhsm::MODULE.into(),
        config: None,
        softhsm: Some(OfSoftHsm {
            variables: softhsm.environment(),
            token: softhsm::TOKEN,
            pin: softhsm::PIN,
        }),
    };
    {
        let peers = bench.near_peers(&theirs)?;
        for tls in VERSIONS {
            for kind in KINDS {
                let mut group = bench.near(tls, kind, &peers)?;
                group.subjects.push(bench.sign_alone(kind, runner.signer(), &softhsm)?);
                handshakes.near.push(runner.measure(group)?);
            }
        }
    }
    let delay = Delay::start(runner, lab.description())?;
    handshakes.far_ping_us = Some(delay.ping_us());
    let peers = bench.far_peers(&delay, &theirs)?;
    for tls in VERSIONS {
        for kind in KINDS {
            handshakes
                .far
                .push(runner.measure(bench.far(tls, kind, &peers, &delay)?)?);
        }
    }
    Ok(handshakes)
}

impl Handshakes {
    /// Plots, by the ends of their files' names.
    pub(super) fn plots(&self) -> [(&'static str, String); 2] {
        let near = Plot {
            title: "CPU of NGINX's worker a full handshake, µs",
            figure: "cpu.worker",
            at_most: None,
            groups: &self.near,
        };
        let far = Plot {
            title: &format!(
                "Full handshakes a second on one core, an empty exchange with the service {DELAY_US} µs: by count of workers"
            ),
            figure: "rate",
            at_most: None,
            groups: &self.far,
        };
        [("handshakes", near.svg()), ("handshakes-far", far.svg())]
    }

    /// With the service near.
    pub(super) fn near(&self, tls: &str, kind: &str, subject: &str) -> Option<&Subject> {
        of(&self.near, &[tls, kind], subject)
    }

    /// With it far away.
    pub(super) fn far(&self, tls: &str, kind: &str, subject: &str) -> Option<&Subject> {
        of(&self.far, &[tls, kind, "far"], subject)
    }

    pub(super) fn lacks_something(&self) -> bool {
        let mut groups = self.near.iter().chain(&self.far);
        groups.any(|group| group.report.subjects.iter().any(|subject| subject.error.is_some()))
    }

    /// A row for each way to take the key.
    pub(super) fn print(&self) {
        let mut columns = Columns::new([
            "TLS",
            "key",
            "by",
            "worker",
            "service",
            "worker / file",
            "worker + service / file",
            "worker / SoftHSM2",
            "both / SoftHSM2",
            "a second",
            "idle, worker's core",
            "the other",
            "rounds",
        ]);
        for group in &self.near {
            for subject in &group.report.subjects {
                let mut row = group.title.clone();
                row.push(subject.name.clone());
                row.extend([
                    number(cpu_of_signer(subject)),
                    number(subject.figure("cpu.service")),
                    ratio(subject.ratio(Client::File.name(), "cpu.worker")),
                    ratio(subject.ratio(Client::File.name(), "cpu")),
                    ratio(subject.ratio(&on_softhsm(&subject.name), "cpu.worker")),
                    ratio(subject.ratio(&on_softhsm(&subject.name), "cpu")),
                    rate(subject),
                    percent(subject.figure("idle.0")),
                    percent(subject.figure("idle.1")),
                ]);
                columns.row(row, subject, group);
            }
        }
        columns.print();
        let ping = self
            .far_ping_us
            .map_or_else(String::new, |ping| format!(" ({ping:.0} measured)"));
        title(&format!(
            "Handshakes a second, each reply of the service held for so long that an empty exchange takes {DELAY_US} µs{ping}, \
             as over a real enclave's vsock; CPU in µs a handshake"
        ));
        let mut columns = Columns::new([
            "TLS",
            "key",
            "by",
            "workers",
            "worker",
            "service",
            "client",
            "delay",
            "a second",
            "/ file, 1 worker",
            "/ file, as many",
            "idle, worker's core",
            "the other",
            "rounds",
        ]);
        for group in &self.far {
            for subject in &group.report.subjects {
                let (by, workers) = subject.name.rsplit_once(", ").unwrap_or((&subject.name, ""));
                let mut row = group.title.iter().take(2).cloned().collect::<Vec<_>>();
                row.extend([
                    by.to_owned(),
                    workers.to_owned(),
                    number(subject.figure("cpu.worker")),
                    number(subject.figure("cpu.service")),
                    number(subject.figure("cpu.client")),
                    number(subject.figure("cpu.delay")),
                    rate(subject),
                    ratio(subject.ratio(&far_name(Client::File.name(), 1), "rate")),
                    ratio(subject.ratio(&format!("{}, {workers}", Client::File.name()), "rate")),
                    percent(subject.figure("idle.0")),
                    percent(subject.figure("idle.1")),
                ]);
                columns.row(row, subject, group);
            }
        }
        columns.print();
    }
}

struct Bench<'a> {
    paths: &'a Paths,
    lab: &'a Lab,
}

impl Bench<'_> {
    /// One of its own: the engine lists all keys, and fails at the first kind that it does not know.
    fn softhsm(&self, runner: &Runner) -> Result<SoftHsm> {
        let softhsm = SoftHsm::create(&runner.directory().join("softhsm-workers"))?;
        for key in self.their_keys()? {
            softhsm.import(&key)?;
        }
        softhsm.open_to_workers()?;
        Ok(softhsm)
    }

    fn their_keys(&self) -> Result<Vec<Key>> {
        let lab = self.lab.description();
        KINDS.iter().map(|kind| signing_key(lab, kind).cloned()).collect()
    }

    /// From files and by each client library with our keys; by each with those in SoftHSM2. The lab's own servers would write lines of each
    /// handshake, and have other keys besides.
    fn near_peers(&self, theirs: &Token) -> Result<Vec<(String, Peer)>> {
        let ours = Token::of_lab(self.lab);
        let sources = self.sources(&ours, theirs)?;
        sources.into_iter().map(|source| self.peer(source, "near", 2)).collect()
    }

    /// The same with one, two and four workers, ours through the delay.
    fn far_peers(&self, delay: &Delay, theirs: &Token) -> Result<Vec<(String, Peer)>> {
        let ours = Token::through(self.lab, "far", delay.address())?;
        let mut peers = Vec::new();
        for source in self.sources(&ours, theirs)? {
            for workers in WORKERS {
                let far = Source {
                    name: far_name(&source.name, workers),
                    keys: source.keys.clone(),
                    ..source
                };
                peers.push(self.peer(far, "far", workers)?);
            }
        }
        Ok(peers)
    }

    fn peer(&self, source: Source<'_>, place: &str, workers: usize) -> Result<(String, Peer)> {
        let plan = Plan {
            name: format!("{place}-{}", source.name.replace(", ", "-")),
            workers,
            client: source.client,
            token: source.token,
            keys: source.keys,
        };
        Ok((source.name, Peer::start(self.paths, self.lab, plan)?))
    }

    /// All ways to take the keys.
    fn sources<'t>(&self, ours: &'t Token, theirs: &'t Token) -> Result<Vec<Source<'t>>> {
        let lab = self.lab.description();
        let mut sources = Vec::new();
        for client in [Client::File, Client::Engine, Client::Provider] {
            sources.push(Source {
                name: client.name().to_owned(),
                client,
                token: ours,
                keys: keys_for(lab, client)?,
            });
        }
        for client in LIBRARIES {
            sources.push(Source {
                name: on_softhsm(client.name()),
                client,
                token: theirs,
                keys: self.their_keys()?,
            });
        }
        Ok(sources)
    }

    fn near(&self, tls: &str, kind: &str, peers: &[(String, Peer)]) -> Result<Group> {
        let service = self.lab.description().pids.get("service").copied();
        let mut subjects = Vec::new();
        for (name, peer) in peers {
            let service = service.filter(|_| is_ours(name));
            subjects.push(subject(name, tls, site(peer, kind)?, peer.pid, service)?);
        }
        let theirs = LIBRARIES.map(|client| on_softhsm(client.name()));
        Ok(Group {
            title: vec![tls.to_owned(), kind.to_owned()],
            core: Some(other_core()),
            references: [&[Client::File.name().to_owned()][..], &theirs].concat(),
            count_client: false,
            subjects,
        })
    }

    /// What SoftHSM2 itself costs whoever signs with it, at the pace that the machine has among the handshakes.
    fn sign_alone(&self, kind: &str, signer: &Path, softhsm: &SoftHsm) -> Result<Value> {
        let key = signing_key(self.lab.description(), kind)?;
        let mechanism = if kind == "P-256" { "ecdsa" } else { "rsa-pss" };
        Ok(json!({
            "name": SIGN_ALONE,
            "environment": BTreeMap::from(softhsm.environment()),
            "work": {
                "kind": "pkcs11", "signer": signer, "module": softhsm::MODULE, "token": softhsm::TOKEN, "label": key.label,
                "pin": softhsm::PIN, "mechanism": mechanism,
            },
        }))
    }

    fn far(&self, tls: &str, kind: &str, peers: &[(String, Peer)], delay: &Delay) -> Result<Group> {
        let service = self.lab.description().pids.get("service").copied();
        let mut subjects = Vec::new();
        for (name, peer) in peers {
            let service = service.filter(|_| is_ours(name));
            let mut planned = subject(name, tls, site(peer, kind)?, peer.pid, service)?;
            let watch = planned.get_mut("watch").and_then(Value::as_array_mut);
            let delayed = json!({ "part": "delay", "pid": delay.pid(), "core": other_core() });
            watch.context("nothing is watched")?.push(delayed);
            subjects.push(planned);
        }
        Ok(Group {
            title: vec![tls.to_owned(), kind.to_owned(), "far".to_owned()],
            core: Some(other_core()),
            references: WORKERS.map(|workers| far_name(Client::File.name(), workers)).into(),
            count_client: false,
            subjects,
        })
    }
}

/// A way to take the keys, and what it is called.
struct Source<'t> {
    name: String,
    client: Client,
    token: &'t Token,
    keys: Vec<Key>,
}

fn subject(name: &str, tls: &str, site: &Site, master: u32, service: Option<u32>) -> Result<Value> {
    let workers = process::children(master);
    ensure!(!workers.is_empty(), "{name} has no workers");
    let mut watch: Vec<Value> = workers
        .iter()
        .map(|pid| json!({ "part": "worker", "pid": pid, "core": SERVER_CORE }))
        .collect();
    watch.extend(service.map(|pid| json!({ "part": "service", "pid": pid, "core": other_core() })));
    Ok(json!({
        "name": name,
        // A worker always finds the next one ready.
        "threads": (workers.len() * 2).max(LEAST_CONNECTIONS),
        "watch": watch,
        "work": {
            "kind": "handshake",
            "address": format!("127.0.0.1:{}", site.port),
            "name": site.key.name,
            "chain": site.key.chain,
            "tls": tls,
        },
    }))
}

fn site<'a>(peer: &'a Peer, kind: &str) -> Result<&'a Site> {
    let mut sites = peer.sites.iter();
    sites
        .find(|site| site.key.kind == kind)
        .with_context(|| format!("no {kind} is served"))
}

/// One of each kind, for what the client library asks for.
fn keys_for(lab: &Description, client: Client) -> Result<Vec<Key>> {
    let usage = if client == Client::Engine { "digest" } else { "tls" };
    let keys = KINDS.map(|kind| imported(lab, kind, usage).cloned());
    keys.into_iter().collect()
}

/// A key that the lab imported: those are the same for file and service.
pub(super) fn imported<'a>(lab: &'a Description, kind: &str, usage: &str) -> Result<&'a Key> {
    let fits = |key: &&Key| key.kind == kind && key.usage == usage && key.origin == "imported";
    let mut keys = lab.keys.iter();
    keys.find(fits)
        .with_context(|| format!("the lab has no imported {kind} key for {usage}"))
}

/// Of the worker, or of the client that signs by itself.
fn cpu_of_signer(subject: &Subject) -> Option<f64> {
    let part = if subject.name == SIGN_ALONE {
        "cpu.client"
    } else {
        "cpu.worker"
    };
    subject.figure(part)
}

fn of<'a>(groups: &'a [Measured], title: &[&str], subject: &str) -> Option<&'a Subject> {
    let group = groups.iter().find(|group| group.title == title)?;
    group.report.subject(subject)
}

fn rate(subject: &Subject) -> String {
    subject
        .figure("rate")
        .map_or_else(String::new, |rate| format!("{rate:.0}"))
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0} %"))
}

/// The subject that takes its keys from SoftHSM2 by the same client library.
pub(super) fn on_softhsm(client: &str) -> String {
    format!("{client}, {}", signatures::SOFTHSM)
}

pub(super) fn far_name(name: &str, workers: usize) -> String {
    format!("{name}, {workers}")
}

/// `C_SignInit` and `C_Sign`, and no handshake.
pub(super) const SIGN_ALONE: &str = "SoftHSM2, C_Sign alone";
/// What takes keys from a module.
pub(super) const LIBRARIES: [Client; 2] = [Client::Engine, Client::Provider];
pub(super) const VERSIONS: [&str; 2] = ["1.2", "1.3"];
pub(super) const KINDS: [&str; 2] = ["RSA-2048", "P-256"];
/// A core.
pub(super) const WORKERS: [usize; 3] = [1, 2, 4];
const LEAST_CONNECTIONS: usize = 4;
/// What a round trip over vsock takes on a Nitro instance.
pub(super) const DELAY_US: u32 = 124;
