//! HAProxy as Debian configures it: a master, a worker that has dropped root and sees no file, keys through the provider.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::load::Load;
use e2e::lab::server::Server;
use e2e::lab::suite::Test;
use e2e::lab::{Lab, agent};
use enclave_tls_admin::report::{Ask, Told};

use crate::pairs;

pub(super) const TESTS: &[Test] = e2e::tests![
    both_certificates_of_a_frontend,
    its_worker_sees_no_file_and_is_nobody_else,
    threat_51_haproxy_reloads_under_load,
    a_configuration_that_it_refuses_changes_nothing,
    a_rotated_credential_reaches_a_worker_in_a_chroot,
];

fn both_certificates_of_a_frontend(lab: &Lab) -> Result<()> {
    pairs::both_are_signed_for(lab, VIA)
}

/// The premise of the tests here: what the module needs it has read or holds open.
fn its_worker_sees_no_file_and_is_nobody_else(lab: &Lab) -> Result<()> {
    for worker in Server::of(lab, VIA).workers()? {
        let process = Path::new("/proc").join(worker.to_string());
        let root = fs::read_link(process.join("root"))?;
        ensure!(root == Path::new("/var/lib/haproxy"), "its root is {}", root.display());
        let owner = fs::metadata(&process)?.uid();
        ensure!(owner != 0, "it is root's");
    }
    Ok(())
}

fn threat_51_haproxy_reloads_under_load(lab: &Lab) -> Result<()> {
    pairs::reloads_under_load(lab, VIA)
}

fn a_configuration_that_it_refuses_changes_nothing(lab: &Lab) -> Result<()> {
    let endpoint = lab.endpoint(VIA, "lab-sealed-rsa")?;
    pairs::a_refused_configuration_changes_nothing(lab, endpoint, "no-such-keyword")
}

/// The older one is taken away: the module reads the newer through the directory that it holds open.
fn a_rotated_credential_reaches_a_worker_in_a_chroot(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, VIA);
    let before = (server.master()?, server.workers()?);
    let older = agent::credential_of(&agent::report(lab)?, VIA).context("the client has no credential")?;
    let loads: Vec<_> = pairs::shared(lab, VIA)
        .map(|endpoint| Load::start(lab, endpoint, LOAD))
        .collect::<Result<_>>()?;
    let client = VIA.to_owned();
    ensure!(agent::ask(lab, Ask::RotateCredential { client })? == Told::Done);
    agent::wait_for(lab, "the newer credential", |report| {
        agent::credential_of(report, VIA).is_some_and(|newer| newer != older)
    })?;
    sleep(Duration::from_millis(500));
    lab.revoke(VIA, &older)?;
    sleep(Duration::from_secs(1));
    for load in loads {
        load.finish()?.expect_none_failed()?;
    }
    ensure!((server.master()?, server.workers()?) == before, "HAProxy was touched");
    Ok(())
}

/// The lab's name for server and client.
const VIA: &str = "haproxy";
/// Handshakes a second at each endpoint.
const LOAD: f64 = 30.0;
