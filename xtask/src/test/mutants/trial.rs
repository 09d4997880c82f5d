//! Tests of the copy, built and run by cargo.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::copy::Copy;
use super::list::{Mutant, Target, Test};
use crate::build::cargo;
use crate::paths::Paths;
use crate::process;

/// What came of the tests of a guard that was taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All failed, or did not end.
    Red,
    /// This one did not notice.
    Survived(String),
    /// Nothing was learned.
    NotBuilt(String),
}

/// The tests, each known by its path.
pub(super) struct Trials<'a> {
    paths: &'a Paths,
    copy: &'a Copy,
    found: BTreeMap<Test, String>,
}

impl<'a> Trials<'a> {
    /// Builds the tests of these guards, and sees them pass while the guards are there.
    pub(super) fn prepare(paths: &'a Paths, copy: &'a Copy, mutants: &[Mutant]) -> Result<Self> {
        let mut trials = Self {
            paths,
            copy,
            found: BTreeMap::new(),
        };
        let mut targets: BTreeMap<&Target, Vec<&Test>> = BTreeMap::new();
        for test in mutants.iter().flat_map(|mutant| &mutant.tests) {
            targets.entry(&test.target).or_default().push(test);
        }
        for (target, tests) in targets {
            process::show(trials.cargo(target).arg("--no-run"))?;
            let listed = process::capture(trials.cargo(target).args(["--", "--list"]))?;
            for test in tests {
                trials.found.insert(test.clone(), path_of(&listed, &test.name)?);
            }
            let of_target = trials.found.iter().filter(|(test, _)| test.target == *target);
            let names: Vec<&String> = of_target.map(|(_, path)| path).collect();
            let printed = process::capture(trials.cargo(target).args(["--", "--exact"]).args(&names))?;
            let wanted = format!("test result: ok. {} passed", names.len());
            ensure!(printed.contains(&wanted), "not {wanted}:\n{printed}");
        }
        Ok(trials)
    }

    /// Runs the tests of a guard that is gone.
    pub(super) fn run(&self, mutant: &Mutant) -> Result<Outcome> {
        for test in &mutant.tests {
            let built = process::output(self.cargo(&test.target).arg("--no-run"))?;
            if !built.status.success() {
                let said = process::text(&built.stderr);
                let error = said.lines().find(|line| line.starts_with("error"));
                return Ok(Outcome::NotBuilt(error.unwrap_or("cargo failed").to_owned()));
            }
            if self.passes(test)? {
                return Ok(Outcome::Survived(test.name.clone()));
            }
        }
        Ok(Outcome::Red)
    }

    /// Whether a test that was built passes. One that does not end fails: whoever waits for it sees so.
    fn passes(&self, test: &Test) -> Result<bool> {
        let path = self.found.get(test).context("a test that was not looked for")?;
        let mut command = self.cargo(&test.target);
        command.args(["--", "--exact", path]).stdin(Stdio::null());
        // What it prints when it fails is what was wanted.
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut ended = None;
        process::wait_until(LIMIT, || {
            ended = child.try_wait().unwrap_or_default();
            ended.is_some()
        });
        if let Some(status) = ended {
            return Ok(status.success());
        }
        // Its group has cargo, the test and what that started, and nobody else.
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.context("no such pid")?, Signal::KILL)?;
        child.wait()?;
        Ok(false)
    }

    fn cargo(&self, target: &Target) -> Command {
        let mut command = cargo(self.paths);
        command
            .current_dir(self.copy.path())
            .env("CARGO_TARGET_DIR", self.paths.target().join("mutants/target"))
            // Nobody looks into these programs; they are built again and again.
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            // A mutant's counter-example is no regression of ours.
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .args(["test", "--quiet", "--package", &target.package])
            .args(&target.choice);
        command
    }
}

/// `module::tests::name: test`, of which there must be one.
fn path_of(listed: &str, name: &str) -> Result<String> {
    let paths = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let fitting: Vec<_> = paths.filter(|path| path.rsplit("::").next() == Some(name)).collect();
    match fitting.as_slice() {
        [path] => Ok((*path).to_owned()),
        other => bail!("{} tests are called {name}", other.len()),
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Red => f.write_str("red"),
            Self::Survived(test) => write!(f, "SURVIVED {test}"),
            Self::NotBuilt(error) => write!(f, "not built: {error}"),
        }
    }
}

/// Far more than any of them takes with its guard in place.
const LIMIT: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_found_by_the_name_of_its_function() {
        let listed = "frame::tests::threat_05_a: test\nb::threat_05_a_b: test\n\n2 tests, 0 benchmarks\n";
        assert_eq!(path_of(listed, "threat_05_a").unwrap(), "frame::tests::threat_05_a");
        assert!(path_of(listed, "threat_05").is_err());
    }
}
