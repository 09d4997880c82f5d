//! Labs of many certificates, and `agentbench`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::build::Binaries;
use crate::lab::{self, Enclave, Lab, Many, Via};
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// What every measurement needs.
pub(super) struct Workshop<'a> {
    paths: &'a Paths,
    dir: PathBuf,
    program: PathBuf,
    pub(super) ctl: PathBuf,
    pub(super) quick: bool,
}

impl<'a> Workshop<'a> {
    /// In a directory that is not there yet.
    pub(super) fn open(paths: &'a Paths, dir: &Path, quick: bool) -> Result<Self> {
        fs::create_dir(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self {
            paths,
            dir: dir.to_owned(),
            program: paths.target().join("release/agentbench"),
            ctl: Binaries::of(paths).ctl,
            quick,
        })
    }

    /// With a whole lab, which ends afterwards.
    pub(super) fn with_lab<T>(&self, work: impl FnOnce(&Lab) -> Result<T>) -> Result<T> {
        let dir = self.dir.join("lab");
        let lab = lab::up(self.paths, &dir, Enclave::Process)?;
        let done = work(&lab);
        self.end(&dir, lab.place().logs(), done)
    }

    /// With a lab of many certificates, which was just started and ends afterwards.
    pub(super) fn with_many<T>(&self, via: Via, work: impl FnOnce(&Many) -> Result<T>) -> Result<T> {
        let dir = self.dir.join(via.name());
        let count = if self.quick { QUICK } else { COUNT };
        let many = progress::step(&format!("starting an agent for {count} certificates"), || {
            Many::up(self.paths, &dir, via, count)
        })?;
        let done = work(&many);
        self.end(&dir, many.place.logs(), done)
    }

    fn end<T>(&self, dir: &Path, logs: PathBuf, done: Result<T>) -> Result<T> {
        if done.is_err() {
            let kept = dir.with_extension("logs");
            process::run(Command::new("cp").arg("-r").arg(logs).arg(kept))?;
        }
        lab::down(self.paths, dir)?;
        done
    }

    /// Has `agentbench` measure.
    pub(super) fn measure<T: DeserializeOwned>(&self, command: &str, plan: &Value) -> Result<T> {
        let file = self.dir.join(format!("{command}.json"));
        fs::write(&file, serde_json::to_string_pretty(plan)?)?;
        let answer = process::capture(Command::new(&self.program).arg(command).arg(file))?;
        serde_json::from_str(&answer).with_context(|| format!("agentbench answers {answer}"))
    }
}

const COUNT: usize = 1_000;
const QUICK: usize = 200;
