//! The agent is killed, misled, and told to rotate, while clients make handshakes: none may fail, and no server is restarted.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::agent;
use e2e::lab::load::Load;
use e2e::lab::program::succeed;
use e2e::lab::server::{Server, Tls, get};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab, process};
use enclave_tls_admin::report::{Ask, Told};

pub(super) const TESTS: &[Test] = e2e::tests![
    killed_and_started_again_under_load,
    a_broken_configuration_leaves_the_one_in_force,
    a_credential_is_rotated_under_load,
    every_certificate_is_served_and_the_report_says_so,
    metrics_count_signatures_and_the_agent_is_ready,
    certificates_name_the_directory_that_servers_read,
];

/// The agent is in no handshake's way, and its successor adopts what runs.
fn killed_and_started_again_under_load(lab: &Lab) -> Result<()> {
    let servers = ["provider", "engine"].map(|via| Server::of(lab, via));
    let before = processes(lab, &servers)?;
    let mut loads = Vec::new();
    for endpoint in served(lab) {
        loads.push(Load::start(lab, endpoint, LOAD)?);
    }
    for _ in 0..if lab.full { 50 } else { 5 } {
        agent::kill(lab, "agent")?;
        sleep(Duration::from_millis(300));
        agent::start(lab, "agent")?;
        agent::wait_for(lab, "the service to come to the new agent", |report| {
            report.enclave.connected_since.is_some() && report.certificates.iter().all(|one| one.state == "served")
        })?;
    }
    for load in loads {
        load.finish()?.expect_none_failed()?;
    }
    ensure!(
        processes(lab, &servers)? == before,
        "a server or the service was started again"
    );
    Ok(())
}

fn a_broken_configuration_leaves_the_one_in_force(lab: &Lab) -> Result<()> {
    let text = fs::read_to_string(&lab.config)?;
    let broken = text.replace("key_type = \"p-256\"", "key_type = \"p-257\"");
    let line = 1 + text
        .lines()
        .position(|line| line.contains("key_type = \"p-256\""))
        .context("no such line")?;
    let load = Load::start(lab, served(lab).next().context("nothing is served")?, LOAD)?;
    fs::write(&lab.config, broken)?;
    agent::reload(lab)?;
    let place = format!("{}:{line}:", lab.config.display());
    let refused = agent::wait_for(lab, "the refusal", |report| {
        report
            .configuration
            .refused
            .as_ref()
            .is_some_and(|why| why.contains(&place))
    });
    fs::write(&lab.config, &text)?;
    refused?;
    let report = agent::report(lab)?;
    ensure!(
        report.certificates.iter().all(|one| one.state == "served"),
        "{report:?}"
    );
    agent::reload(lab)?;
    agent::wait_for(lab, "the configuration to be taken", |report| {
        report.configuration.refused.is_none()
    })?;
    load.finish()?.expect_none_failed()
}

/// The enclave takes both credentials until the older is taken away; then workers that still have it read the newer by themselves.
fn a_credential_is_rotated_under_load(lab: &Lab) -> Result<()> {
    let servers = ["provider", "engine"].map(|via| Server::of(lab, via));
    let before = processes(lab, &servers)?;
    let credential =
        |lab: &Lab| -> Result<Option<String>> { Ok(agent::credential_of(&agent::report(lab)?, "www-data")) };
    let older = credential(lab)?.context("the client has no credential")?;
    let mut loads = Vec::new();
    for endpoint in served(lab) {
        loads.push(Load::start(lab, endpoint, LOAD)?);
    }
    let client = "www-data".to_owned();
    ensure!(agent::ask(lab, Ask::RotateCredential { client })? == Told::Done);
    agent::wait_for(lab, "the newer credential", |report| {
        agent::credential_of(report, "www-data").is_some_and(|newer| newer != older)
    })?;
    sleep(Duration::from_secs(1));
    lab.revoke("www-data", &older)?;
    sleep(Duration::from_secs(2));
    for load in loads {
        load.finish()?.expect_none_failed()?;
    }
    ensure!(processes(lab, &servers)? == before, "a server was restarted");
    Ok(())
}

fn every_certificate_is_served_and_the_report_says_so(lab: &Lab) -> Result<()> {
    agent::wait_for(lab, "every certificate to be served", |report| {
        report.certificates.iter().all(|one| one.state == "served")
            && report.servers.iter().all(|server| server.problem.is_none())
            && report.enclave.image_matches == Some(true)
            && report.enclave.state == "running"
    })
    .map(drop)
}

/// The enclave counts, the agent shows: a handshake is one signature more of that key.
fn metrics_count_signatures_and_the_agent_is_ready(lab: &Lab) -> Result<()> {
    agent::page(lab, "/healthz")?;
    agent::page(lab, "/readyz")?;
    let endpoint = served(lab).next().context("nothing is served")?;
    let labels = format!("certificate=\"{}\"", endpoint.key);
    let signed = |page: &str| agent::metric(page, "enclave_tls_signatures_total", &labels).unwrap_or_default();
    let before = signed(&agent::page(lab, "/metrics")?);
    for _ in 0..5 {
        get(lab, endpoint, Tls::V13, &[])?;
    }
    process::wait_until(Duration::from_secs(10), "five signatures more", || {
        agent::page(lab, "/metrics").is_ok_and(|page| signed(&page) >= before + 5.0)
    })?;
    let page = agent::page(lab, "/metrics")?;
    for name in [
        "enclave_tls_signing_execution_seconds_count",
        "enclave_tls_certificate_not_after_timestamp_seconds",
        "enclave_tls_attestation_age_seconds",
        "enclave_tls_egress_sent_bytes_total",
        "enclave_tls_log_records_dropped_total",
        "process_resident_memory_bytes",
    ] {
        ensure!(agent::metric(&page, name, "").is_some(), "no {name}: {page}");
    }
    Ok(())
}

/// The helper's own, which in a lab is not that of packages.
fn certificates_name_the_directory_that_servers_read(lab: &Lab) -> Result<()> {
    let endpoint = served(lab).next().context("nothing is served")?;
    let told = lab.ctl(&["certificates", &endpoint.key])?;
    let files = std::path::Path::new(told["files"].as_str().context("no files")?);
    ensure!(
        files.starts_with(lab.dir()?) && files.join("chain.pem").exists(),
        "{told}"
    );
    let mut text = lab.ctl_command()?;
    let text = succeed(text.args(["certificates", &endpoint.key]))?;
    ensure!(text.contains(&format!("{}\n", files.display())), "{text}");
    Ok(())
}

/// One endpoint each way, of keys that every lab has.
fn served(lab: &Lab) -> impl Iterator<Item = &Endpoint> {
    let ways = [
        ("provider", "lab-tls-p256"),
        ("provider", "lab-tls-rsa"),
        ("engine", "lab-digest-p256"),
    ];
    ways.into_iter().filter_map(|(via, key)| {
        let mut endpoints = lab.endpoints.iter();
        endpoints.find(|endpoint| endpoint.via == via && endpoint.key == key)
    })
}

fn processes(lab: &Lab, servers: &[Server<'_>]) -> Result<(u32, Vec<u32>)> {
    let masters = servers.iter().map(Server::master).collect::<Result<_>>()?;
    Ok((lab.service()?, masters))
}

/// Handshakes a second at each endpoint.
const LOAD: f64 = 30.0;
