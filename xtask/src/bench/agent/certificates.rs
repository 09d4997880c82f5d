//! Many certificates, from the agent's start until all are served, and what commands cost with them.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::rest::{self, Rest, Spent};
use super::workshop::Workshop;
use crate::bench::runner::Spread;
use crate::bench::show::Columns;
use crate::lab::Many;
use crate::progress;
use crate::table::Table;

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Certificates {
    count: usize,
    filled: Filled,
    /// `enclave-tlsctl check --config`.
    check: Command,
    /// `enclave-tlsctl status`.
    status: Command,
    rest: Rest,
}

/// As `agentbench` reports it.
#[derive(Deserialize, Serialize)]
pub(super) struct Filled {
    born: Step,
    installed: Step,
    served: Step,
}

#[derive(Deserialize, Serialize)]
struct Step {
    seconds: f64,
    agent: Spent,
    helper: Spent,
}

#[derive(Deserialize, Serialize)]
struct Command {
    wall_ms: Spread,
    cpu_ms: Spread,
    statuses: Vec<i32>,
}

pub(super) fn measure(workshop: &Workshop<'_>, many: &Many) -> Result<Certificates> {
    let filled = fill(workshop, many)?;
    let text = |path: &std::path::Path| path.display().to_string();
    let ctl = text(&workshop.ctl);
    let check = [
        &ctl,
        "check",
        "--config",
        &text(&many.config),
        "--base",
        &text(&many.base()),
    ];
    let status = [&ctl, "--socket", &text(&many.place.ctl_socket()), "status"];
    Ok(Certificates {
        count: many.names.len(),
        filled,
        check: command(workshop, "check", &check)?,
        status: command(workshop, "status", &status)?,
        rest: rest::of(workshop, many.agent)?,
    })
}

/// Installs a chain for each key, and waits until all are served.
pub(super) fn fill(workshop: &Workshop<'_>, many: &Many) -> Result<Filled> {
    let count = many.names.len();
    let plan = json!({
        "socket": many.place.ctl_socket(),
        "agent": many.agent,
        "helper": many.apply,
        "certificates": count,
        "patience_s": PATIENCE_S,
    });
    progress::step(&format!("getting {count} certificates served"), || {
        workshop.measure("fill", &plan)
    })
}

fn command(workshop: &Workshop<'_>, name: &str, words: &[&str]) -> Result<Command> {
    progress::step(&format!("running {name}"), || {
        workshop.measure("run", &json!({ "words": words, "times": TIMES }))
    })
}

impl Certificates {
    pub(super) fn count(&self) -> String {
        self.count.to_string()
    }

    pub(super) fn rest(&self) -> &Rest {
        &self.rest
    }

    pub(super) fn print(&self) {
        let mut columns = Columns::new(["", "s", "agent's CPU, s", "helper's, s", "servers' tests, s"]);
        for (name, step) in [
            ("from the agent's start to all keys", &self.filled.born),
            ("all chains installed, one after the other", &self.filled.installed),
            ("from then until all are served", &self.filled.served),
        ] {
            columns.cells(vec![
                name.to_owned(),
                format!("{:.2}", step.seconds),
                format!("{:.2}", step.agent.all_ms() / 1e3),
                format!("{:.2}", step.helper.own_ms / 1e3),
                format!("{:.2}", step.helper.children_ms / 1e3),
            ]);
        }
        columns.print();
        println!();
        let mut columns = Columns::new(["median of 5 (quartiles)", "ms", "CPU, ms"]);
        for (name, command) in [("check", &self.check), ("status", &self.status)] {
            let cell = |Spread { q1, median, q3 }: Spread| format!("{median:.0} ({q1:.0}–{q3:.0})");
            columns.cells(vec![
                format!("enclave-tlsctl {name}"),
                cell(command.wall_ms),
                cell(command.cpu_ms),
            ]);
        }
        columns.print();
    }

    pub(super) fn judge(&self, table: &mut Table) {
        self.rest.judge(table, &format!("with {}", self.count));
        let check = self.check.wall_ms.median / 1e3;
        table.below(&format!("check of {}", self.count), check, CHECK_S, "s");
        let served = self.filled.served.seconds;
        table.below(&format!("all {} served", self.count), served, SERVED_S, "s");
    }
}

const CHECK_S: f64 = 1.0;
const SERVED_S: f64 = 10.0;
const TIMES: usize = 5;
/// Each step may take so long, which is no target: it is what ends a measurement that gets nowhere.
const PATIENCE_S: u64 = 180;
