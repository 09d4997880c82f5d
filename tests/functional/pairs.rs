//! What holds for each server that shows an RSA and an ECDSA certificate of one name at one port.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::load::Load;
use e2e::lab::process;
use e2e::lab::server::{Server, Tls, get};
use e2e::lab::{Endpoint, Lab, agent, authority};

/// Each client gets the certificate that it can verify, the enclave counts a signature of that key, and of the two libraries that could
/// have asked for it the server has loaded the one that is meant.
pub(crate) fn both_are_signed_for(lab: &Lab, via: &str) -> Result<()> {
    let pairs: Vec<_> = shared(lab, via).collect();
    ensure!(
        pairs.len() >= 2 && pairs.len().is_multiple_of(2),
        "{via} has no pairs: {pairs:?}"
    );
    for endpoint in pairs {
        let id = &lab.key(&endpoint.key)?.id;
        let before = signed(lab, id)?;
        for tls in Tls::ALL {
            its_key_signs(lab, endpoint, tls).with_context(|| format!("{endpoint}, TLS {}", tls.name()))?;
        }
        let made = signed(lab, id)? - before;
        ensure!(
            made == 2,
            "{endpoint}: the enclave made {made} signatures for two handshakes"
        );
    }
    one_library_is_loaded(lab, via)
}

fn one_library_is_loaded(lab: &Lab, via: &str) -> Result<()> {
    let meant = if via.ends_with("engine") { ENGINE } else { PROVIDER };
    for worker in Server::of(lab, via).settled_workers()? {
        let maps = fs::read_to_string(format!("/proc/{worker}/maps"))?;
        let loaded: Vec<&str> = [ENGINE, PROVIDER]
            .into_iter()
            .filter(|name| maps.contains(name))
            .collect();
        ensure!(loaded == [meant], "{via}, worker {worker} has loaded {loaded:?}");
    }
    Ok(())
}

/// How many the enclave has made with a key.
fn signed(lab: &Lab, id: &str) -> Result<u64> {
    let told = lab.ctl(&["stats"])?;
    let keys = told["keys"].as_array().context("no statistics")?;
    let its = keys.iter().filter(|key| key["id"] == id);
    Ok(its.filter_map(|key| key["signed"].as_u64()).sum())
}

fn its_key_signs(lab: &Lab, endpoint: &Endpoint, tls: Tls) -> Result<()> {
    let key = lab.key(&endpoint.key)?;
    let session = get(lab, endpoint, tls, &[])?;
    ensure!(
        session.spki == fs::read_to_string(&key.public_key)?,
        "another key was served"
    );
    let is_rsa = key.kind.starts_with("RSA");
    ensure!(
        session.signature == if is_rsa { "RSA-PSS" } else { "ECDSA" },
        "signed by {}",
        session.signature
    );
    ensure!(session.body.starts_with(&endpoint.via), "it answers: {}", session.body);
    Ok(())
}

/// By the server's own signal: no handshake of either kind fails, and new workers sign.
pub(crate) fn reloads_under_load(lab: &Lab, via: &str) -> Result<()> {
    let server = Server::of(lab, via);
    let master = server.master()?;
    let loads: Vec<_> = shared(lab, via)
        .map(|endpoint| Load::start(lab, endpoint, LOAD))
        .collect::<Result<_>>()?;
    let workers = || -> Result<Vec<u32>> {
        let mut workers = Vec::new();
        // httpd may have none for a moment, between those that end and those that begin.
        process::wait_until(Duration::from_secs(10), "workers", || {
            workers = server.workers().unwrap_or_default();
            !workers.is_empty()
        })?;
        Ok(workers)
    };
    let mut generations = vec![workers()?];
    for _ in 0..if lab.full { 100 } else { 3 } {
        server.reload()?;
        generations.push(workers()?);
        sleep(Duration::from_millis(300));
    }
    let outcomes: Vec<_> = loads.into_iter().map(Load::finish).collect::<Result<_>>()?;
    for outcome in &outcomes {
        outcome.expect_none_failed()?;
    }
    let seen: Vec<_> = outcomes.iter().flat_map(|outcome| outcome.workers()).collect();
    for generation in generations {
        ensure!(
            generation.iter().any(|pid| seen.contains(pid)),
            "none of {generation:?} answered: {seen:?}"
        );
    }
    ensure!(server.master()? == master, "{via} was restarted");
    Ok(())
}

/// While the server refuses its configuration it keeps what it has, and says why; then the agent brings the newer certificate.
pub(crate) fn a_refused_configuration_changes_nothing(lab: &Lab, endpoint: &Endpoint, nonsense: &str) -> Result<()> {
    lab.need_not_be_emulated()?;
    let server = Server::of(lab, &endpoint.via);
    // httpd may still be ending those that a load before had needed.
    let (master, workers) = (server.master()?, server.settled_workers()?);
    let older = get(lab, endpoint, Tls::V13, &[])?.leaf;
    let conf = &lab.files(&endpoint.via)?.conf;
    let text = fs::read_to_string(conf)?;
    fs::write(conf, format!("{text}{nonsense}\n"))?;
    let refused = (|| {
        authority::renew(lab, &endpoint.key)?;
        agent::wait_for(lab, "the server's own words", |report| {
            let its = report.servers.iter().find(|server| server.name == endpoint.via);
            its.and_then(|server| server.problem.as_ref())
                .is_some_and(|problem| problem.contains(nonsense))
        })?;
        ensure!(
            get(lab, endpoint, Tls::V13, &[])?.leaf == older,
            "something else is served"
        );
        ensure!(
            (server.master()?, server.settled_workers()?) == (master, workers),
            "the server was touched"
        );
        Ok(())
    })();
    fs::write(conf, &text)?;
    refused?;
    // Now, and not at the next try.
    agent::reload(lab)?;
    agent::wait_for(lab, "the newer certificate to be served", |report| {
        agent::is_served(report, &endpoint.key) && report.servers.iter().all(|server| server.problem.is_none())
    })?;
    process::wait_until(Duration::from_secs(10), "the newer leaf", || {
        get(lab, endpoint, Tls::V13, &[]).is_ok_and(|session| session.leaf != older)
    })?;
    ensure!(server.master()? == master, "the server was restarted");
    Ok(())
}

/// The endpoints at whose ports another key is shown too.
pub(crate) fn shared<'a>(lab: &'a Lab, via: &str) -> impl Iterator<Item = &'a Endpoint> {
    let of_via = lab.endpoints.iter().filter(move |endpoint| endpoint.via == via);
    of_via.filter(|endpoint| lab.is_shared(endpoint))
}

/// Where OpenSSL has them.
const ENGINE: &str = "/engines-3/pkcs11.so";
const PROVIDER: &str = "/ossl-modules/pkcs11.so";
/// Handshakes a second at each endpoint.
const LOAD: f64 = 30.0;
