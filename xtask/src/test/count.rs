//! How many tests passed, failed and were skipped, as the runners say it.

use std::io::{BufRead, BufReader};
use std::ops::Add;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::process;

/// Results of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Counts {
    pub(super) const ONE: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };

    /// A command that is one test.
    pub(super) fn of_one(command: &mut Command) -> Result<Self> {
        process::show(command)?;
        Ok(Self::ONE)
    }

    /// A command that runs many tests: its output is shown and its closing lines are added up.
    pub(super) fn of_tests(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut counts = Self::default();
        for line in BufReader::new(child.stdout.take().context("no output")?).split(b'\n') {
            let line = process::text(&line?);
            println!("{line}");
            counts = counts + Self::of_line(&line).unwrap_or_default();
        }
        let status = child.wait()?;
        if !status.success() && counts.failed == 0 {
            println!("{}: {status}", process::line_of(command));
            counts.failed = 1; // it ended before it could count
        }
        Ok(counts)
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …` or `e2e: 3 passed, 0 failed, 1 skipped`.
    fn of_line(line: &str) -> Option<Self> {
        let number = |unit: &str| {
            let (before, _) = line.split_once(unit)?;
            before.rsplit(' ').next()?.parse::<u64>().ok()
        };
        Some(Self {
            passed: number(" passed")?,
            failed: number(" failed")?,
            skipped: number(" skipped").or_else(|| number(" ignored")).unwrap_or_default(),
        })
    }
}

impl Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_read() {
        let counts = |passed, failed, skipped| {
            Some(Counts {
                passed,
                failed,
                skipped,
            })
        };
        let cargo = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(Counts::of_line(cargo), counts(12, 3, 1));
        assert_eq!(Counts::of_line("e2e: 4 passed, 0 failed, 2 skipped"), counts(4, 0, 2));
        assert_eq!(Counts::of_line("4 passed, 0 failed"), counts(4, 0, 0));
        assert_eq!(Counts::of_line("the test has passed"), None);
    }

    #[test]
    fn a_runner_that_ends_early_has_failed() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 2 passed, 0 failed; exit 3"]);
        assert_eq!(
            Counts::of_tests(&mut command).unwrap(),
            Counts {
                passed: 2,
                failed: 1,
                skipped: 0
            }
        );
    }
}
