//! Apache httpd with the event MPM: through the provider, and through the engine by `SSLCryptoDevice`.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, ensure};
use e2e::lab::Lab;
use e2e::lab::server::Server;
use e2e::lab::suite::Test;
use e2e::tlsload::{self, Options, Signature};

use crate::pairs;

pub(super) const TESTS: &[Test] = e2e::tests![
    both_certificates_of_a_site_through_the_provider,
    both_certificates_of_a_site_through_the_engine,
    sixty_four_connections_at_once_through_the_provider,
    sixty_four_connections_at_once_through_the_engine,
    threat_51_httpd_reloads_under_load_through_the_provider,
    threat_51_httpd_reloads_under_load_through_the_engine,
    a_configuration_that_it_refuses_changes_nothing,
];

fn both_certificates_of_a_site_through_the_provider(lab: &Lab) -> Result<()> {
    pairs::both_are_signed_for(lab, "httpd-provider")
}

fn both_certificates_of_a_site_through_the_engine(lab: &Lab) -> Result<()> {
    pairs::both_are_signed_for(lab, "httpd-engine")
}

fn sixty_four_connections_at_once_through_the_provider(lab: &Lab) -> Result<()> {
    a_crowd(lab, "httpd-provider")
}

fn sixty_four_connections_at_once_through_the_engine(lab: &Lab) -> Result<()> {
    a_crowd(lab, "httpd-engine")
}

fn threat_51_httpd_reloads_under_load_through_the_provider(lab: &Lab) -> Result<()> {
    pairs::reloads_under_load(lab, "httpd-provider")
}

fn threat_51_httpd_reloads_under_load_through_the_engine(lab: &Lab) -> Result<()> {
    pairs::reloads_under_load(lab, "httpd-engine")
}

fn a_configuration_that_it_refuses_changes_nothing(lab: &Lab) -> Result<()> {
    let endpoint = lab.endpoint("httpd-engine", "lab-digest-p256")?;
    pairs::a_refused_configuration_changes_nothing(lab, endpoint, "NoSuchDirective")
}

/// Many threads of a process sign at once, each in a session of its own.
fn a_crowd(lab: &Lab, via: &str) -> Result<()> {
    let server = Server::of(lab, via);
    let workers = server.workers()?;
    let log = lab
        .files(via)?
        .conf
        .parent()
        .context("no directory")?
        .join("threads.log");
    let lines = || -> Result<Vec<String>> { Ok(fs::read_to_string(&log)?.lines().map(str::to_owned).collect()) };
    let before = lines()?.len();
    for kind in ["P-256", "RSA-2048"] {
        let endpoint = lab.lasting_endpoint(via, kind)?;
        let options = Options {
            connect: vec![endpoint.address()],
            name: endpoint.name.clone(),
            ca: lab.ca.clone(),
            spki: vec![
                hex::decode(&lab.key(&endpoint.key)?.id)?
                    .try_into()
                    .map_err(|_| anyhow::anyhow!("not a key's id"))?,
            ],
            tls: None,
            sig: Signature::Any,
            rate: None,
            seconds: None,
            count: Some(HANDSHAKES),
            concurrency: 64,
            timeout: 10.0,
            http: Some("/".to_owned()),
            client_cert: None,
            client_key: None,
            progress: false,
        };
        let report = tlsload::run(&options, &AtomicBool::new(false))?;
        ensure!(report.ok == HANDSHAKES, "{endpoint}: {report:?}");
    }
    let all = lines()?;
    let threads: BTreeSet<_> = all.iter().skip(before).collect();
    ensure!(
        threads.len() >= THREADS,
        "only {} threads answered: {threads:?}",
        threads.len()
    );
    let now = server.workers()?;
    ensure!(
        workers.iter().all(|worker| now.contains(worker)),
        "a worker died: {workers:?} {now:?}"
    );
    Ok(())
}

const HANDSHAKES: u64 = 512;
/// At the least, of 50 and more.
const THREADS: usize = 8;
