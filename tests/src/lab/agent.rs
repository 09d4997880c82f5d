//! The lab's agent and supervisor, killed and started again by a test, and what the agent says.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use enclave_tls_admin::client::Client;
use enclave_tls_admin::report::{Ask, Report, Told};

use super::Lab;
use super::process::{self, Signal};

/// The pid that it has now.
pub fn pid(lab: &Lab, name: &str) -> Result<u32> {
    let words = lab
        .commands
        .get(name)
        .with_context(|| format!("the lab has no {name}"))?;
    process::with_command_line(words).with_context(|| format!("{name} does not run"))
}

/// Kills one of the lab's processes, and waits until it is gone.
pub fn kill(lab: &Lab, name: &str) -> Result<()> {
    let pid = pid(lab, name)?;
    process::signal(pid, Signal::KILL)?;
    process::wait_until(LIMIT, "its end", || !process::is_alive(pid))
}

/// Starts it with the words of its first start.
pub fn start(lab: &Lab, name: &str) -> Result<()> {
    let words = lab.commands.get(name).context("no such process")?;
    let (program, arguments) = words.split_first().context("no words")?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(lab.logs.join(format!("{name}.log")))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(&lab.aws_env)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    command.spawn().with_context(|| format!("{name} does not start"))?;
    Ok(())
}

/// Has the agent read its configuration again.
pub fn reload(lab: &Lab) -> Result<()> {
    process::signal(pid(lab, "agent")?, Signal::HUP)
}

/// What the agent does by itself.
pub fn ask(lab: &Lab, ask: Ask) -> Result<Told> {
    Client::new(&lab.ctl_socket)
        .agent(ask)
        .map_err(|error| anyhow::anyhow!("{error}"))
}

/// Where everything stands.
pub fn report(lab: &Lab) -> Result<Report> {
    match ask(lab, Ask::Report)? {
        Told::Report(report) => Ok(*report),
        other => anyhow::bail!("no report: {other:?}"),
    }
}

/// Waits until the report is as it should be. How long that took.
pub fn wait_for(lab: &Lab, what: &str, is_so: impl Fn(&Report) -> bool) -> Result<Duration> {
    let begun = Instant::now();
    let mut last = String::new();
    process::wait_until(LIMIT, what, || match report(lab) {
        Ok(report) => {
            last = format!("{report:?}");
            is_so(&report)
        }
        Err(error) => {
            last = format!("{error:#}");
            false
        }
    })
    .with_context(|| last.clone())?;
    Ok(begun.elapsed())
}

/// Of a certificate in a report.
pub fn is_served(report: &Report, name: &str) -> bool {
    let mut its = report
        .certificates
        .iter()
        .filter(|certificate| certificate.name == name);
    its.any(|certificate| certificate.state == "served")
}

/// A supervisor looks every five seconds, and an emulated machine boots in two.
const LIMIT: Duration = Duration::from_secs(60);
