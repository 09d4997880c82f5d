//! threat_12: what the enclave says costs the parent no more than it lets through, and nobody who signs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::lab::agent;
use e2e::lab::keys::WEB_SERVERS;
use e2e::lab::load::Load;
use e2e::lab::suite::{Skipped, Test};
use e2e::lab::{Enclave, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_12_a_storm_of_records_is_metered_and_disturbs_no_handshake,
    threat_12_what_was_dropped_is_a_metric,
    threat_13_to_16_pid_1_says_in_order_what_it_checked,
    the_console_says_nothing,
];

/// Each refused request is a warning in the enclave's log.
fn threat_12_a_storm_of_records_is_metered_and_disturbs_no_handshake(lab: &Lab) -> Result<()> {
    needs_a_log_plane(lab)?;
    let load = Load::start(lab, lab.lasting_endpoint("provider", "P-256")?, LOAD)?;
    let before = count(lab, "dropped")?;
    let end = Instant::now() + PATIENCE;
    let mut storm: Vec<Child> = Vec::new();
    while count(lab, "dropped")? == before {
        ensure!(Instant::now() < end, "nothing was dropped: {}", lab.status()?["logs"]);
        for _ in 0..ROUND {
            storm.push(refused(lab)?);
        }
        for mut child in storm.drain(..) {
            ensure!(!child.wait()?.success(), "the policy has no such name");
        }
    }
    let outcome = load.finish()?;
    outcome.expect_none_failed()?;
    ensure!(outcome.report.ok > 0, "no handshake was made");
    ensure!(count(lab, "malformed")? == 0, "a record was malformed");
    Ok(())
}

/// After the storm: what `status` counts, a collector sees.
fn threat_12_what_was_dropped_is_a_metric(lab: &Lab) -> Result<()> {
    needs_a_log_plane(lab)?;
    let page = agent::page(lab, "/metrics")?;
    let dropped = agent::metric(&page, "enclave_tls_log_records_dropped_total", "").context("no such metric")?;
    ensure!(dropped > 0.0, "{dropped} were dropped");
    Ok(())
}

fn refused(lab: &Lab) -> Result<Child> {
    let mut command = Command::new(&lab.ctl);
    command
        .arg("--socket")
        .arg(&lab.ctl_socket)
        .args(["create", "not-the-labs"]);
    command.args(["--type", "p-256", "--usage", "tls", "--client", WEB_SERVERS]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().context("enclave-tlsctl does not start")
}

fn count(lab: &Lab, what: &str) -> Result<u64> {
    let count = lab.status()?["logs"][what].as_u64();
    count.with_context(|| format!("status does not count what was {what}"))
}

fn threat_13_to_16_pid_1_says_in_order_what_it_checked(lab: &Lab) -> Result<()> {
    needs_a_log_plane(lab)?;
    let log = std::fs::read_to_string(lab.logs.join("agent.log"))?;
    let said: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once(" init: "))
        .map(|(_, text)| text)
        .collect();
    let checked = [
        "file systems are mounted; the parent has CID 2",
        "the image's policy is read",
        "random numbers are the NSM's",
        "the clock source is ",
        "the root is read-only",
        "the service is started",
    ];
    ensure!(said.len() >= checked.len(), "PID 1 said {said:?}");
    for (text, begin) in said.iter().zip(checked) {
        ensure!(text.starts_with(begin), "{text:?} where {begin:?} belongs");
    }
    Ok(())
}

/// The console of an image is for nobody: the parent may read it.
fn the_console_says_nothing(lab: &Lab) -> Result<()> {
    needs_a_log_plane(lab)?;
    let console = std::fs::read_to_string(lab.logs.join("service.log"))?;
    ensure!(console.trim().is_empty(), "the console says {console}");
    Ok(())
}

fn needs_a_log_plane(lab: &Lab) -> Result<()> {
    match lab.enclave {
        Enclave::Emulated => Ok(()),
        Enclave::Process => Err(Skipped("a process logs to standard error, and has no console".to_owned()).into()),
    }
}

/// Handshakes a second.
const LOAD: f64 = 20.0;
/// Commands at the same time.
const ROUND: usize = 50;
/// 2,000 records may come at once and 100 a second; commands are slower than the enclave.
const PATIENCE: Duration = Duration::from_secs(90);
