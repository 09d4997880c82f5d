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
    work: PathBuf,
    rounds: usize,
    env: BTreeMap<String, String>,
}

/// What is measured in turns.
pub(super) struct Group {
    /// The first columns of its rows.
    pub(super) title: Vec<String>,
    /// The core of the client; processes that a subject watches have theirs in the subject.
    pub(super) core: usize,
    pub(super) references: Vec<&'static str>,
    /// Whether the client's CPU is a part of the cost.
    pub(super) count_client: bool,
    /// As `signbench/plan.rs` reads them.
    pub(super) subjects: Vec<Value>,
}

/// A group's report.
#[derive(Serialize)]
pub(super) struct Measured {
    pub(super) title: Vec<String>,
    #[serde(flatten)]
    pub(super) report: Report,
}

/// What `signbench` prints.
#[derive(Deserialize, Serialize)]
pub(super) struct Report {
    pub(super) rounds: usize,
    pub(super) kept: usize,
    pub(super) disturbed: bool,
    pub(super) load: [f64; 2],
    pub(super) subjects: Vec<Subject>,
}

/// One subject's figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Subject {
    pub(super) name: String,
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
        let softhsm = SoftHsm::create(&work.join("softhsm"), lab.description())?;
        let mut env = lab.description().env.clone();
        env.insert("SOFTHSM2_CONF".to_owned(), softhsm.config().display().to_string());
        let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
        Ok(Self {
            program: paths.target().join("release/signbench"),
            work: work.to_owned(),
            rounds,
            env,
        })
    }

    pub(super) fn measure(&self, group: Group) -> Result<Measured> {
        let plan = json!({
            "core": group.core,
            "slice_ms": SLICE_MS,
            "rounds": self.rounds,
            "references": group.references,
            "count_client": group.count_client,
            "subjects": group.subjects,
        });
        let title = group.title;
        progress::step(&title.join(", "), || {
            let file = self
                .work
                .join(format!("plan-{}.json", title.join("-").replace(' ', "-")));
            std::fs::write(&file, serde_json::to_string_pretty(&plan)?)?;
            let answer = process::capture(Command::new(&self.program).arg("run").arg(&file).envs(&self.env))?;
            let report = serde_json::from_str(&answer).context("signbench's report is not as expected")?;
            Ok(Measured {
                title: title.clone(),
                report,
            })
        })
    }
}

impl Subject {
    pub(super) fn figure(&self, name: &str) -> Option<f64> {
        self.figures.get(name).map(|spread| spread.median)
    }

    pub(super) fn ratio(&self, reference: &str, figure: &str) -> Option<Spread> {
        self.ratios.get(reference)?.get(figure).copied()
    }
}

/// The core of a server under test.
pub(super) const SERVER_CORE: usize = 0;

/// The core of what works for it or makes work for it; on a machine with one core, the same.
pub(super) fn other_core() -> usize {
    std::thread::available_parallelism().map_or(0, |count| usize::from(count.get() > 1))
}

const SLICE_MS: u64 = 300;
const ROUNDS: usize = 15;
const QUICK_ROUNDS: usize = 5;
