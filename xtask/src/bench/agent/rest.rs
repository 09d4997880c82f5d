//! The agent while nothing happens.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::workshop::Workshop;
use crate::bench::show::Columns;
use crate::progress;
use crate::table::Table;

/// As `agentbench` reports it.
#[derive(Deserialize, Serialize)]
pub(super) struct Rest {
    seconds: f64,
    cpu: Spent,
    percent: f64,
    memory: Memory,
}

/// Processor time in milliseconds.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Spent {
    pub(super) own_ms: f64,
    /// Of the children that it has waited for.
    pub(super) children_ms: f64,
}

impl Spent {
    pub(super) fn all_ms(self) -> f64 {
        self.own_ms + self.children_ms
    }
}

#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Memory {
    resident_kib: u64,
    peak_kib: u64,
}

/// With the certificates of a lab, once what its start caused is over.
pub(super) fn of_a_lab(workshop: &Workshop<'_>) -> Result<Rest> {
    workshop.with_lab(|lab| {
        let agent = lab.description().pids.get("agent").context("the lab has no agent")?;
        of(workshop, *agent)
    })
}

pub(super) fn of(workshop: &Workshop<'_>, agent: u32) -> Result<Rest> {
    progress::step("looking at the agent at rest", || {
        std::thread::sleep(SETTLE);
        let seconds = if workshop.quick { QUICK_SECONDS } else { SECONDS };
        workshop.measure("rest", &json!({ "pid": agent, "seconds": seconds }))
    })
}

pub(super) fn print(all: &[(&str, &Rest)]) {
    let mut columns = Columns::new([
        "certificates",
        "resident, MB",
        "at most, MB",
        "CPU, %",
        "own, ms/s",
        "nitro-cli, ms/s",
    ]);
    for (name, rest) in all {
        let Rest {
            seconds,
            cpu,
            percent,
            memory,
        } = rest;
        columns.cells(vec![
            (*name).to_owned(),
            format!("{:.1}", megabytes(memory.resident_kib)),
            format!("{:.1}", megabytes(memory.peak_kib)),
            format!("{percent:.2}"),
            format!("{:.2}", cpu.own_ms / seconds),
            format!("{:.2}", cpu.children_ms / seconds),
        ]);
    }
    columns.print();
}

impl Rest {
    pub(super) fn judge(&self, table: &mut Table, with: &str) {
        let resident = megabytes(self.memory.resident_kib);
        table.below(&format!("the agent's memory {with}"), resident, MEGABYTES, "MB");
        table.below(&format!("its CPU at rest {with}"), self.percent, PERCENT, "%");
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

const MEGABYTES: f64 = 40.0;
const PERCENT: f64 = 1.0;
const SECONDS: u64 = 30;
const QUICK_SECONDS: u64 = 10;
const SETTLE: std::time::Duration = std::time::Duration::from_secs(3);
