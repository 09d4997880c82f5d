//! Runs tests one after another against one lab, and shows the skipped ones.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use super::Lab;

/// A test: its name and what it does.
#[derive(Clone, Copy)]
pub struct Test {
    /// `module::function`, without the crate.
    pub name: &'static str,
    /// The test. It is skipped if its error is [`Skipped`].
    pub run: fn(&Lab) -> Result<()>,
}

/// Why a test says nothing on this machine.
#[derive(Debug)]
pub struct Skipped(pub String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Makes the list of tests from their functions, each with its module's name.
#[macro_export]
macro_rules! tests {
    ($($function:ident),* $(,)?) => {
        &[$($crate::lab::suite::Test {
            name: concat!(module_path!(), "::", stringify!($function)),
            run: $function,
        }),*]
    };
}

/// The lab that a test program can work with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// One whose service was never started again: it holds the keys that were born in it.
    BornKeys,
    /// Any.
    ALab,
}

/// The `main` of a test program. Arguments: parts of names, of which one must fit; `--list`; `--full`.
/// The environment names the lab: `ENCLAVE_TLS_LAB` is the path of its `lab.json`.
pub fn main(needs: Needs, groups: &[&[Test]]) -> ExitCode {
    let (options, filters): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    if let Some(unknown) = options
        .iter()
        .find(|option| !["--list", "--full"].contains(&option.as_str()))
    {
        eprintln!("{unknown} means nothing here: give parts of names, --list or --full");
        return ExitCode::from(2);
    }
    let wanted = |test: &Test| filters.is_empty() || filters.iter().any(|part| short(test.name).contains(part));
    let tests: Vec<Test> = groups.concat().into_iter().filter(wanted).collect();
    if options.iter().any(|option| option == "--list") {
        tests.iter().for_each(|test| println!("{}", short(test.name)));
        return ExitCode::SUCCESS;
    }
    let Some(description) = std::env::var_os("ENCLAVE_TLS_LAB") else {
        eprintln!("These tests need a lab: `cargo xtask lab up --dir DIR`, then ENCLAVE_TLS_LAB=DIR/lab.json.");
        return ExitCode::FAILURE;
    };
    let full = options.iter().any(|option| option == "--full")
        || std::env::var_os("ENCLAVE_TLS_FULL").is_some_and(|v| v == "1");
    match Lab::read(Path::new(&description)) {
        Ok(lab) if needs == Needs::BornKeys && lab.service().ok() != lab.pids.get("service").copied() => {
            eprintln!("The service of this lab was started again, so its born keys are gone: a new lab is needed.");
            ExitCode::FAILURE
        }
        Ok(lab) => run_all(&tests, &Lab { full, ..lab }),
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_all(tests: &[Test], lab: &Lab) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for test in tests {
        let began = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| (test.run)(lab)));
        let name = short(test.name);
        match result {
            Ok(Ok(())) => {
                passed += 1;
                println!("ok {name} ({} ms)", began.elapsed().as_millis());
            }
            Ok(Err(error)) if error.is::<Skipped>() => {
                skipped += 1;
                println!("SKIPPED {name}: {error}");
            }
            Ok(Err(error)) => {
                failed += 1;
                println!("FAILED {name}: {error:#}");
            }
            Err(_) => {
                failed += 1;
                println!("FAILED {name}: it panicked, see above");
            }
        }
        drop(std::io::stdout().flush());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Without the name of the program.
fn short(name: &str) -> &str {
    name.split_once("::").map_or(name, |(_, rest)| rest)
}
