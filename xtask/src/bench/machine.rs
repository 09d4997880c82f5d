//! On what machine, with what software.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::process;

/// What a reader must know to compare figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Machine {
    /// UTC.
    pub(super) date: String,
    processor: String,
    cores: usize,
    kernel: String,
    system: String,
    /// Of this repository.
    commit: String,
    /// Of the programs that take part.
    versions: BTreeMap<String, String>,
}

impl Machine {
    pub(super) fn describe(paths: &Paths) -> Result<Self> {
        let mut versions: BTreeMap<String, String> = PACKAGES
            .iter()
            .map(|name| ((*name).to_owned(), package(name)))
            .collect();
        let compiler = first_line(Command::new("rustc").arg("--version"));
        versions.insert("rustc".to_owned(), compiler.trim_start_matches("rustc ").to_owned());
        Ok(Self {
            date: process::capture(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?
                .trim()
                .to_owned(),
            processor: field("/proc/cpuinfo", "model name", ':').unwrap_or_default(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: field("/etc/os-release", "PRETTY_NAME", '=').unwrap_or_default(),
            commit: first_line(
                Command::new("git")
                    .current_dir(paths.workspace())
                    .args(["describe", "--always", "--dirty"]),
            ),
            versions,
        })
    }

    pub(super) fn print(&self) {
        println!(
            "  {}, {} cores, Linux {}, {}",
            self.processor, self.cores, self.kernel, self.system
        );
        let versions: Vec<String> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        println!("  {}", versions.join(", "));
        println!("  commit {}, {}", self.commit, self.date);
    }
}

/// The load averages.
pub(super) fn load() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg")?;
    let words: Vec<&str> = text.split(' ').take(3).collect();
    (words.len() == 3)
        .then(|| words.join(" "))
        .context("/proc/loadavg is not as expected")
}

fn package(name: &str) -> String {
    first_line(Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]))
}

/// Empty where the program does not answer: a version is told, not needed.
fn first_line(command: &mut Command) -> String {
    let text = process::capture(command).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn field(file: &str, name: &str, mark: char) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(mark)?.1.trim().trim_matches('"').to_owned())
}

const PACKAGES: [&str; 6] = [
    "libengine-pkcs11-openssl",
    "libssl3",
    "nginx",
    "openssl",
    "pkcs11-provider",
    "softhsm2",
];
