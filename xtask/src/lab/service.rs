//! Starting processes, the service's among them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::place::Place;
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

    pub(super) fn is_alive(&self, name: &str) -> bool {
        self.processes.started.get(name).is_some_and(Identity::is_alive)
    }

    pub(super) fn last_words(&self, name: &str) -> String {
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

    /// Runs one command and returns what it says to people.
    pub(crate) fn text(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE).arg(&self.program);
        process::capture(command.arg("--socket").arg(&self.socket).args(arguments))
    }

    /// Runs one command and returns its JSON, whatever its exit status.
    pub(super) fn told(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let mut command = Command::new(&self.program);
        let output = process::output(command.arg("--socket").arg(&self.socket).arg("--json").args(arguments))?;
        Ok(serde_json::from_slice(&output.stdout)?)
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
