//! How a thousand renewals spread: `agentbench` asks the agent's own schedule.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::bench::show::Columns;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// One kind of certificates.
#[derive(Deserialize, Serialize)]
pub(super) struct Spreading {
    days: u32,
    #[serde(flatten)]
    found: Found,
}

/// As `agentbench` reports it.
#[derive(Serialize, Deserialize)]
struct Found {
    certificates: u32,
    why: String,
    most_an_hour: u32,
    hours: u32,
}

pub(super) fn measure(paths: &Paths) -> Result<Vec<Spreading>> {
    let plan = std::env::temp_dir().join(format!("enclave-tls-spread-{}.json", std::process::id()));
    let measured = progress::step(&format!("spreading {CERTIFICATES} renewals"), || {
        let kinds = KINDS.into_iter().map(|(days, window)| {
            let text = json!({ "certificates": CERTIFICATES, "days": days, "window": window });
            fs::write(&plan, text.to_string())?;
            let program = paths.target().join("release/agentbench");
            let answer = process::capture(Command::new(program).arg("spread").arg(&plan))?;
            let found = serde_json::from_str(&answer).with_context(|| format!("agentbench answers {answer}"))?;
            Ok(Spreading { days, found })
        });
        kinds.collect()
    });
    drop(fs::remove_file(&plan)); // it may not have been written
    measured
}

pub(super) fn print(measured: &[Spreading]) {
    let mut columns = Columns::new(["certificates", "at most in one hour", "hours"]);
    for Spreading { days, found } in measured {
        columns.cells(vec![
            format!("{}, valid {days} days, by {}", found.certificates, found.why),
            found.most_an_hour.to_string(),
            found.hours.to_string(),
        ]);
    }
    columns.print();
}

const CERTIFICATES: u32 = 1_000;
/// Days of validity, and the days of the CA's window where it names one.
const KINDS: [(u32, Option<[u32; 2]>); 4] = [(90, None), (47, None), (6, None), (90, Some([60, 62]))];
