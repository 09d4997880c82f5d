//! Every guard taken away once, in a copy of the workspace: the tests that stand for it must go red.
//!
//! The guards are listed in `tests/mutants`. A test that stays green without its guard keeps nothing; neither does one that does
//! not compile, so that is no success here.

mod copy;
mod list;
mod trial;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};

use self::copy::Copy;
use self::list::Mutant;
use self::trial::{Outcome, Trials};
use super::count::Counts;
use crate::paths::Paths;
use crate::table::{Table, Verdict};

/// Tries every guard.
pub(super) fn run(paths: &Paths) -> Result<Counts> {
    some(paths, &[])
}

/// The tests that must go red, by name.
pub(super) fn tests(workspace: &Path) -> Result<BTreeSet<String>> {
    let mutants = list::read(&workspace.join(LIST))?;
    let tests = mutants.into_iter().flat_map(|mutant| mutant.tests);
    Ok(tests.map(|test| test.name).collect())
}

/// Tries the guards in whose threat, description, file, packages or tests one of these words stands; all, if there are none.
pub(super) fn some(paths: &Paths, words: &[String]) -> Result<Counts> {
    let mut mutants = list::read(&paths.workspace().join(LIST))?;
    mutants.retain(|mutant| words.is_empty() || words.iter().any(|word| mutant.mentions(word)));
    ensure!(!mutants.is_empty(), "no guard of tests/mutants has any of {words:?}");
    // What is built for one is there for the next of the same crate.
    mutants.sort_by(|one, other| one.place().cmp(&other.place()));
    let copy = Copy::make(paths)?;
    for mutant in &mutants {
        copy.find(mutant)?; // a list that has aged is told at once, not after an hour
    }
    println!("  {} guards; their tests as they are", mutants.len());
    let trials = Trials::prepare(paths, &copy, &mutants)?;
    let mut counts = Counts::default();
    let mut table = Table::new(["threat", "without its guard", "its tests"]);
    for mutant in &mutants {
        let outcome = trial(&trials, &copy, mutant)?;
        println!("  {} {}: {outcome}", mutant.threats, mutant.guard);
        let is_red = outcome == Outcome::Red;
        counts = counts
            + Counts {
                passed: u64::from(is_red),
                failed: u64::from(!is_red),
                skipped: 0,
            };
        let cells = [mutant.threats.clone(), mutant.guard.clone(), outcome.to_string()];
        table.row(cells, Verdict::of(is_red));
    }
    println!();
    table.print();
    Ok(counts)
}

/// The guard is back afterwards, whatever the trial said.
fn trial(trials: &Trials<'_>, copy: &Copy, mutant: &Mutant) -> Result<Outcome> {
    let whole = copy.take_away(mutant)?;
    let outcome = trials.run(mutant);
    copy.put_back(mutant, &whole)?;
    outcome
}

const LIST: &str = "tests/mutants";
