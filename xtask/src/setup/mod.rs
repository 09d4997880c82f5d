//! Everything that the other commands need on the machine. It does nothing, quickly, where all is there.

mod apt;
mod archive;
pub(crate) mod cross;
pub(crate) mod loopback;
pub(crate) mod newer;
mod once;
pub(crate) mod pebble;
pub(crate) mod promtool;
pub(crate) mod python;
mod services;
mod sources;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::elevate;
use crate::paths::Paths;
use crate::process;
use crate::progress;

pub(crate) use self::archive::{Archive, Instead, download, download_source};
pub(crate) use self::once::{Alone, once};
pub(crate) use self::tools::{Build, Mend, Tool, cargo_tool};

/// What a set-up changed on the system.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Packages that this run installed.
    packages: Vec<String>,
    /// Packages that earlier runs installed.
    earlier: Vec<String>,
    disabled: Vec<&'static str>,
}

impl Changes {
    pub(crate) fn print(&self) {
        if self.packages.is_empty() {
            println!("  This run installed nothing on the system.");
        } else {
            println!(
                "  This run installed these Debian packages: {}",
                self.packages.join(" ")
            );
        }
        if !self.earlier.is_empty() {
            println!("  Earlier runs installed: {}", self.earlier.join(" "));
        }
        for service in &self.disabled {
            println!("  The service {service} came with a package. It was not started, and it is disabled.");
        }
        println!("  APT's own sources and lists are as they were.");
    }
}

/// Installs what is missing, and says what it was.
pub(crate) fn run(paths: &Paths) -> Result<Changes> {
    let changes = packages(paths, &[&PACKAGES[..], &BACKPORTS].concat())?;
    python::interpreter(paths)?;
    Ok(changes)
}

/// Installs those of these packages that are missing: what only one command needs.
pub(crate) fn install(paths: &Paths, wanted: &[&str]) -> Result<()> {
    let changes = packages(paths, wanted)?;
    if !changes.packages.is_empty() {
        eprintln!("  installed: {}", changes.packages.join(" "));
    }
    Ok(())
}

fn packages(paths: &Paths, wanted: &[&str]) -> Result<Changes> {
    let mut changes = Changes {
        earlier: recorded(paths),
        ..Changes::default()
    };
    let before = installed()?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !before.contains(*name)).collect();
    if missing.is_empty() {
        return Ok(changes);
    }
    let release = Release::that_has(&missing)?;
    ensure!(elevate::is_root(), "installing {} needs root", missing.join(", "));
    progress::step(&format!("installing {}", missing.join(", ")), || {
        let apt = apt::PrivateApt::prepare(paths, &release.codename, None)?;
        let _stopped = services::KeepStopped::begin()?;
        apt.update()?;
        apt.install(&missing, &BACKPORTS)
    })?;
    changes.packages = installed()?.difference(&before).cloned().collect();
    changes.disabled = services::disable_new(&before);
    record(paths, &changes)?;
    Ok(changes)
}

fn installed() -> Result<BTreeSet<String>> {
    let list = process::capture(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]))
        .context("this is no Debian system, or dpkg is broken")?;
    Ok(list
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .map(str::to_owned)
        .collect())
}

fn recorded(paths: &Paths) -> Vec<String> {
    let list = fs::read_to_string(paths.state().join(RECORD)).unwrap_or_default();
    list.lines().map(str::to_owned).collect()
}

fn record(paths: &Paths, changes: &Changes) -> Result<()> {
    fs::create_dir_all(paths.state())?;
    let names: BTreeSet<&String> = changes.earlier.iter().chain(&changes.packages).collect();
    let lines: String = names.into_iter().map(|name| format!("{name}\n")).collect();
    Ok(fs::write(paths.state().join(RECORD), lines)?)
}

struct Release {
    id: String,
    version: String,
    codename: String,
}

impl Release {
    /// Refuses a system that these packages cannot be taken for.
    fn that_has(packages: &[&str]) -> Result<Self> {
        let release = Self::of_this_system()?;
        ensure!(release.is_debian_12(), "{}", release.refusal(packages));
        Ok(release)
    }

    fn of_this_system() -> Result<Self> {
        let text = fs::read_to_string("/etc/os-release").context("cannot tell which system this is")?;
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.unwrap_or_default().trim_matches('"').to_owned()
        };
        Ok(Self {
            id: field("ID"),
            version: field("VERSION_ID"),
            codename: field("VERSION_CODENAME"),
        })
    }

    fn is_debian_12(&self) -> bool {
        self.id == "debian" && self.version == "12"
    }

    fn refusal(&self, missing: &[&str]) -> String {
        format!(
            "this set-up knows Debian 12, not {} {}; missing here: {}",
            self.id,
            self.version,
            missing.join(", ")
        )
    }
}

/// From Debian 12 itself.
const PACKAGES: [&str; 16] = [
    "apache2",                  // httpd, with the event MPM
    "ca-certificates",          // cargo's downloads
    "faketime",                 // clocks of running programs, set by tests
    "gcc",                      // aws-lc, and the thread test in C
    "gnutls-bin",               // p11tool
    "haproxy",                  // which chroots
    "libc6-dev",                // with gcc
    "libengine-pkcs11-openssl", // the engine, libp11
    "nginx",
    "opensc",       // pkcs11-tool
    "openssl",      // the lab's CA and the independent client
    "p11-kit",      // lists what programs on p11-kit see
    "python3-venv", // a second opinion on what the enclave makes, and moto
    "softhsm2",     // the bar that the benchmark compares with
    "strace",       // counts system calls a signature
    "valgrind",     // memcheck
];

/// Debian 12 itself has no usable pkcs11-provider.
const BACKPORTS: [&str; 1] = ["pkcs11-provider"];

const RECORD: &str = "installed-packages";
