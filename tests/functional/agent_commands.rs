//! The commands that an administrator leaves running, and the one that asks everybody.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use e2e::lab::kms::KeyPolicy;
use e2e::lab::process::{self, Signal};
use e2e::lab::program::run;
use e2e::lab::suite::Test;
use e2e::lab::terminal::Running;
use e2e::lab::{Lab, agent};
use emulator_iam::{Account, Asker, Emulator, Role};
use serde_json::{Value, json};

pub(super) const TESTS: &[Test] = e2e::tests![
    status_is_watched_on_a_terminal_through_a_restart_of_the_agent,
    status_is_watched_by_a_pipe_without_colours,
    logs_are_followed_on_a_terminal_through_a_restart_of_the_agent,
    logs_are_followed_by_a_pipe_without_colours,
    check_online_asks_kms_iam_the_instance_and_the_agent,
];

fn status_is_watched_on_a_terminal_through_a_restart_of_the_agent(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    let watch = Running::on_a_terminal(lab, "status --watch")?;
    watch.wait_for(0, CLEARED)?;
    watch.wait_for(0, "\x1b[1mCertificates\x1b[0m")?;
    restart(
        lab,
        |from| watch.wait_for(from, "cannot reach the agent on"),
        || watch.said().len(),
    )?;
    let from = watch.said().len();
    watch.wait_for(from, CLEARED)?;
    watch.wait_for(from, "\x1b[1mCertificates\x1b[0m")?;
    interrupted(watch)
}

fn status_is_watched_by_a_pipe_without_colours(lab: &Lab) -> Result<()> {
    lab.need_not_be_emulated()?;
    let text = Running::by_a_pipe(lab, &["status", "--watch"])?;
    let lines = Running::by_a_pipe(lab, &["--json", "status", "--watch"])?;
    text.wait_for(0, "\nCertificates\n")?;
    lines.wait_for(0, "\n")?;
    let both = |from| {
        text.wait_for(from, "cannot reach the agent on")?;
        lines.wait_for(0, "{\"error\":\"cannot reach the agent on")
    };
    restart(lab, both, || text.said().len())?;
    let (from, since) = (text.said().len(), lines.said().len());
    text.wait_for(from, "\nCertificates\n")?;
    lines.wait_for(since, "\"well\":")?;
    for running in [&text, &lines] {
        ensure!(!running.said().contains('\x1b'), "colours where nobody sees them");
        process::signal(running.pid(), Signal::INT)?;
    }
    let said = lines.said();
    // The last one may be cut off.
    let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for line in whole.lines() {
        serde_json::from_str::<Value>(line).with_context(|| line.to_owned())?;
    }
    for running in [text, lines] {
        let status = running.ended()?;
        ensure!(status.signal() == Some(2), "{status}");
    }
    // Whoever reads no more ends it, and that is no error.
    let mut unread = lab.ctl_command()?;
    let mut unread = unread
        .args(["status", "--watch"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(unread.stdout.take());
    process::wait_until(std::time::Duration::from_secs(30), "its end", || {
        matches!(unread.try_wait(), Ok(Some(_)))
    })?;
    let status = unread.wait()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

fn logs_are_followed_on_a_terminal_through_a_restart_of_the_agent(lab: &Lab) -> Result<()> {
    let logs = Running::on_a_terminal(lab, "logs --follow")?;
    logs.wait_for(0, " agent ")?;
    restart(
        lab,
        |from| logs.wait_for(from, "waiting until it answers)"),
        || logs.said().len(),
    )?;
    logs.wait_for(0, "(the agent was started anew; these are its lines from then on)")?;
    logs.wait_for(0, "[agent.ready] ready")?;
    // The agent says that of a mistake as a warning or an error.
    let from = logs.said().len();
    broken_reload(lab)?;
    logs.wait_for(from, "\x1b[3")?;
    interrupted(logs)
}

fn logs_are_followed_by_a_pipe_without_colours(lab: &Lab) -> Result<()> {
    let logs = Running::by_a_pipe(lab, &["logs", "--follow"])?;
    logs.wait_for(0, " agent ")?;
    restart(
        lab,
        |from| logs.wait_for(from, "waiting until it answers)"),
        || logs.said().len(),
    )?;
    let from = logs.said().len();
    broken_reload(lab)?;
    logs.wait_for(from, "[configuration.refused]")?;
    let said = logs.said();
    ensure!(!said.contains('\x1b'), "colours where nobody sees them");
    ensure!(said.matches("was started anew").count() == 1, "{said}");
    process::signal(logs.pid(), Signal::INT)?;
    let status = logs.ended()?;
    ensure!(status.signal() == Some(2), "{status}");
    Ok(())
}

/// Ctrl-C, as a shell sees it.
fn interrupted(mut running: Running) -> Result<()> {
    running.type_interrupt()?;
    let status = running.ended()?;
    ensure!(status.code() == Some(130), "{status}");
    Ok(())
}

/// Kills the agent, waits until that is said, and starts it.
fn restart(lab: &Lab, said: impl Fn(usize) -> Result<()>, length: impl Fn() -> usize) -> Result<()> {
    let from = length();
    agent::kill(lab, "agent")?;
    let said = said(from);
    agent::start(lab, "agent")?;
    said?;
    agent::wait_for(lab, "the agent", |report| report.enclave.connected_since.is_some()).map(drop)
}

/// Has the agent refuse a text, and take the one before again.
fn broken_reload(lab: &Lab) -> Result<()> {
    let text = std::fs::read_to_string(&lab.config)?;
    std::fs::write(&lab.config, format!("{text}\n[nonsense]\n"))?;
    let refused = agent::reload(lab)
        .and_then(|()| agent::wait_for(lab, "the refusal", |report| report.configuration.refused.is_some()));
    std::fs::write(&lab.config, text)?;
    refused?;
    agent::reload(lab)?;
    agent::wait_for(lab, "the text before", |report| report.configuration.refused.is_none()).map(drop)
}

/// The lab's KMS, its metadata service, its agent, and an IAM that knows the role that the metadata service names.
fn check_online_asks_kms_iam_the_instance_and_the_agent(lab: &Lab) -> Result<()> {
    let iam = Emulator::start(account(
        lab,
        json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}),
    ))?;
    let policy = lab.attestation.policy.display().to_string();
    let found = |iam: &Emulator| -> Result<Vec<Value>> { check(lab, iam, &policy) };
    let findings = found(&iam)?;
    let of = |area: &str| -> Vec<&Value> { findings.iter().filter(|one| one["area"] == area).collect() };
    let says = |one: &&Value, what: &str| one["found"].as_str().is_some_and(|found| found.contains(what));
    let aws = of("AWS");
    ensure!(aws.len() == 1 && says(&aws[0], "credentials are found"), "{aws:?}");
    let keys = of("KMS key");
    for purpose in ["sealing", "bundles"] {
        let arn = &lab.kms_keys[purpose];
        let its: Vec<_> = keys.iter().filter(|one| says(one, arn)).collect();
        ensure!(
            !its.is_empty() && its.iter().all(|one| one["level"] != "error"),
            "{purpose}: {keys:?}"
        );
    }
    let role = of("role");
    ensure!(role.len() == 1 && role[0]["level"] == "ok", "{role:?}");
    ensure!(
        says(&role[0], &format!("role/{ROLE} can get no certificate")),
        "{role:?}"
    );
    // Beside the clock source, which a lab's policy lets pass, all is well.
    for one in of("agent") {
        ensure!(one["level"] == "ok" || says(&one, "clock source"), "{one}");
    }

    // A KMS key that opens for another image alone; a role that writes a zone.
    let zone = json!({"Effect": "Allow", "Action": "route53:ChangeResourceRecordSets", "Resource": "arn:aws:route53:::hostedzone/Z1"});
    let iam = Emulator::start(account(lab, zone))?;
    let key_policy = KeyPolicy::remember(lab)?;
    key_policy.put(lab, &[&format!("{}:{}", "a1".repeat(48), "b2".repeat(48))])?;
    let findings = found(&iam)?;
    drop(key_policy);
    let errors: Vec<&str> = findings
        .iter()
        .filter(|one| one["level"] == "error")
        .filter_map(|one| one["found"].as_str())
        .collect();
    for wanted in ["enclave-denied", "zone-writing"] {
        ensure!(
            errors.iter().any(|error| error.contains(wanted)),
            "no {wanted}: {errors:#?}"
        );
    }
    Ok(())
}

fn check(lab: &Lab, iam: &Emulator, policy: &str) -> Result<Vec<Value>> {
    let mut command = lab.ctl_command()?;
    let base = agent::report(lab)?
        .base
        .context("the helper has not said where it writes")?;
    command.args(["--json", "check", "--online", "--image-policy", policy, "--config"]);
    command
        .arg(&lab.config)
        .arg("--base")
        .arg(base)
        .envs(&lab.aws_env)
        .envs(&lab.admin_env);
    command.env("AWS_ENDPOINT_URL_IAM", format!("http://{}", iam.address()));
    let ran = run(&mut command)?;
    // What a lab lacks of an instance with enclaves is to be corrected.
    ensure!(ran.status.code() == Some(3), "{}", ran.printed());
    let json: Value = serde_json::from_str(&ran.stdout)?;
    Ok(json["findings"].as_array().context("no findings")?.clone())
}

fn account(lab: &Lab, statement: Value) -> Account {
    let value = |name: &str| lab.admin_env.get(name).cloned().unwrap_or_default();
    let may = [
        "GetRole",
        "ListRolePolicies",
        "GetRolePolicy",
        "ListAttachedRolePolicies",
        "SimulatePrincipalPolicy",
    ];
    Account {
        id: "111122223333".to_owned(),
        askers: vec![Asker {
            access_key_id: value("AWS_ACCESS_KEY_ID"),
            secret_access_key: value("AWS_SECRET_ACCESS_KEY"),
            session_token: None,
            arn: "arn:aws:iam::111122223333:role/administrator".to_owned(),
            may: may.map(str::to_owned).to_vec(),
        }],
        roles: vec![Role {
            name: ROLE.to_owned(),
            path: "/".to_owned(),
            inline: BTreeMap::from([(
                "its".to_owned(),
                json!({"Version": "2012-10-17", "Statement": [statement]}),
            )]),
            ..Role::default()
        }],
    }
}

/// As the lab's metadata service calls it.
const ROLE: &str = "default-role";
const CLEARED: &str = "\x1b[H\x1b[2J";
