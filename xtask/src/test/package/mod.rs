//! The packages: what is in them, whether they are the same bytes again, how far their units are confined, and, on a copy of
//! this system that a systemd of its own runs, whether they do what they are for.

mod contents;
mod deploy;
mod machine;
pub(crate) mod trial;
mod units;

use std::fmt::Display;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::count::Counts;
use super::xtask;
use crate::build::ENCLAVE;
use crate::package::{Format, Inputs};
use crate::paths::Paths;
use crate::process;

pub(super) fn run(paths: &Paths) -> Result<Counts> {
    process::show(&mut xtask(paths, &["setup", "--package"])?)?;
    // What is in the image is another stage's matter; here it is a file.
    let image = paths.target().join("enclave-tls.eif");
    let inputs = Inputs::build(paths, image.exists().then_some(&*image))?;
    ENCLAVE.build(paths)?;

    let mut tally = Tally::default();
    let dir = paths.target().join("package-test");
    drop(fs::remove_dir_all(&dir));
    let made = [Format::Deb, Format::Rpm].map(|format| (format, inputs.write(paths, format, &dir)));
    for (format, file) in made {
        let name = format.name();
        let file = file?;
        tally.note(
            &format!("{name} is what the list says"),
            contents::compare(&inputs, format, &file),
        );
        tally.note(
            &format!("{name} again is the same"),
            same_again(paths, &inputs, format, &file),
        );
    }
    for unit in units::CONFINED {
        let confined = units::is_confined(paths, unit);
        tally.note(&format!("{} is confined", unit.name), confined);
    }
    let mut trial = xtask(paths, &["try-packages", "--packages"])?;
    trial.arg(&dir).arg("--stand-ins").arg(paths.target().join("release"));
    Ok(tally.counts + Counts::of_tests(&mut trial)?)
}

/// Another run, elsewhere, makes the same bytes.
fn same_again(paths: &Paths, inputs: &Inputs, format: Format, first: &Path) -> Result<()> {
    let elsewhere = paths.target().join("package-test/again");
    let second = inputs.write(paths, format, &elsewhere)?;
    let same = fs::read(first)? == fs::read(&second)?;
    ensure!(same, "{} and {} differ", first.display(), second.display());
    Ok(fs::remove_dir_all(elsewhere)?)
}

/// Verdicts, said one by one.
#[derive(Default)]
struct Tally {
    counts: Counts,
}

impl Tally {
    fn note(&mut self, what: &str, result: Result<()>) {
        match result {
            Ok(()) => {
                println!("ok {what}");
                self.counts.passed += 1;
            }
            Err(error) => {
                println!("FAILED {what}: {error:#}");
                self.counts.failed += 1;
            }
        }
    }

    fn skip(&mut self, what: &str, why: &dyn Display) {
        println!("SKIPPED {what}: {why}");
        self.counts.skipped += 1;
    }
}
