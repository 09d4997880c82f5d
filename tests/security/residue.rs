//! threat_47: no private key in the memory of what runs on the parent, nor in what it writes. Born keys are found by their
//! public keys alone; imported ones by every component and encoding. Two controls must find them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::keyscan::{Key, Report, Target, TargetReport, scan};
use e2e::lab::Lab;
use e2e::lab::agent;
use e2e::lab::process;
use e2e::lab::server::{Server, Tls, get};
use e2e::lab::suite::Test;

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_47_no_key_in_web_servers_and_their_workers,
    threat_47_no_key_in_the_command_that_holds_control,
    threat_47_no_key_in_logs_and_shared_memory,
    threat_47_control_the_service_holds_every_key,
    threat_47_control_an_nginx_with_the_key_in_a_file,
];

fn threat_47_no_key_in_web_servers_and_their_workers(lab: &Lab) -> Result<()> {
    lab.needs_a_process(MEMORY)?;
    let mut pids = Vec::new();
    for via in [
        "provider",
        "engine",
        "proxy",
        "httpd-provider",
        "httpd-engine",
        "haproxy",
    ] {
        let server = Server::of(lab, via);
        serve_all(lab, via)?;
        let workers = server.workers()?;
        ensure!(!workers.is_empty(), "{via} has no worker");
        pids.push(server.master()?);
        pids.extend(workers);
    }
    expect_nothing(&scan(&keys(lab)?, &processes(&pids)))
}

fn threat_47_no_key_in_the_command_that_holds_control(lab: &Lab) -> Result<()> {
    lab.needs_a_process(MEMORY)?;
    expect_nothing(&scan(&keys(lab)?, &processes(&[agent::pid(lab, "agent")?])))
}

fn threat_47_no_key_in_logs_and_shared_memory(lab: &Lab) -> Result<()> {
    lab.needs_a_process(MEMORY)?;
    let public = lab
        .keys
        .first()
        .and_then(|key| key.public_key.parent())
        .context("no keys")?;
    let module = lab.module_config()?;
    let module = module.parent().context("no directory")?;
    let places = [lab.logs.as_path(), Path::new("/dev/shm"), public, module];
    let targets: Vec<Target> = places.iter().map(|place| Target::Path(place.to_path_buf())).collect();
    let report = scan(&keys(lab)?, &targets);
    let bytes: usize = report.targets.iter().map(|target| target.bytes).sum();
    ensure!(bytes > 0, "there was nothing to look through");
    expect_nothing(&report)
}

fn threat_47_control_the_service_holds_every_key(lab: &Lab) -> Result<()> {
    lab.needs_a_process(MEMORY)?;
    let report = scan(&keys(lab)?, &processes(&[lab.service()?]));
    let service = only_target(&report)?;
    for key in &service.keys {
        ensure!(key.found, "{} was not found in the service", key.key);
    }
    Ok(())
}

/// A scan that finds nothing in the other servers must find the same keys here.
fn threat_47_control_an_nginx_with_the_key_in_a_file(lab: &Lab) -> Result<()> {
    lab.needs_a_process(MEMORY)?;
    serve_all(lab, "file")?;
    let served: BTreeSet<&str> = lab
        .endpoints
        .iter()
        .filter(|end| end.via == "file")
        .map(|end| end.key.as_str())
        .collect();
    ensure!(served.len() >= 2, "the control serves {served:?}");
    let server = Server::of(lab, "file");
    for pid in server.workers()?.into_iter().chain([server.master()?]) {
        let report = scan(&keys(lab)?, &processes(&[pid]));
        for key in &only_target(&report)?.keys {
            let wanted = served.contains(key.key.as_str());
            ensure!(
                key.found == wanted,
                "{}, which the control serves: {wanted}, was found: {}",
                key.key,
                key.found
            );
        }
    }
    let file = |label: &&str| lab.key(label).ok().and_then(|key| key.private_key.clone());
    let files: Vec<PathBuf> = served.iter().filter_map(file).collect();
    for path in files {
        let report = scan(&keys(lab)?, &[Target::Path(path.clone())]);
        ensure!(
            only_target(&report)?.keys.iter().any(|key| key.found),
            "not even in {}",
            path.display()
        );
    }
    Ok(())
}

/// Every worker has made signatures when it is looked through.
fn serve_all(lab: &Lab, via: &str) -> Result<()> {
    for endpoint in lab.endpoints.iter().filter(|endpoint| endpoint.via == via) {
        for tls in Tls::ALL {
            get(lab, endpoint, tls, &[])?;
        }
    }
    Ok(())
}

/// Born keys by their public part, imported ones by all they have.
fn keys(lab: &Lab) -> Result<Vec<Key>> {
    let read = |key: &e2e::lab::Key| -> Result<Key> {
        let found = match &key.private_key {
            Some(path) => Key::private(&key.label, &fs::read_to_string(path)?),
            None => Key::public(&key.label, &fs::read_to_string(&key.public_key)?),
        };
        found.with_context(|| key.label.clone())
    };
    lab.keys.iter().map(read).collect()
}

fn processes(pids: &[u32]) -> Vec<Target> {
    pids.iter().copied().map(Target::Process).collect()
}

/// Everything could be read, and nothing was found.
fn expect_nothing(report: &Report) -> Result<()> {
    for target in &report.targets {
        ensure!(target.error.is_none(), "{target} could not be read: {:?}", target.error);
        ensure!(target.pid.is_none_or(process::is_alive), "{target} ended");
        for key in &target.keys {
            ensure!(!key.found, "{} in {target}: {key}", key.key);
        }
    }
    ensure!(!report.targets.is_empty(), "there was nothing to look through");
    Ok(())
}

fn only_target(report: &Report) -> Result<&TargetReport> {
    let target = report.targets.first().context("no target")?;
    ensure!(
        report.targets.len() == 1 && target.error.is_none(),
        "{target} could not be read: {:?}",
        target.error
    );
    Ok(target)
}

/// Why an emulated machine is not searched. Its guest's keys are in the memory of QEMU and of the vsock device, processes of this host; what
/// web servers hold is the same in both kinds of lab.
const MEMORY: &str = "it scans the memory of processes";
