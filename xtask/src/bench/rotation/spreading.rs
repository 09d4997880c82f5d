//! How a thousand renewals spread: what the agent's own test of its schedule counts and prints.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::bench::show::Columns;
use crate::build::cargo;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// One kind of certificates.
#[derive(Serialize)]
pub(super) struct Spreading {
    what: String,
    most_an_hour: u32,
}

pub(super) fn measure(paths: &Paths) -> Result<Vec<Spreading>> {
    let said = progress::step("spreading 1,000 renewals", || {
        let mut test = cargo(paths);
        test.args([
            "test",
            "--quiet",
            "--package",
            "enclave-tls-agent",
            "--lib",
            TEST,
            "--",
            "--nocapture",
        ]);
        process::capture(&mut test)
    })?;
    let lines = said.lines().filter_map(|line| line.split_once(MARK));
    let measured: Result<Vec<_>> = lines
        .map(|(what, most)| {
            Ok(Spreading {
                what: what.to_owned(),
                most_an_hour: most.trim().parse().context("no number")?,
            })
        })
        .collect();
    let measured = measured?;
    ensure!(!measured.is_empty(), "the test printed no figures: {said}");
    Ok(measured)
}

pub(super) fn print(measured: &[Spreading]) {
    let mut columns = Columns::new(["certificates", "at most in one hour"]);
    for one in measured {
        columns.cells(vec![one.what.clone(), one.most_an_hour.to_string()]);
    }
    columns.print();
}

const TEST: &str = "threat_52_a_thousand_certificates_of_one_day_spread_themselves";
/// Between what and how many.
const MARK: &str = ", at most in one hour: ";
