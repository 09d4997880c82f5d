//! Runs `signbench`, which measures, and reads its report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::softhsm::SoftHsm;
use crate::lab::Lab;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// What every group needs.
pub(super) struct Runner {
    program: PathBuf,
    signer: PathBuf,
    work: PathBuf,
    rounds: usize,
    /// A token of the benchmark's own; nothing is on it at first.
    pub(super) softhsm: SoftHsm,
    env: BTreeMap<String, String>,
}

/// What is measured in turns.
pub(super) struct Group {
    /// The first columns of its rows.
    pub(super) title: Vec<String>,
    /// The core of the client, if it keeps to one; processes that a subject watches have theirs in the subject.
    pub(super) core: Option<usize>,
    pub(super) references: Vec<String>,
    /// Whether the client's CPU is a part of the cost.
    pub(super) count_client: bool,
    /// As `signbench/plan.rs` reads them.
    pub(super) subjects: Vec<Value>,
}

/// A group's report.
#[derive(Deserialize, Serialize)]
pub(super) struct Measured {
    pub(super) title: Vec<String>,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// What `signbench` prints.
#[derive(Deserialize, Serialize)]
pub(super) struct Report {
    pub(super) rounds: usize,
    pub(super) load: [f64; 2],
    pub(super) subjects: Vec<Subject>,
}

/// One subject's figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
    /// Rounds that count for all of its figures and ratios.
    pub(super) kept: usize,
    pub(super) disturbed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    figures: BTreeMap<String, Spread>,
    ratios: BTreeMap<String, BTreeMap<String, Spread>>,
}

/// A median with its quartiles.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub(super) struct Spread {
    pub(super) q1: f64,
    pub(super) median: f64,
    pub(super) q3: f64,
}

impl Runner {
    pub(super) fn new(paths: &Paths, lab: &Lab, work: &Path, quick: bool) -> Result<Self> {
        let softhsm = SoftHsm::create(&work.join("softhsm"))?;
        let mut env = lab.description().env.clone();
        env.extend(softhsm.environment());
        let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
        Ok(Self {
            program: paths.target().join("release/signbench"),
            signer: signer(paths.workspace(), work)?,
            work: work.to_owned(),
            rounds,
            softhsm,
            env,
        })
    }

    /// Where what is measured may lie.
    pub(super) fn directory(&self) -> &Path {
        &self.work
    }

    /// What signs through modules.
    pub(super) fn signer(&self) -> &Path {
        &self.signer
    }

    /// `signbench` itself.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn measure(&self, group: Group) -> Result<Measured> {
        let report = progress::step(&group.title.join(", "), || {
            self.report(&group, self.rounds, most_rounds(self.rounds))
        })?;
        Ok(Measured {
            title: group.title,
            report,
        })
    }

    /// The same in just so many rounds, whatever happens beside; nothing is said of it.
    pub(super) fn ask(&self, group: &Group, rounds: usize) -> Result<Report> {
        self.report(group, rounds, rounds)
    }

    fn report(&self, group: &Group, rounds: usize, most_rounds: usize) -> Result<Report> {
        let plan = json!({
            "core": group.core,
            "slice_ms": SLICE_MS,
            "rounds": rounds,
            "most_rounds": most_rounds,
            "references": group.references,
            "count_client": group.count_client,
            "subjects": group.subjects,
        });
        let name = group.title.join("-").replace(' ', "-");
        let file = self.work.join(format!("plan-{name}.json"));
        std::fs::write(&file, serde_json::to_string_pretty(&plan)?)?;
        let answer = process::capture(Command::new(&self.program).arg("run").arg(&file).envs(&self.env))?;
        serde_json::from_str(&answer).context("signbench's report is not as expected")
    }
}

/// Builds `signer`, a C program, into a directory.
pub(super) fn signer(workspace: &Path, dir: &Path) -> Result<PathBuf> {
    let (source, signer) = (workspace.join("tests/src/signbench/signer.c"), dir.join("signer"));
    let mut compile = Command::new("gcc");
    process::run(
        compile
            .args(["-O2", "-pthread", "-o"])
            .arg(&signer)
            .arg(source)
            .arg("-ldl"),
    )?;
    Ok(signer)
}

impl Spread {
    /// Of any number of values but none.
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let at = |quarters: usize| {
            let place = values.len().checked_sub(1)? * quarters;
            let (below, above) = (values.get(place / 4)?, values.get(place.div_ceil(4))?);
            let share = [0.0, 0.25, 0.5, 0.75].get(place % 4)?;
            Some(below + (above - below) * share)
        };
        Some(Self {
            q1: at(1)?,
            median: at(2)?,
            q3: at(3)?,
        })
    }
}

impl Report {
    pub(super) fn subject(&self, name: &str) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.name == name)
    }
}

impl Subject {
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.spread(name).map(|spread| spread.median)
    }

    pub(super) fn spread(&self, name: &str) -> Option<Spread> {
        self.figures.get(name).copied()
    }

    /// Whether its keys are with the lab's service.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(&self.name)
    }

    pub(super) fn ratio(&self, reference: &str, figure: &str) -> Option<Spread> {
        self.ratios.get(reference)?.get(figure).copied()
    }
}

/// Whether a subject of this name has its keys with the lab's service.
pub(super) fn is_ours(name: &str) -> bool {
    let mut words = name.split(", ");
    matches!(words.next(), Some("ours" | "engine" | "provider")) && words.all(|word| word != "SoftHSM2")
}

/// How many rounds there may be until so many count: where the machine moves in more than two of three, it says nothing.
pub(super) const fn most_rounds(rounds: usize) -> usize {
    rounds * 3
}

/// The core of a server under test.
pub(super) const SERVER_CORE: usize = 0;

/// The core of what works for it or makes work for it; on a machine with one core, the same.
pub(super) fn other_core() -> usize {
    std::thread::available_parallelism().map_or(0, |count| usize::from(count.get() > 1))
}

const SLICE_MS: u64 = 300;
/// That count.
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_values_in_proportion() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!([spread.q1, spread.median, spread.q3], [1.75, 2.5, 3.25]);
        let one = Spread::of(vec![7.0]).unwrap();
        assert_eq!([one.q1, one.median, one.q3], [7.0, 7.0, 7.0]);
        assert!(Spread::of(Vec::new()).is_none());
    }
}
