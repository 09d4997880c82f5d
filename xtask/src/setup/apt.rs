//! APT with a configuration of our own: Debian's backports are added for this one installation, and the system's
//! sources, lists and caches stay as they are. What is installed is the system's, with its record of packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Release;
use super::once::Alone;
use super::sources::{self, Entry, SignedBy};
use crate::paths::Paths;
use crate::process;

/// Another suite of Debian's than the system's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Suite {
    /// Its packages.
    Packages(&'static str),
    /// Its packages, and those for 64-bit ARM.
    WithArm(&'static str),
    /// What they are made of.
    Sources(&'static str),
}

/// A directory with sources, lists and caches that only we use.
pub(super) struct PrivateApt {
    configuration: PathBuf,
    backports: String,
    /// APT itself would fail where another has its lists.
    _alone: Alone,
}

impl PrivateApt {
    /// With lists that are read, on a system that has these packages, whose release is told.
    pub(super) fn with_lists(paths: &Paths, suite: Option<Suite>, packages: &[&str]) -> Result<(Self, Release)> {
        let release = Release::that_has(packages)?;
        let apt = Self::prepare(paths, &release.codename, suite)?;
        apt.update()?;
        Ok((apt, release))
    }

    /// With another suite of Debian's too, where one is wanted: they are large.
    pub(super) fn prepare(paths: &Paths, codename: &str, suite: Option<Suite>) -> Result<Self> {
        let entries = sources::of_debian(codename)?;
        let backports = format!("{codename}-backports");
        let recipe = format!("apt {entries:?} {backports} {suite:?}");
        let dir = paths.cache(&recipe).join("apt");
        let alone = Alone::at(&dir)?;
        for below in ["lists/partial", "archives/partial", "parts"] {
            fs::create_dir_all(dir.join(below)).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        let lines = source_lines(&dir, &entries, &backports)?;
        let other = suite.map(|suite| line_of(&lines, suite)).unwrap_or_default();
        fs::write(dir.join("sources.list"), lines + &other)?;
        let configuration = dir.join("apt.conf");
        let mut text = configuration_text(&dir);
        if matches!(suite, Some(Suite::WithArm(_))) {
            text += "APT::Architectures { \"amd64\"; \"arm64\"; };\n";
        }
        fs::write(&configuration, text)?;
        Ok(Self {
            configuration,
            backports,
            _alone: alone,
        })
    }

    pub(super) fn update(&self) -> Result<()> {
        process::run(self.apt().arg("update")).context("Debian's mirror cannot be read")
    }

    /// Installs `packages`; those among `backports` from there.
    pub(super) fn install(&self, packages: &[&str], backports: &[&str]) -> Result<()> {
        let wanted = packages.iter().map(|name| match backports.contains(name) {
            true => format!("{name}/{}", self.backports),
            false => (*name).to_owned(),
        });
        process::run(
            self.apt()
                .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
                .args(wanted),
        )
    }

    /// Leaves a package's file, or with `source` its source's files, in `dir`: of this version, or the newest.
    pub(super) fn download(&self, dir: &Path, name: &str, version: Option<&str>, source: bool) -> Result<()> {
        let mut command = self.apt();
        command.current_dir(dir);
        match source {
            true => command.args(["source", "--download-only", "--only-source"]),
            false => command.arg("download"),
        };
        let wanted = version.map_or_else(|| name.to_owned(), |version| format!("{name}={version}"));
        process::run(command.arg(wanted))
    }

    /// Leaves the files of these packages and of all that they need, as if nothing were installed, in `archives` in `dir`.
    pub(super) fn download_with_all_that_they_need(&self, dir: &Path, packages: &[&str]) -> Result<()> {
        let (status, archives) = (dir.join("status"), dir.join("archives"));
        fs::write(&status, "")?;
        fs::create_dir_all(archives.join("partial"))?;
        let mut command = self.apt();
        command
            .arg("-o")
            .arg(format!("Dir::State::status={}", status.display()))
            .arg("-o")
            .arg(format!("Dir::Cache::archives={}", archives.display()));
        command.args(["install", "--download-only", "--yes", "--no-install-recommends"]);
        process::run(command.args(packages))
    }

    fn apt(&self) -> Command {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .arg("--config-file")
            .arg(&self.configuration);
        command.args([
            "-o",
            "Dpkg::Options::=--force-confold",
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "DPkg::Lock::Timeout=600", // where another APT of the system's installs
        ]);
        command
    }
}

/// The system's entries and, at the mirror of the first, the backports.
fn source_lines(dir: &Path, entries: &[Entry], backports: &str) -> Result<String> {
    let mut lines = String::new();
    for (number, entry) in entries.iter().enumerate() {
        let option = match &entry.signed_by {
            SignedBy::Default => String::new(),
            SignedBy::Named(value) => format!(
                "[signed-by={}] ",
                value.split_whitespace().collect::<Vec<_>>().join(",")
            ),
            SignedBy::Inline(key) => {
                let path = dir.join(format!("key-{number}.asc"));
                fs::write(&path, key.trim_start())?;
                format!("[signed-by={}] ", path.display())
            }
        };
        let more = (number == 0 && !entry.suites.iter().any(|suite| suite == backports)).then_some(backports);
        for uri in &entry.uris {
            for suite in entry.suites.iter().map(String::as_str).chain(more) {
                lines.push_str(&format!("deb {option}{uri} {suite} main\n"));
            }
        }
    }
    Ok(lines)
}

/// The line of another suite, at the mirror and by the key of the first line.
fn line_of(lines: &str, suite: Suite) -> String {
    let first = lines.lines().next().unwrap_or_default();
    // "deb [signed-by=…] URI SUITE main"
    let Some((mirror, _)) = first.strip_suffix(" main").and_then(|line| line.rsplit_once(' ')) else {
        return String::new();
    };
    let mirror = mirror.strip_prefix("deb ").unwrap_or(mirror);
    match suite {
        Suite::Packages(name) | Suite::WithArm(name) => format!("deb {mirror} {name} main\n"),
        Suite::Sources(name) => format!("deb-src {mirror} {name} main\n"),
    }
}

/// Read last, after the system's own, so a proxy set there holds, and its hooks after an update do not run.
fn configuration_text(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        "#clear APT::Update::Post-Invoke;\n\
         #clear APT::Update::Post-Invoke-Success;\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n\
         Dir::Etc::sourcelist \"{dir}/sources.list\";\n\
         Dir::Etc::sourceparts \"{dir}/parts\";\n\
         Dir::State::lists \"{dir}/lists\";\n\
         Dir::Cache \"{dir}\";\n\
         Dir::Cache::archives \"{dir}/archives\";\n\
         Acquire::Languages \"none\";\n\
         # The user _apt cannot reach a directory below a home; APT would do the same after a warning.\n\
         APT::Sandbox::User \"root\";\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backports_come_from_the_first_entry_s_mirror_and_key() {
        let named = || SignedBy::Named("/a.gpg /b.gpg".into());
        let entries = [
            Entry {
                uris: vec!["http://m/debian".into()],
                suites: vec!["bookworm".into()],
                signed_by: named(),
            },
            Entry {
                uris: vec!["http://s".into()],
                suites: vec!["bookworm-security".into()],
                signed_by: SignedBy::Default,
            },
        ];
        let lines = source_lines(Path::new("/nowhere"), &entries, "bookworm-backports").unwrap();
        assert_eq!(
            lines,
            "deb [signed-by=/a.gpg,/b.gpg] http://m/debian bookworm main\n\
             deb [signed-by=/a.gpg,/b.gpg] http://m/debian bookworm-backports main\n\
             deb http://s bookworm-security main\n"
        );
    }

    #[test]
    fn another_suite_comes_from_the_same_mirror() {
        let lines = "deb [signed-by=/a.gpg] http://m/debian bookworm main\ndeb http://s other main\n";
        assert_eq!(
            line_of(lines, Suite::Sources("trixie")),
            "deb-src [signed-by=/a.gpg] http://m/debian trixie main\n"
        );
        assert_eq!(
            line_of(lines, Suite::Packages("forky")),
            "deb [signed-by=/a.gpg] http://m/debian forky main\n"
        );
        assert_eq!(line_of("", Suite::Packages("forky")), "");
    }
}
