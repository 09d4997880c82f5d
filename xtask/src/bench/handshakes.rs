//! What a TLS handshake costs an NGINX worker: with our key through each client library, and with a key in a file.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::runner::{Group, Measured, Runner, SERVER_CORE, Subject, other_core};
use super::show::{Columns, number, ratio};
use crate::lab::{Description, Endpoint};
use crate::process;

pub(super) const TITLE: &str =
    "Full handshakes: NGINX on one core, client and service on another; no tickets, no cache; CPU in µs a handshake";

/// One group for each version of TLS and type of key.
pub(super) fn measure(runner: &Runner, lab: &Description) -> Result<Vec<Measured>> {
    let mut measured = Vec::new();
    for tls in ["1.2", "1.3"] {
        for kind in ["RSA-2048", "P-256"] {
            measured.push(runner.measure(group(lab, tls, kind)?)?);
        }
    }
    Ok(measured)
}

/// A row for each way to take the key.
pub(super) fn print(measured: &[Measured]) {
    let mut columns = Columns::new([
        "TLS",
        "key",
        "by",
        "worker",
        "service",
        "worker / file",
        "worker + service / file",
        "a second",
        "rounds",
    ]);
    for group in measured {
        for subject in &group.report.subjects {
            let mut row = group.title.clone();
            row.push(subject.name.clone());
            row.extend(cells(subject));
            columns.row(row, group);
        }
    }
    columns.print();
}

fn cells(subject: &Subject) -> [String; 5] {
    [
        number(subject.figure("cpu.worker")),
        number(subject.figure("cpu.service")),
        ratio(subject.ratio(FILE, "cpu.worker")),
        ratio(subject.ratio(FILE, "cpu")),
        subject
            .figure("rate")
            .map_or_else(String::new, |rate| format!("{rate:.0}")),
    ]
}

fn group(lab: &Description, tls: &str, kind: &str) -> Result<Group> {
    let subjects: Result<Vec<Value>> = [FILE, "engine", "provider"]
        .iter()
        .map(|via| subject(lab, tls, kind, via))
        .collect();
    Ok(Group {
        title: vec![tls.to_owned(), kind.to_owned()],
        core: Some(other_core()),
        references: vec![FILE.to_owned()],
        count_client: false,
        subjects: subjects?,
    })
}

fn subject(lab: &Description, tls: &str, kind: &str, via: &str) -> Result<Value> {
    let (endpoint, chain) = endpoint(lab, kind, via)?;
    let master = lab
        .pids
        .get(&format!("nginx-{via}"))
        .with_context(|| format!("the lab has no NGINX by {via}"))?;
    let workers = process::children(*master);
    let mut watch: Vec<Value> = workers
        .iter()
        .map(|pid| json!({ "part": "worker", "pid": pid, "core": SERVER_CORE }))
        .collect();
    if via != FILE {
        watch.push(json!({ "part": "service", "pid": lab.pids.get("service"), "core": other_core() }));
    }
    Ok(json!({
        "name": via,
        "threads": CONNECTIONS,
        "watch": watch,
        "work": {
            "kind": "handshake",
            "address": format!("{}:{}", endpoint.host, endpoint.port),
            "name": endpoint.name,
            "chain": chain,
            "tls": tls,
        },
    }))
}

/// Of a key that the lab imported: those are the same for file and service.
fn endpoint<'a>(lab: &'a Description, kind: &str, via: &str) -> Result<(&'a Endpoint, &'a std::path::Path)> {
    let found = lab
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.via == via)
        .find_map(|endpoint| {
            let key = lab.keys.iter().find(|key| key.label == endpoint.key)?;
            (key.kind == kind && key.private_key.is_some()).then_some((endpoint, key.chain.as_path()))
        });
    found.with_context(|| format!("the lab serves no imported {kind} key by {via}"))
}

/// Connections at the same time: a worker always finds the next one ready.
const CONNECTIONS: usize = 4;

/// The key in a file.
const FILE: &str = "file";
