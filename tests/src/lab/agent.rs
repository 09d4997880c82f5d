//! The lab's agent and supervisor, killed and started again by a test, and what the agent says.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
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
    start_with(lab, name, &[])
}

/// The same, with these variables beside the agent's own.
pub fn start_with(lab: &Lab, name: &str, variables: &[(String, String)]) -> Result<()> {
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
        .envs(variables.iter().cloned())
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

/// A page of its metrics socket: the body of a good answer.
pub fn page(lab: &Lab, path: &str) -> Result<String> {
    let address = lab.configured("metrics")?;
    let mut socket = UnixStream::connect(address.strip_prefix("unix:").context("not a unix socket")?)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    Ok(body.to_owned())
}

/// The sum of a metric over all its labels that contain `labels`.
pub fn metric(page: &str, name: &str, labels: &str) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (its, value) = rest.rsplit_once(' ')?;
        (its.is_empty() || its.starts_with('{')).then_some(())?;
        its.contains(labels).then(|| value.parse::<f64>().ok())?
    });
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

/// Of a certificate in a report.
pub fn is_served(report: &Report, name: &str) -> bool {
    let mut its = report
        .certificates
        .iter()
        .filter(|certificate| certificate.name == name);
    its.any(|certificate| certificate.state == "served")
}

/// The newest credential of a client in a report.
pub fn credential_of(report: &Report, client: &str) -> Option<String> {
    let mut clients = report.clients.iter();
    clients.find(|one| one.name == client)?.credential.clone()
}

/// A supervisor looks every five seconds, and an emulated machine boots in two.
const LIMIT: Duration = Duration::from_secs(60);
