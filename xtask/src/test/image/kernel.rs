//! The kernel, built again, and one that lacks what ours has.

use std::fs;

use anyhow::{Context, Result, ensure};
use enclave_wire::log::Level;

use super::again::{Variables, another_time};
use super::boots::last_words;
use super::{Place, SKIPPED, Stage, verdict};
use crate::image::Inputs;
use crate::image::kernel::{self, Recipe};
use crate::paths::Paths;
use crate::test::count::Counts;

/// Everything that needs the kernel's source.
pub(in crate::test) fn run(paths: &Paths) -> Result<Counts> {
    if let Err(error) = kernel::source(paths) {
        println!("SKIPPED kernel: its source cannot be had: {error:#}");
        return Ok(SKIPPED + SKIPPED);
    }
    let (time, skipped) = another_time(paths);
    let again = verdict(
        "threat_55_the_kernel_is_the_one_that_its_source_makes",
        again(paths, time),
    );
    let stage = Stage::prepare(paths)?;
    let without = verdict(
        "threat_13_a_kernel_without_the_nsm_starts_no_service",
        without_nsm(&stage),
    );
    Ok(again + skipped + without)
}

/// In another directory, by another number of jobs, years later.
fn again(paths: &Paths, time: Variables) -> Result<()> {
    let place = Place::new()?;
    let recipe = Recipe {
        jobs: JOBS,
        environment: time,
        ..Recipe::pinned(paths)?
    };
    let same = kernel::again(paths, Some(&place.directory("a-kernel-elsewhere")?), &recipe, false)?;
    ensure!(same, "another kernel came of the source; see above what differs");
    Ok(())
}

/// All else is as where the service starts: the policy is one that lets the emulated clock pass.
fn without_nsm(stage: &Stage<'_>) -> Result<()> {
    let file = kernel::without(stage.paths, "CONFIG_NSM")?;
    let (image, _) = stage.write(
        "without-nsm",
        &Inputs {
            kernel: fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?,
            policy: stage.lab.policy.clone(),
            ..stage.release.clone()
        },
    )?;
    let last = last_words(stage, "without-nsm", &image)?;
    ensure!(
        last.level == Level::Error && last.message.as_str() == REFUSAL,
        "at last it says {last:?}"
    );
    Ok(())
}

/// Another number than the pinned kernel was built with.
const JOBS: u32 = 3;

const REFUSAL: &str = "the service was not started: random numbers come from \"none\", not from nsm-hwrng";
