//! The service is killed and started again. This ends the lab's born keys, so it is a program of its own, and its name
//! has cargo run it after the programs that need them.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::lab::kms::KeyPolicy;
use e2e::lab::load::{Load, RECOVERY};
use e2e::lab::process;
use e2e::lab::program::succeed;
use e2e::lab::server::Server;
use e2e::lab::service::{self, Stalled};
use e2e::lab::suite::{self, Needs, Test};
use e2e::lab::{Enclave, Lab};

fn main() -> ExitCode {
    suite::main(Needs::ALab, &[TESTS])
}

const TESTS: &[Test] = e2e::tests![
    threat_11_killed_and_restarted_under_load,
    threat_11_killed_and_paused_again_and_again_under_load,
    born_keys_are_gone_after_a_restart_and_list_says_so,
    threat_26_kms_releases_to_the_registers_of_this_image_alone,
];

fn threat_11_killed_and_restarted_under_load(lab: &Lab) -> Result<()> {
    let servers = ["provider", "engine"].map(|via| Server::of(lab, via));
    let processes = || -> Result<Vec<_>> {
        servers
            .iter()
            .map(|server| Ok((server.master()?, server.workers()?)))
            .collect()
    };
    let before = processes()?;
    let mut loads = Vec::new();
    for via in ["provider", "engine"] {
        for kind in ["P-256", "RSA-2048"] {
            loads.push((via, Load::start(lab, lab.lasting_endpoint(via, kind)?, LOAD)?));
        }
    }
    sleep(Duration::from_secs(1));
    let killed = service::kill(lab)?;
    sleep(OUTAGE);
    let opened = service::start(lab)?;
    sleep(RECOVERY + Duration::from_secs(2));
    for (via, load) in loads {
        let outcome = load.finish()?;
        outcome
            .expect_bounded(killed, opened)
            .with_context(|| format!("by {via}"))?;
        // A dead service is an error at once: no handshake was left waiting for its return.
        let failed = outcome.between(killed, opened, true);
        ensure!(
            failed >= 20,
            "by {via}: only {failed} handshakes failed in {OUTAGE:?}: they wait"
        );
    }
    ensure!(processes()? == before, "NGINX's processes changed");
    Ok(())
}

/// Where the service runs in an emulated machine it is the whole machine that is killed and paused: NGINX recovers by itself each time.
fn threat_11_killed_and_paused_again_and_again_under_load(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "provider");
    let before = (server.master()?, server.workers()?);
    let endpoint = lab.lasting_endpoint("provider", "P-256")?;
    let rounds = match lab.enclave {
        _ if lab.full => 50,
        Enclave::Emulated => 5,
        Enclave::Process => 1,
    };
    for round in 1..=rounds {
        let outage = |what: &str, during: &dyn Fn() -> Result<(Instant, Instant)>| -> Result<()> {
            let load = Load::start(lab, endpoint, LOAD)?;
            sleep(Duration::from_millis(700));
            let (from, to) = during()?;
            sleep(RECOVERY + Duration::from_secs(2));
            let outcome = load.finish()?;
            let bounded = outcome.expect_bounded(from, to);
            bounded.with_context(|| format!("{what}, round {round} of {rounds}"))
        };
        outage("killed", &|| Ok((service::kill(lab)?, service::start(lab)?)))?;
        outage("paused", &|| {
            let stalled = Stalled::stop(lab)?;
            let since = stalled.since;
            sleep(PAUSE);
            Ok((since, stalled.resume()))
        })?;
    }
    ensure!(
        (server.master()?, server.workers()?) == before,
        "NGINX's processes changed"
    );
    Ok(())
}

/// Those of the agent's inventory have successors, which wait for certificates; of the others `list` says that they are lost.
fn born_keys_are_gone_after_a_restart_and_list_says_so(lab: &Lab) -> Result<()> {
    let by_hand = [
        "create",
        "lab-e2e-lost",
        "--type",
        "p-256",
        "--usage",
        "tls",
        "--client",
        "www-data",
    ];
    let by_hand = lab.ctl(&by_hand)?["id"].as_str().context("no id")?.to_owned();
    service::kill(lab)?;
    service::start(lab)?;
    let born: Vec<_> = lab.keys.iter().filter(|key| key.origin == "born").collect();
    let mut listed = lab.ctl(&["list"])?;
    process::wait_until(Duration::from_secs(20), "successors of the born keys", || {
        listed = lab.ctl(&["list"]).unwrap_or_default();
        let keys = listed["keys"].as_array().map(Vec::as_slice).unwrap_or_default();
        born.iter()
            .all(|key| keys.iter().any(|there| there["name"] == key.label.as_str()))
    })?;
    let ids = |part: &str| -> BTreeSet<String> {
        let keys = listed[part].as_array().into_iter().flatten();
        keys.filter_map(|key| key["id"].as_str()).map(str::to_owned).collect()
    };
    let (there, lost) = (ids("keys"), ids("lost"));
    for key in &lab.keys {
        let lasts = key.origin != "born";
        ensure!(
            there.contains(&key.id) == lasts,
            "{} ({}) is in {there:?}",
            key.label,
            key.origin
        );
        ensure!(!lost.contains(&key.id), "{} has no successor: {lost:?}", key.label);
    }
    ensure!(lost.contains(&by_hand), "{by_hand} and {lost:?}");
    let text = succeed(lab.ctl_command()?.arg("list"))?;
    ensure!(
        text.contains("Lost when the service restarted"),
        "nothing is said of born keys: {text}"
    );
    lab.ctl(&["retire", &by_hand]).map(drop)
}

/// The key policy is what `policy generate` writes; on an emulated machine the registers are those of the image that was booted.
fn threat_26_kms_releases_to_the_registers_of_this_image_alone(lab: &Lab) -> Result<()> {
    let sealed = |lab: &Lab| -> Result<usize> {
        let listed = lab.ctl(&["list"])?;
        let keys = listed["keys"].as_array().context("no list")?.iter();
        Ok(keys.filter(|key| !key["sealed"].is_null()).count())
    };
    let all = lab.keys.iter().filter(|key| key.origin.ends_with("-sealed")).count();
    ensure!(
        sealed(lab)? == all && all > 0,
        "{} of {all} sealed keys are here",
        sealed(lab)?
    );
    let policy = KeyPolicy::remember(lab)?;
    let [pcr0, ..] = &lab.attestation.pcrs;
    let other = format!(
        "{}{}",
        if pcr0.starts_with('0') { '1' } else { '0' },
        pcr0.get(1..).unwrap_or_default()
    );
    policy.put(lab, &[&format!("{other}:{}", lab.attestation.pcr16)])?;
    service::kill(lab)?;
    service::start(lab)?;
    ensure!(sealed(lab)? == 0, "another image's key policy released them");
    let waiting = lab.ctl(&["status"])?["waiting"].to_string();
    ensure!(waiting.contains("policy lint"), "why is not said: {waiting}");
    policy.put(lab, &[&format!("{pcr0}:{}", lab.attestation.pcr16)])?;
    service::kill(lab)?;
    service::start(lab)?;
    ensure!(
        sealed(lab)? == all,
        "its own key policy released {} of {all}",
        sealed(lab)?
    );
    Ok(())
}

/// Handshakes a second at each endpoint.
const LOAD: f64 = 50.0;
const OUTAGE: Duration = Duration::from_secs(2);
/// Long enough for the agent to give the enclave up and for the enclave to dial again.
const PAUSE: Duration = Duration::from_secs(10);
