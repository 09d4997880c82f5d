//! The service, the command that holds its control connection, and the module's configuration.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::aws::Aws;
use super::enclave::Enclave;
use super::place::{Place, WORKERS, give_to_group};
use super::state::{Processes, write_json};
use crate::build::Binaries;
use crate::process::{self, Identity};

/// Starts processes and writes each down before anything else can fail.
pub(super) struct Starter<'a> {
    pub(super) place: &'a Place,
    pub(super) processes: Processes,
}

impl Starter<'_> {
    /// Starts a program in the background, its output in the lab's log.
    pub(super) fn start(&mut self, name: &str, words: Vec<String>) -> Result<()> {
        self.start_with(name, words, &[])
    }

    /// The same, with variables in its environment, and none of the caller's own that concern AWS.
    pub(super) fn start_with(&mut self, name: &str, words: Vec<String>, variables: &[(&str, String)]) -> Result<()> {
        let (program, arguments) = words.split_first().context("no command")?;
        let log = self.log(name)?;
        let mut command = Command::new(program);
        for (foreign, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
            command.env_remove(foreign);
        }
        command.envs(variables.iter().cloned());
        // A process group of its own: the terminal's Ctrl-C is not for it.
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        self.processes.commands.insert(name.to_owned(), words);
        self.note(name, child.id())
    }

    /// Writes down a process of this lab.
    pub(super) fn note(&mut self, name: &str, pid: u32) -> Result<()> {
        let identity = Identity::of(pid).with_context(|| format!("{name} ended at once{}", self.last_words(name)))?;
        self.processes.started.insert(name.to_owned(), identity);
        self.save()
    }

    pub(super) fn save(&self) -> Result<()> {
        write_json(&self.place.processes(), &self.processes)
    }

    fn log(&self, name: &str) -> Result<File> {
        Ok(OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.place.log(name))?)
    }

    fn is_alive(&self, name: &str) -> bool {
        self.processes.started.get(name).is_some_and(Identity::is_alive)
    }

    fn last_words(&self, name: &str) -> String {
        let log = fs::read_to_string(self.place.log(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            ":\n{}",
            lines
                .get(lines.len().saturating_sub(10)..)
                .unwrap_or_default()
                .join("\n")
        )
    }
}

/// Starts the service and `enclave-tlsctl listen`, and waits until the service answers.
pub(super) fn start(
    starter: &mut Starter<'_>,
    binaries: &Binaries,
    command: Vec<String>,
    enclave: Enclave,
    aws: &Aws,
) -> Result<()> {
    let place = starter.place;
    starter.start_with("ctl", ctl_command(place, binaries, enclave, aws), &aws.instance())?;
    starter.start("service", command)?;
    let answers = || Ctl::new(place, binaries).run(&["stats"]).is_ok();
    if !process::wait_until(Duration::from_secs(30), || !alive(starter) || answers()) || !alive(starter) {
        bail!(
            "no service{}{}",
            starter.last_words("service"),
            starter.last_words("ctl")
        );
    }
    Ok(())
}

/// Gives the workers' user a credential, and the module its configuration.
pub(super) fn configure_module(place: &Place, binaries: &Binaries, signing: &str) -> Result<()> {
    let credential = place.credential();
    let out = credential.display().to_string();
    Ctl::new(place, binaries).run(&["credential", WORKERS, "--out", &out, "--group", WORKERS])?;
    ensure!(credential.exists(), "enclave-tlsctl wrote no credential");
    let config = place.module_config();
    fs::write(
        &config,
        format!("endpoints = [\"{signing}\"]\ncredential = \"{WORKERS}.credential\"\n"),
    )?;
    set_mode(&config, 0o640)?;
    give_to_group(&config, WORKERS)
}

/// `enclave-tlsctl`, speaking to this lab's service.
pub(crate) struct Ctl {
    program: std::path::PathBuf,
    socket: std::path::PathBuf,
}

impl Ctl {
    pub(crate) fn new(place: &Place, binaries: &Binaries) -> Self {
        Self {
            program: binaries.ctl.clone(),
            socket: place.ctl_socket(),
        }
    }

    /// Runs one command and returns its JSON.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        self.run_as(arguments, &[])
    }

    /// The same, with variables in its environment.
    pub(super) fn run_as(&self, arguments: &[&str], variables: &[(&str, String)]) -> Result<serde_json::Value> {
        // It waits for the service, which may never answer.
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(&self.program).envs(variables.iter().cloned());
        let json = process::capture(command.arg("--socket").arg(&self.socket).arg("--json").args(arguments))?;
        serde_json::from_str(&json).with_context(|| format!("{} printed no JSON", process::line_of(&command)))
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

fn alive(starter: &Starter<'_>) -> bool {
    starter.is_alive("service") && starter.is_alive("ctl")
}

fn ctl_command(place: &Place, binaries: &Binaries, enclave: Enclave, aws: &Aws) -> Vec<String> {
    let text = |path: &Path| path.display().to_string();
    let mut words = [
        "--socket",
        &text(&place.ctl_socket()),
        "listen",
        "--control",
        &place.control_address(),
        "--replay",
        &text(&place.replay()),
        "--egress",
        &enclave.egress_address(place),
        "--aws",
    ]
    .map(str::to_owned)
    .to_vec();
    if enclave == Enclave::Emulated {
        words.extend(["--logs".to_owned(), place.logs_address()]);
    }
    let allowed = aws
        .egress
        .iter()
        .flat_map(|host| ["--egress-allow".to_owned(), host.clone()]);
    let program = std::iter::once(text(&binaries.ctl));
    program.chain(words).chain(allowed).collect()
}

pub(super) fn process_command(place: &Place, binaries: &Binaries, signing: &str) -> Vec<String> {
    let policy = place.policy().display().to_string();
    let nsm = place.nsm().display().to_string();
    let words = [
        "--policy",
        &policy,
        "--signing",
        signing,
        "--control",
        &place.control_address(),
        "--egress",
        &place.egress_address(),
        "--nsm",
        &nsm,
    ];
    std::iter::once(binaries.service.display().to_string())
        .chain(words.map(str::to_owned))
        .collect()
}

/// In seconds. An emulated machine takes its time for an RSA key.
const PATIENCE: &str = "120";
