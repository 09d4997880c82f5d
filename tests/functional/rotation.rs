//! Certificates that get new keys while clients make handshakes, with whoever works on it killed at each step: none may fail, what is
//! served is the old pair or the new one, and the next run finishes.
//!
//! The agent is told here where servers listen, so that it looks at what clients see.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::load::Load;
use e2e::lab::process::{self, Signal};
use e2e::lab::rotating::{Rotating, SEALED, Step, Watched};
use e2e::lab::server::{Server, Tls, get};
use e2e::lab::suite::Test;
use e2e::lab::{Enclave, Lab, agent};

pub(super) const TESTS: &[Test] = e2e::tests![
    rotations_in_a_row_under_load,
    what_shows_another_certificate_is_taken_back,
    threat_53_killed_at_each_step_of_a_rotation,
    threat_53_all_workers_killed_between_the_flip_and_the_reload,
    threat_53_nginx_killed_at_each_step_of_a_rotation,
];

/// NGINX, and httpd and HAProxy where the lab has them: every handshake goes well, by the key of the leaf that it shows.
fn rotations_in_a_row_under_load(lab: &Lab) -> Result<()> {
    let _watched = Watched::begin(lab, &[SEALED, SEALED_RSA])?;
    let rotating = [SEALED, SEALED_RSA].map(|name| Rotating::begin(lab, name));
    let [ecdsa, rsa] = rotating;
    let (mut ecdsa, mut rsa) = (ecdsa?, rsa?);
    let endpoints = lab
        .served()
        .filter(|endpoint| [ecdsa.name, rsa.name].contains(&endpoint.key.as_str()));
    let loads: Vec<_> = endpoints
        .map(|endpoint| Ok((endpoint, Load::start_with(lab, endpoint, load(lab), &[])?)))
        .collect::<Result<_>>()?;
    ensure!(!loads.is_empty(), "nobody serves them");
    for _ in 0..rotations(lab) {
        ecdsa.rotate()?;
        rsa.rotate()?;
        ecdsa.wait_until("superseded")?;
        rsa.wait_until("superseded")?;
    }
    for (endpoint, load) in loads {
        let outcome = load.finish()?;
        outcome.expect_none_failed().with_context(|| endpoint.to_string())?;
        let its = if endpoint.key == ecdsa.name { &ecdsa } else { &rsa };
        let seen: BTreeSet<_> = outcome
            .report
            .endpoints
            .iter()
            .flat_map(|one| one.keys.keys())
            .collect();
        ensure!(
            seen.iter().all(|key| its.keys.contains(*key)),
            "{endpoint}: a stranger's key"
        );
        let served = outcome.report.ok;
        ensure!(
            seen.len() == its.keys.len(),
            "{endpoint}: {} of {} keys seen in {served} handshakes",
            seen.len(),
            its.keys.len()
        );
    }
    Ok(())
}

/// A server that does not read what it is given: a generation that clients do not see is taken back, without a failed handshake, and
/// an administrator decides about it.
fn what_shows_another_certificate_is_taken_back(lab: &Lab) -> Result<()> {
    let _watched = Watched::begin(lab, &[SEALED])?;
    let mut its = Rotating::begin(lab, SEALED)?;
    let endpoint = lab.endpoint("provider", SEALED)?;
    let conf = &lab.files("provider")?.conf;
    let (text, live) = (fs::read_to_string(conf)?, its.live());
    // It includes the generation itself and not what is live.
    let directory = fs::canonicalize(&live)?;
    let fixed = text.replace(&live.display().to_string(), &directory.display().to_string());
    ensure!(fixed != text, "the configuration of NGINX names no {}", live.display());
    fs::write(conf, fixed)?;
    let taken_back = (|| {
        let load = Load::start_with(lab, endpoint, load(lab), &[])?;
        its.rotate()?;
        its.wait_until("taken-back")?;
        agent::wait_for(lab, "the one before to be with servers", |report| {
            let mut certificates = report.certificates.iter();
            certificates
                .any(|one| one.name == SEALED && one.note.as_ref().is_some_and(|note| note.contains("was taken back")))
        })?;
        ensure!(
            fs::canonicalize(its.live())? == directory,
            "the older generation is not live"
        );
        load.finish()?.expect_none_failed()
    })();
    fs::write(conf, text)?;
    taken_back?;
    // Mended, and tried again.
    let newest = its.newest()?;
    its.roll_back(Some(newest))?;
    its.wait_until("looked-at")?;
    get(lab, endpoint, Tls::V13, &[]).map(drop)
}

/// The agent and its root helper, each at each step: no handshake fails.
fn threat_53_killed_at_each_step_of_a_rotation(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    let _watched = Watched::begin(lab, &[SEALED])?;
    let mut its = Rotating::begin(lab, SEALED)?;
    let endpoint = lab.endpoint("provider", SEALED)?;
    let load = Load::start_with(lab, endpoint, load(lab), &[])?;
    for victim in ["agent", "apply"] {
        for step in Step::ALL {
            let cut = its.cut(step, || agent::kill(lab, victim));
            if agent::pid(lab, victim).is_err() {
                agent::start(lab, victim)?;
            }
            cut.with_context(|| format!("{victim} at {step:?}"))?;
            its.finishes().with_context(|| format!("{victim} at {step:?}"))?;
        }
    }
    let outcome = load.finish()?;
    outcome.expect_none_failed()?;
    let mut seen = outcome.report.endpoints.iter().flat_map(|one| one.keys.keys());
    ensure!(seen.all(|key| its.keys.contains(key)), "a stranger's key");
    Ok(())
}

/// NGINX starts others, which read what is there by then.
fn threat_53_all_workers_killed_between_the_flip_and_the_reload(lab: &Lab) -> Result<()> {
    let _watched = Watched::begin(lab, &[SEALED])?;
    let mut its = Rotating::begin(lab, SEALED)?;
    let endpoint = lab.endpoint("provider", SEALED)?;
    let server = Server::of(lab, "provider");
    for _ in 0..2 {
        let master = server.master()?;
        its.cut(Step::Flipped, || {
            let helper = agent::pid(lab, "apply")?;
            // So that it is between the two.
            process::signal(helper, Signal::STOP)?;
            let served = server.workers().and_then(|old| {
                for worker in &old {
                    drop(process::signal(*worker, Signal::KILL)); // it may have ended
                }
                process::wait_until(LIMIT, "other workers", || {
                    server
                        .workers()
                        .is_ok_and(|new| !new.is_empty() && new.iter().all(|pid| !old.contains(pid)))
                })?;
                // Whatever they serve, chain and signature fit.
                (0..8).try_for_each(|_| get(lab, endpoint, Tls::V13, &[]).map(drop))
            });
            process::signal(helper, Signal::CONT)?;
            served
        })?;
        its.finishes()?;
        ensure!(server.master()? == master, "NGINX was restarted");
    }
    Ok(())
}

/// NGINX, master and workers, at each step; it is started again as it was.
fn threat_53_nginx_killed_at_each_step_of_a_rotation(lab: &Lab) -> Result<()> {
    let _watched = Watched::begin(lab, &[SEALED])?;
    let mut its = Rotating::begin(lab, SEALED)?;
    let server = Server::of(lab, "provider");
    let name = &lab.files("provider")?.process;
    for step in Step::of(lab, &[Step::Flipped, Step::LookedAt]) {
        its.cut(step, || {
            let workers = server.workers()?;
            process::signal(server.master()?, Signal::KILL)?;
            workers
                .into_iter()
                .for_each(|pid| drop(process::signal(pid, Signal::KILL)));
            process::wait_until(LIMIT, "the end of NGINX", || {
                server.workers().map_or(true, |workers| workers.is_empty())
            })
        })
        .with_context(|| format!("{step:?}"))?;
        start_server(lab, name)?;
        its.finishes().with_context(|| format!("{step:?}"))?;
    }
    Ok(())
}

/// Handshakes a second at each endpoint: of an emulated machine, a fraction of what it has left beside one rotation's RSA key.
fn load(lab: &Lab) -> f64 {
    match lab.enclave {
        Enclave::Process => 20.0,
        Enclave::Emulated => 4.0,
    }
}

fn start_server(lab: &Lab, master: &str) -> Result<()> {
    let words = lab
        .commands
        .get(master)
        .context("the lab does not say how it is started")?;
    let (program, arguments) = words.split_first().context("no words")?;
    let mut command = lab.command(program);
    command.args(arguments);
    if let Some(conf) = lab.openssl_conf.get("provider") {
        command.env("OPENSSL_CONF", conf);
    }
    e2e::lab::program::succeed(&mut command).map(drop)
}

/// As many as the environment says.
fn rotations(lab: &Lab) -> u32 {
    let wanted = std::env::var("ENCLAVE_TLS_ROTATIONS")
        .ok()
        .and_then(|text| text.parse().ok());
    wanted.unwrap_or(if lab.full { 30 } else { 3 })
}

/// As [`SEALED`], by the same servers.
const SEALED_RSA: &str = "lab-sealed-rsa";
/// NGINX needs milliseconds.
const LIMIT: Duration = Duration::from_secs(30);
