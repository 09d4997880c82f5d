//! The service is killed and started again. This ends the lab's born keys, so it is a program of its own, and its name
//! has cargo run it after the programs that need them.

mod acme_killed;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::lab::kms::{KeyPolicy, Outage};
use e2e::lab::load::{Load, RECOVERY};
use e2e::lab::process;
use e2e::lab::program::{openssl, run, succeed};
use e2e::lab::rotating::{Rotating, SEALED, Step, Watched};
use e2e::lab::scratch::Scratch;
use e2e::lab::server::{self, Server, Tls};
use e2e::lab::service::{self, Stalled};
use e2e::lab::suite::{self, Needs, Test};
use e2e::lab::{Enclave, Lab, acme, agent, authority};

fn main() -> ExitCode {
    suite::main(Needs::ALab, &[acme_killed::TESTS, TESTS])
}

const TESTS: &[Test] = e2e::tests![
    threat_11_killed_and_restarted_under_load,
    threat_11_httpd_and_haproxy_go_on_after_a_kill_under_load,
    threat_11_killed_and_paused_again_and_again_under_load,
    servers_start_and_reload_while_the_enclave_is_away,
    a_killed_enclave_comes_back_without_anybody,
    httpd_and_haproxy_serve_again_without_a_restart,
    threat_53_the_enclave_killed_at_each_step_of_a_rotation,
    everything_starts_in_another_order,
    threat_37_what_was_due_or_asked_for_in_an_outage_of_kms_is_done_after_it,
    born_keys_are_gone_after_a_restart_and_list_says_so,
    threat_26_kms_releases_to_the_registers_of_this_image_alone,
    a_new_generation_is_switched_to_under_load,
];

fn threat_11_killed_and_restarted_under_load(lab: &Lab) -> Result<()> {
    killed_under_load(lab, &["provider", "engine"], &["P-256", "RSA-2048"])
}

fn threat_11_httpd_and_haproxy_go_on_after_a_kill_under_load(lab: &Lab) -> Result<()> {
    killed_under_load(lab, &["httpd-provider", "httpd-engine", "haproxy"], &["P-256"])
}

fn killed_under_load(lab: &Lab, vias: &[&str], kinds: &[&str]) -> Result<()> {
    let servers: Vec<_> = vias.iter().map(|via| Server::of(lab, via)).collect();
    let processes = || -> Result<Vec<_>> {
        servers
            .iter()
            .map(|server| Ok((server.master()?, server.workers()?)))
            .collect()
    };
    let before = processes()?;
    let mut loads = Vec::new();
    for via in vias {
        for kind in kinds {
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
    for ((master, workers), (master_now, workers_now)) in before.iter().zip(processes()?) {
        // httpd may have more by now.
        let all_live = workers.iter().all(|worker| workers_now.contains(worker));
        ensure!(*master == master_now && all_live, "a server's processes changed");
    }
    Ok(())
}

/// Where the service runs in an emulated machine it is the whole machine that is killed and paused: NGINX recovers by itself each time.
fn threat_11_killed_and_paused_again_and_again_under_load(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "provider");
    let before = (server.master()?, server.workers()?);
    let endpoint = lab.lasting_endpoint("provider", "P-256")?;
    let rounds = match lab.enclave {
        _ if lab.full => 50,
        Enclave::Emulated => 2,
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

/// The module answers from the public objects file: only signatures fail, at once, and they go well again without a reload.
fn servers_start_and_reload_while_the_enclave_is_away(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "provider");
    let endpoint = lab.lasting_endpoint("provider", "P-256")?;
    service::kill(lab)?;
    let away = (|| {
        let before = server.workers()?;
        server.reload()?;
        ensure!(
            server.workers()?.iter().all(|worker| !before.contains(worker)),
            "NGINX did not take the configuration"
        );
        let begun = Instant::now();
        ensure!(server::get(lab, endpoint, Tls::V13, &[]).is_err(), "somebody signs");
        ensure!(
            begun.elapsed() < Duration::from_secs(2),
            "a handshake waited {:?}",
            begun.elapsed()
        );
        // A server that starts anew.
        let mut test = lab.command(lab.program("nginx-provider")?);
        test.env("OPENSSL_CONF", &lab.openssl_conf["provider"]);
        succeed(test.args(["-t", "-c"]).arg(&lab.files("provider")?.conf)).map(drop)
    })();
    service::start(lab)?;
    away?;
    process::wait_until(
        Duration::from_secs(10),
        "a handshake after the service's return",
        || server::get(lab, endpoint, Tls::V13, &[]).is_ok(),
    )
}

/// The supervisor starts it again, and the agent gives it what it had: the time that takes is printed.
fn a_killed_enclave_comes_back_without_anybody(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "provider");
    let before = (server.master()?, server.workers()?);
    let sealed = lab
        .endpoints
        .iter()
        .find(|endpoint| endpoint.via == "provider" && endpoint.key == "lab-sealed-rsa")
        .context("no sealed key is served")?;
    server::get(lab, sealed, Tls::V13, &[]).context("before")?;
    let pid = lab.service()?;
    let killed = Instant::now();
    process::signal(pid, process::Signal::KILL)?;
    process::wait_until(Duration::from_secs(60), "the sealed key to be served again", || {
        lab.service().is_ok_and(|now| now != pid) && server::get(lab, sealed, Tls::V13, &[]).is_ok()
    })?;
    println!("  served again after {:.1} s", killed.elapsed().as_secs_f64());
    agent::wait_for(lab, "the agent to say so", |report| {
        agent::is_served(report, "lab-sealed-rsa")
    })?;
    ensure!(
        (server.master()?, server.workers()?) == before,
        "NGINX's processes changed"
    );
    Ok(())
}

/// The same processes: a handshake ends with an alert while the enclave is away, and goes well when it is back.
fn httpd_and_haproxy_serve_again_without_a_restart(lab: &Lab) -> Result<()> {
    let vias = ["httpd-provider", "httpd-engine", "haproxy"];
    let processes = || -> Result<Vec<_>> {
        let servers = vias.iter().map(|via| Server::of(lab, via));
        servers
            .map(|server| Ok((server.master()?, server.workers()?)))
            .collect()
    };
    let mut endpoints = Vec::new();
    for via in vias {
        for kind in ["P-256", "RSA-2048"] {
            endpoints.push(lab.lasting_endpoint(via, kind)?);
        }
    }
    for endpoint in &endpoints {
        server::get(lab, endpoint, Tls::V13, &[]).context("before")?;
    }
    let before = processes()?;
    service::kill(lab)?;
    let away = endpoints.iter().try_for_each(|endpoint| {
        let complaint = run(&mut server::s_client(endpoint, Tls::V13))?.printed();
        ensure!(complaint.contains("alert"), "{endpoint}: no alert: {complaint}");
        Ok(())
    });
    service::start(lab)?;
    away?;
    for endpoint in &endpoints {
        process::wait_until(
            Duration::from_secs(20),
            "a handshake after the service's return",
            || server::get(lab, endpoint, Tls::V13, &[]).is_ok(),
        )
        .with_context(|| endpoint.to_string())?;
    }
    ensure!(processes()? == before, "a server was restarted");
    Ok(())
}

/// What is sealed comes back with it.
fn threat_53_the_enclave_killed_at_each_step_of_a_rotation(lab: &Lab) -> Result<()> {
    lab.needs_a_process("it kills the service again and again")?;
    let _watched = Watched::begin(lab, &[SEALED])?;
    let mut its = Rotating::begin(lab, SEALED)?;
    for step in Step::of(lab, &[Step::Made, Step::Installed, Step::Flipped, Step::Superseded]) {
        its.cut(step, || service::kill(lab).map(drop))
            .with_context(|| format!("{step:?}"))?;
        service::start(lab)?;
        its.finishes().with_context(|| format!("{step:?}"))?;
    }
    Ok(())
}

/// Helper, agent, supervisor and enclave all end and come back in an order that nobody planned.
fn everything_starts_in_another_order(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "engine");
    let before = (server.master()?, server.workers()?);
    let sealed = |report: &_| agent::is_served(report, "lab-sealed-p256");
    for order in [
        ["supervisor", "agent", "apply"],
        ["agent", "apply", "supervisor"],
        ["apply", "supervisor", "agent"],
    ] {
        // The supervisor first, so that the enclave stays away.
        agent::kill(lab, "supervisor")?;
        process::signal(lab.service()?, process::Signal::KILL)?;
        agent::kill(lab, "agent")?;
        agent::kill(lab, "apply")?;
        for name in order {
            agent::start(lab, name)?;
            sleep(Duration::from_millis(700));
        }
        agent::wait_for(lab, &format!("a sealed key to be served ({order:?})"), sealed)?;
    }
    ensure!(
        (server.master()?, server.workers()?) == before,
        "NGINX's processes changed"
    );
    Ok(())
}

/// The enclave restarts while KMS fails: keys that lie in files serve on, and sealed ones as soon as KMS is back. Then a renewal that was due
/// and an emergency that was declared meanwhile come to their end, without anybody.
fn threat_37_what_was_due_or_asked_for_in_an_outage_of_kms_is_done_after_it(lab: &Lab) -> Result<()> {
    let server = Server::of(lab, "provider");
    let master = server.master()?;
    let by_file = lab.lasting_endpoint("provider", "P-256")?;
    let sealed = lab.endpoints.iter();
    let mut sealed = sealed.filter(|endpoint| endpoint.via == "provider" && endpoint.key == "lab-sealed-rsa");
    let sealed = sealed.next().context("no sealed key is served")?;
    let (renewed, urgent) = (
        ("lab-acme-rsa", "acme-rsa.lab.test"),
        ("lab-acme-p256", "acme-p256.lab.test"),
    );
    // Other tests start the CA again, which knows nothing then of what it issued before.
    let of_this_ca = |(certificate, name): (&str, &str)| {
        let before = acme::shown(lab, certificate, name)?;
        lab.ctl(&["rotate", certificate, "--now"])?;
        acme::changed(lab, certificate, name, &before)
    };
    let (old_renewed, old_urgent) = (of_this_ca(renewed)?, of_this_ca(urgent)?);
    let ended = || -> Result<[usize; 2]> {
        let history = lab.ctl(&["history", urgent.0])?["history"].clone();
        let history = history.as_array().context("no history")?;
        Ok(["revoked", "retired"].map(|what| history.iter().filter(|one| one["what"] == what).count()))
    };
    let before = ended()?;

    let outage = Outage::begin(lab)?;
    service::kill(lab)?;
    acme::set_window_in_the_past(lab, &old_renewed)?;
    acme::forget_windows(lab)?;
    service::start(lab)?;
    process::wait_until(Duration::from_secs(20), "a key that needs no KMS", || {
        server::get(lab, by_file, Tls::V13, &[]).is_ok()
    })?;
    agent::wait_for(lab, "what is sealed to wait for KMS", |report| {
        let mut its = report.certificates.iter().filter(|one| one.source == "acme");
        its.all(|one| one.state == "waiting-for-kms")
    })?;
    ensure!(server::get(lab, sealed, Tls::V13, &[]).is_err(), "a sealed key signs");
    let rotate = ["rotate", urgent.0, "--now", "--revoke", "--reason", "key-compromise"];
    let asked = lab.ctl(&rotate)?["certificates"][0].clone();
    let says = asked["says"].as_str().unwrap_or_default();
    ensure!(
        asked["outcome"] == "due" && says.contains("once what is stored of it is open"),
        "{asked}"
    );
    let status = lab.status()?["attention"].to_string();
    ensure!(
        status.contains("declared not to be trusted (key-compromise)"),
        "{status}"
    );

    drop(outage);
    let new_renewed = acme::changed(lab, renewed.0, renewed.1, &old_renewed)?;
    let new_urgent = acme::changed(lab, urgent.0, urgent.1, &old_urgent)?;
    ensure!(
        new_renewed.key != old_renewed.key && new_urgent.key != old_urgent.key,
        "a new certificate has the older key"
    );
    process::wait_until(Duration::from_secs(60), "the older key to be revoked and wiped", || {
        ended().is_ok_and(|after| after.iter().zip(before).all(|(after, before)| *after > before))
    })?;
    server::get(lab, sealed, Tls::V13, &[]).context("a sealed key after the outage")?;
    ensure!(server.master()? == master, "the server was restarted");
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
    let any_sealed = |lab: &Lab, counts: fn(&str) -> bool| -> Result<usize> {
        let listed = lab.ctl(&["list"])?;
        let keys = listed["keys"].as_array().context("no list")?.iter();
        let sealed = keys.filter(|key| !key["sealed"].is_null());
        Ok(sealed.filter(|key| key["name"].as_str().is_some_and(counts)).count())
    };
    let sealed = |lab: &Lab| any_sealed(lab, |name| !acme::is_of_ca(name));
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
    ensure!(
        any_sealed(lab, |_| true)? == 0,
        "another image's key policy released them"
    );
    let waiting = lab.status()?["waiting"].to_string();
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

/// A key is born beside the one in use, gets its certificate, and takes its place; the older one goes on signing. The last of all tests:
/// the lab's description still has the older.
fn a_new_generation_is_switched_to_under_load(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let older = lab.key("lab-sealed-p256")?;
    let endpoint = lab
        .endpoints
        .iter()
        .find(|endpoint| endpoint.key == older.label && endpoint.via == "provider")
        .context("it is not served")?;
    let server = Server::of(lab, "provider");
    let master = server.master()?;
    let hosts = authority::hosts_of(lab, &older.label)?;
    let born = lab.ctl(&[
        "create",
        &older.label,
        "--type",
        "p-256",
        "--usage",
        "tls",
        "--dns-name",
        &hosts.join(","),
        "--client",
        "www-data,haproxy",
        "--sealed=lab",
    ])?;
    let newer = born["id"].as_str().context("no id")?.to_owned();
    let load = Load::start_with(lab, endpoint, LOAD, &[&older.id, &newer])?;
    let (request, chain) = (scratch.file("csr.pem"), scratch.file("chain.pem"));
    lab.ctl(&["csr", &newer, "--out", &request.display().to_string()])?;
    authority::issue(lab, &request, &hosts.each_ref().map(String::as_str), &chain)?;
    let spki = succeed(openssl().args(["x509", "-noout", "-pubkey", "-in"]).arg(&chain))?;
    lab.ctl(&["install", &newer, &chain.display().to_string()])?;
    agent::wait_for(lab, "the newer generation to be live", |report| {
        let its = report.certificates.iter().find(|one| one.name == older.label);
        let live = its.and_then(|one| one.generations.iter().find(|generation| generation.is_live));
        live.is_some_and(|live| live.id == newer) && agent::is_served(report, &older.label)
    })?;
    process::wait_until(Duration::from_secs(10), "the newer leaf to be served", || {
        server::get(lab, endpoint, Tls::V13, &[]).is_ok_and(|session| session.spki == spki)
    })?;
    sleep(Duration::from_secs(1));
    load.finish()?.expect_none_failed()?;
    ensure!(server.master()? == master, "the server was restarted");
    let state = |id: &str| -> Result<String> {
        let listed = lab.ctl(&["list"])?;
        let keys = listed["keys"].as_array().context("no list")?.clone();
        let its = keys.iter().find(|key| key["id"] == id).context("it is gone")?;
        Ok(its["state"].as_str().unwrap_or_default().to_owned())
    };
    // The service is told once no older worker is there, at the agent's next look.
    process::wait_until(Duration::from_secs(60), "the older generation to be superseded", || {
        drop(agent::reload(lab)); // a look now
        sleep(Duration::from_millis(500));
        state(&older.id).is_ok_and(|older| older == "superseded")
    })?;
    ensure!(state(&newer)? == "live", "the newer generation is {}", state(&newer)?);
    Ok(())
}

/// Handshakes a second at each endpoint.
const LOAD: f64 = 50.0;
const OUTAGE: Duration = Duration::from_secs(2);
/// Long enough for the agent to give the enclave up and for the enclave to dial again.
const PAUSE: Duration = Duration::from_secs(10);
