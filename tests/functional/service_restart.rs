//! The service is killed and started again. This ends the lab's born keys, so it is a program of its own, and its name
//! has cargo run it after the programs that need them.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::Lab;
use e2e::lab::load::{Load, RECOVERY};
use e2e::lab::program::succeed;
use e2e::lab::server::Server;
use e2e::lab::service;
use e2e::lab::suite::{self, Needs, Test};

fn main() -> ExitCode {
    suite::main(Needs::ALab, &[TESTS])
}

const TESTS: &[Test] = e2e::tests![
    threat_11_killed_and_restarted_under_load,
    born_keys_are_gone_after_a_restart_and_list_says_so,
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

fn born_keys_are_gone_after_a_restart_and_list_says_so(lab: &Lab) -> Result<()> {
    if lab.service()? == lab.pid("service")? {
        service::kill(lab)?;
        service::start(lab)?;
    }
    let listed = lab.ctl(&["list"])?;
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
        ensure!(
            lost.contains(&key.id) != lasts,
            "{} ({}) and {lost:?}",
            key.label,
            key.origin
        );
    }
    let text = succeed(lab.ctl_command()?.arg("list"))?;
    ensure!(
        text.contains("Lost when the service restarted"),
        "nothing is said of born keys: {text}"
    );
    Ok(())
}

/// Handshakes a second at each endpoint.
const LOAD: f64 = 50.0;
const OUTAGE: Duration = Duration::from_secs(2);
