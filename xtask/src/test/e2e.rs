//! The end-to-end tests, on a lab of their own.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::count::Counts;
use super::xtask;
use crate::build::cargo;
use crate::elevate;
use crate::lab::Enclave;
use crate::paths::Paths;
use crate::process;
use crate::setup::python;

pub(super) fn run(paths: &Paths) -> Result<Counts> {
    on_a_lab(paths, Enclave::Process, |lab| {
        Counts::of_tests(&mut tests(paths, lab, Length::Quick)?)
    })
}

/// The same tests, on a service in a booted image. Those of the tools need no lab and have run.
pub(super) fn emulated(paths: &Paths) -> Result<Counts> {
    on_a_lab(paths, Enclave::Emulated, |lab| {
        let mut tests = tests(paths, lab, Length::Quick)?;
        Counts::of_tests(tests.args(["--test=functional", "--test=security", "--test=service_restart"]))
    })
}

/// Whether tests take their time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Quick,
    Full,
}

/// The e2e tests, which find their lab by `ENCLAVE_TLS_LAB`.
pub(super) fn tests(paths: &Paths, lab: &Path, length: Length) -> Result<Command> {
    tests_with(paths, lab, length, BTreeMap::new())
}

/// The same, with more in their environment.
pub(super) fn tests_with(
    paths: &Paths,
    lab: &Path,
    length: Length,
    mut variables: BTreeMap<String, String>,
) -> Result<Command> {
    let python = python::interpreter(paths)?;
    variables.extend([
        ("ENCLAVE_TLS_LAB".to_owned(), lab.display().to_string()),
        (python::VARIABLE.to_owned(), python.display().to_string()),
    ]);
    if length == Length::Full {
        variables.insert("ENCLAVE_TLS_FULL".to_owned(), "1".to_owned());
    }
    let mut command = cargo(paths);
    command.args(["test", "--release", "-p", "e2e", "--no-fail-fast"]);
    if !elevate::is_root() {
        // They restart the service and NGINX, which are root's. Cargo itself stays the user's.
        let runner = process::line_of(&as_root(&variables));
        let triple = host_triple()?.to_uppercase().replace('-', "_");
        command.env(format!("CARGO_TARGET_{triple}_RUNNER"), runner);
    }
    command.envs(variables);
    Ok(command)
}

/// The beginning of a command that runs as root with these variables.
pub(super) fn as_root(variables: &BTreeMap<String, String>) -> Command {
    let mut command = Command::new(if elevate::is_root() { "env" } else { "sudo" });
    if !elevate::is_root() {
        command
            .arg("env")
            .arg(format!("PATH={}", env::var("PATH").unwrap_or_default()));
    }
    command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
    command
}

/// Starts a lab, and ends it whatever happens on it.
pub(super) fn on_a_lab(paths: &Paths, enclave: Enclave, work: impl FnOnce(&Path) -> Result<Counts>) -> Result<Counts> {
    if enclave == Enclave::Emulated {
        process::show(&mut xtask(paths, &["setup", "--machine"])?)?;
    }
    enclave.build(paths)?; // as this user, not as root
    let mut random = [0_u8; 4];
    getrandom::fill(&mut random)?;
    let dir = env::temp_dir().join(format!("enclave-tls-test-{}", hex::encode(random)));
    process::show(xtask(paths, &["lab", "up", "--enclave", enclave.name(), "--dir"])?.arg(&dir))?;
    let counts = work(&dir.join("lab.json"));
    process::show(xtask(paths, &["lab", "down", "--dir"])?.arg(&dir))?;
    counts
}

/// What cargo calls this machine's kind.
pub(super) fn host_triple() -> Result<String> {
    let about = process::capture(Command::new("rustc").arg("-vV"))?;
    let triple = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(triple.context("rustc does not tell its host")?.to_owned())
}
