//! The agent without room on its disk, with AWS that stalls or is dead, with a clock that somebody sets: clients make handshakes all
//! the while, none of which may fail, and nothing is lost.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::load::Load;
use e2e::lab::otherwise::Otherwise;
use e2e::lab::program::run;
use e2e::lab::server::Server;
use e2e::lab::stall::{Stall, dead};
use e2e::lab::suite::{Skipped, Test};
use e2e::lab::{Lab, agent, process};
use enclave_tls_admin::report::{Ask, Report, Told};

pub(super) const TESTS: &[Test] = e2e::tests![
    a_full_disk_is_said_and_costs_no_handshake_and_passes,
    threat_37_aws_that_stalls_or_is_dead_costs_no_handshake_and_passes,
    threat_18_a_clock_that_is_set_under_a_running_agent_loses_nothing,
];

fn a_full_disk_is_said_and_costs_no_handshake_and_passes(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    let witness = Witness::begin(lab)?;
    let small = Otherwise::in_little_space(lab)?;
    agent::wait_for(lab, "the agent in little space", all_served)?;
    end_overlap(lab)?;
    let older = credential(&agent::report(lab)?)?;
    let fill = small.fill()?;
    ensure!(rotate(lab)? == Told::Done);
    let told = |report: &Report| {
        let problem = report
            .clients
            .iter()
            .find(|one| one.name == "www-data")
            .and_then(|client| client.problem.clone());
        problem.is_some_and(|why| why.contains("disk has room") || why.contains("No space left"))
    };
    agent::wait_for(lab, "the agent to say that there is no room", told)?;
    // Nothing is begun that could not be kept.
    let refused = run(lab.ctl_command()?.args(create_sealed("full")))?;
    ensure!(
        refused.status.code() == Some(1) && refused.printed().contains("did not store the sealed state"),
        "{}",
        refused.printed()
    );
    let report = agent::report(lab)?;
    ensure!(all_served(&report) && credential(&report)? == older, "{report:?}");
    let status = lab.status()?;
    let attention = status["attention"].to_string();
    ensure!(
        attention.contains("client www-data"),
        "`status` does not say so: {attention}"
    );
    // It looks again by itself.
    fs::remove_file(fill)?;
    agent::wait_for(lab, "the rotation after all", |report| {
        credential(report).is_ok_and(|newer| newer != older)
            && report.clients.iter().all(|client| client.problem.is_none())
            && report.problems.is_empty()
            && all_served(report)
    })?;
    create_and_retire(lab, "full")?;
    drop(small);
    agent::wait_for(lab, "the lab's agent to have all of it", |report| {
        credential(report).is_ok_and(|newer| newer != older) && all_served(report)
    })?;
    end_overlap(lab)?;
    witness.end()
}

fn threat_37_aws_that_stalls_or_is_dead_costs_no_handshake_and_passes(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    let witness = Witness::begin(lab)?;
    let (stall, imds) = (Stall::start()?, Stall::start()?);
    for (what, group, aws, metadata) in [
        ("stalls", "stalls", stall.address(), imds.address()),
        ("is dead", "dead", dead()?, dead()?),
    ] {
        let elsewhere = Configuration::change(lab, |line| {
            // "kms.us-east-1.amazonaws.com:443" = "127.0.0.1:NNNN", and S3 likewise.
            let (host, _) = line.split_once(".amazonaws.com:443\" = ")?;
            Some(format!("{host}.amazonaws.com:443\" = \"{aws}\""))
        })?;
        let endpoint = format!("http://{metadata}");
        let without = Otherwise::with_environment(lab, &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &endpoint)])?;
        // Whoever has its keys needs no AWS.
        agent::wait_for(lab, &format!("the agent while AWS {what}"), all_served)?;
        let begun = run(lab.ctl_command()?.args(create_sealed(group)))?;
        let said = begun.printed();
        ensure!(
            begun.status.code() == Some(1) && said.contains("AWS did not answer"),
            "AWS {what}: {said}"
        );
        process::wait_until(
            Duration::from_secs(60),
            "`status` to say that there are no newer credentials",
            || lab.status().is_ok_and(|status| status["aws"]["failure"].is_string()),
        )?;
        // The KMS key that did not answer is named.
        let status = lab.status()?;
        let key = status["sealing_keys"][0].clone();
        ensure!(key["answers"] == false, "AWS {what}: {key}");
        ensure!(
            status["attention"]
                .to_string()
                .contains("did not answer, or refused, when it was asked last"),
            "{status}"
        );
        let report = agent::report(lab)?;
        ensure!(all_served(&report), "AWS {what}: {report:?}");
        drop(without);
        elsewhere.put_back()?;
        process::wait_until(Duration::from_secs(60), "AWS credentials again", || {
            lab.status()
                .is_ok_and(|status| status["aws"]["failure"].is_null() && status["aws"]["credentials"] == true)
        })?;
        create_and_retire(lab, group)?;
        ensure!(
            lab.status()?["sealing_keys"][0]["answers"] == true,
            "the KMS key answers and is not said to"
        );
    }
    for (name, count) in [("AWS", stall.connections()), ("metadata", imds.connections())] {
        ensure!((1..MANY).contains(&count), "{name}: {count} connections");
    }
    witness.end()
}

fn threat_18_a_clock_that_is_set_under_a_running_agent_loses_nothing(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    if !Path::new(FAKETIME).exists() {
        return Err(Skipped(format!("there is no {FAKETIME} (Debian's faketime)")).into());
    }
    let witness = Witness::begin(lab)?;
    let before = keys(lab)?;
    let log = lab.logs.join("agent.log");
    let lines = || -> Result<usize> { Ok(fs::read_to_string(&log)?.lines().count()) };
    let scratch = e2e::lab::scratch::Scratch::new()?;
    let offset = scratch.write("offset", "+0d\n")?;
    let path = offset.display().to_string();
    let other = Otherwise::with_environment(
        lab,
        &[
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", &path),
            ("FAKETIME_NO_CACHE", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ],
    )?;
    agent::wait_for(lab, "the agent with a clock of its own", all_served)?;
    let (pid, begun) = (agent::pid(lab, "agent")?, lines()?);
    for days in [1, -1, 365, -365, 0] {
        fs::write(&offset, format!("{days:+}d\n"))?;
        agent::reload(lab)?;
        // A pass by the other clock, from its beginning to its end.
        let wanted = now() + days * DAY;
        agent::wait_for(lab, &format!("the clock {days} days away"), |report| {
            (report.configuration.in_force_since - wanted).abs() < DAY / 2
        })?;
        sleep(Duration::from_secs(2));
        agent::wait_for(lab, &format!("all to be well {days} days away"), |report| {
            all_served(report) && report.problems.is_empty() && report.clients.iter().all(|one| one.problem.is_none())
        })?;
        ensure!(keys(lab)? == before, "keys came or went {days} days away");
    }
    ensure!(agent::pid(lab, "agent")? == pid, "the agent ended");
    let said = lines()? - begun;
    ensure!(said < MANY, "{said} lines were said");
    drop(other);
    agent::wait_for(lab, "the lab's agent", all_served)?;
    ensure!(keys(lab)? == before, "keys came or went");
    witness.end()
}

/// Handshakes all the while, and the servers' processes.
struct Witness<'a> {
    lab: &'a Lab,
    loads: Vec<Load>,
    masters: Vec<u32>,
}

impl<'a> Witness<'a> {
    fn begin(lab: &'a Lab) -> Result<Self> {
        let mut loads = Vec::new();
        for (via, key) in [("provider", "lab-tls-p256"), ("engine", "lab-digest-p256")] {
            let mut endpoints = lab.endpoints.iter();
            let endpoint = endpoints
                .find(|one| one.via == via && one.key == key)
                .context("nothing is served")?;
            loads.push(Load::start(lab, endpoint, LOAD)?);
        }
        Ok(Self {
            lab,
            loads,
            masters: masters(lab)?,
        })
    }

    /// No handshake failed, and no server was restarted.
    fn end(self) -> Result<()> {
        for load in self.loads {
            load.finish()?.expect_none_failed()?;
        }
        ensure!(masters(self.lab)? == self.masters, "a server was restarted");
        Ok(())
    }
}

fn masters(lab: &Lab) -> Result<Vec<u32>> {
    ["provider", "engine"]
        .iter()
        .map(|via| Server::of(lab, via).master())
        .collect()
}

/// The agent's configuration with other lines, which it has read. It is as before when this goes.
struct Configuration<'a> {
    lab: &'a Lab,
    before: String,
}

impl<'a> Configuration<'a> {
    fn change(lab: &'a Lab, line: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let before = fs::read_to_string(&lab.config)?;
        let changed: String = before
            .lines()
            .map(|before| line(before).unwrap_or_else(|| before.to_owned()) + "\n")
            .collect();
        ensure!(changed != before, "no line is another");
        let configuration = Self { lab, before };
        fs::write(&lab.config, changed)?;
        agent::reload(lab)?;
        agent::wait_for(lab, "the other configuration", |report| {
            report.configuration.refused.is_none()
        })?;
        Ok(configuration)
    }

    fn put_back(self) -> Result<()> {
        let lab = self.lab;
        drop(self);
        agent::wait_for(lab, "the lab's configuration", |report| {
            report.configuration.refused.is_none()
        })
        .map(drop)
    }
}

impl Drop for Configuration<'_> {
    fn drop(&mut self) {
        let done = fs::write(&self.lab.config, &self.before).map_err(Into::into);
        if let Err(error) = done.and_then(|()| agent::reload(self.lab)) {
            eprintln!("the lab's configuration is not as it was: {error:#}");
        }
    }
}

fn all_served(report: &Report) -> bool {
    report.enclave.connected_since.is_some() && report.certificates.iter().all(|one| one.state == "served")
}

fn credential(report: &Report) -> Result<String> {
    let client = report
        .clients
        .iter()
        .find(|one| one.name == "www-data")
        .context("no client")?;
    client.credential.clone().context("the client has no credential")
}

/// No other rotation begins while the enclave takes two credentials, which tests that come after this one want.
fn end_overlap(lab: &Lab) -> Result<()> {
    let report = agent::report(lab)?;
    if let Some(older) = report
        .clients
        .iter()
        .find(|one| one.name == "www-data")
        .and_then(|client| client.older.clone())
    {
        lab.revoke("www-data", &older)?;
    }
    let is_over = |report: &Report| report.clients.iter().all(|client| client.older.is_none());
    agent::wait_for(lab, "one credential alone", is_over).map(drop)
}

fn rotate(lab: &Lab) -> Result<Told> {
    let client = "www-data".to_owned();
    agent::ask(lab, Ask::RotateCredential { client })
}

/// A key whose state is sealed needs KMS and the agent's disk: the first of a group both.
fn create_sealed(group: &str) -> [String; 9] {
    // Of this run of the test alone: a group that was there before needs no KMS.
    let group = format!("{group}-{}", std::process::id());
    let (name, group) = (format!("lab-e2e-{group}"), format!("--sealed=e2e-{group}"));
    [
        "create", &name, "--type", "p-256", "--usage", "tls", "--client", "www-data", &group,
    ]
    .map(str::to_owned)
}

fn create_and_retire(lab: &Lab, group: &str) -> Result<()> {
    let words = create_sealed(group);
    let created = lab.ctl(&words.each_ref().map(String::as_str))?;
    let id = created["id"].as_str().context("no id")?;
    lab.ctl(&["retire", id]).map(drop)
}

fn keys(lab: &Lab) -> Result<BTreeSet<String>> {
    let listed = lab.ctl(&["list"])?;
    let keys = listed["keys"].as_array().context("no keys")?;
    Ok(keys
        .iter()
        .filter_map(|key| key["id"].as_str())
        .map(str::to_owned)
        .collect())
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since
        .ok()
        .and_then(|since| i64::try_from(since.as_secs()).ok())
        .unwrap_or_default()
}

const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const DAY: i64 = 86_400;
/// Handshakes a second at each endpoint.
const LOAD: f64 = 20.0;
/// Of connections to what does not answer, or of lines in the log, in a minute or two: more would be a storm.
const MANY: usize = 200;
