//! What a command costs.

use std::process;

use anyhow::{Context, Result};
use serde::Serialize;

use super::ended;
use super::plan::CommandPlan;
use crate::signbench::stats::Spread;

/// A command, run again and again.
#[derive(Clone, Debug, Serialize)]
pub struct Command {
    /// How long it took, in milliseconds.
    pub wall_ms: Spread,
    /// Its processor time, with its children's.
    pub cpu_ms: Spread,
    /// How each run ended. A command that finds something to say ends with 1.
    pub statuses: Vec<i32>,
}

/// Runs a command as often as its plan says.
pub fn commands(plan: &CommandPlan) -> Result<Command> {
    let (program, arguments) = plan.words.split_first().context("no program")?;
    let runs = (0..plan.times).map(|_| ended::run(process::Command::new(program).args(arguments)));
    let runs: Vec<_> = runs.collect::<Result<_>>()?;
    let spread = |figure: fn(&ended::Ended) -> f64| Spread::of(runs.iter().map(figure).collect()).context("no run");
    Ok(Command {
        wall_ms: spread(|run| run.wall_ms)?,
        cpu_ms: spread(|run| run.cpu_ms)?,
        statuses: runs.iter().map(|run| run.status).collect(),
    })
}
