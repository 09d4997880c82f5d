//! A B C … C B A, until as many rounds count as the plan says.

use std::collections::BTreeMap;
use std::time::Duration;

use super::control;
use super::cpu::CpuError;
use super::plan::Plan;
use super::report;
use super::slice::{self, CLIENT, Figures, SliceError};
use super::subject::{Failed, Subject};

/// What one round gave, by subject.
pub(super) struct Round {
    pub(super) figures: BTreeMap<String, Figures>,
    /// What the control loop took just before and after each of its slices.
    pub(super) controls: BTreeMap<String, Vec<Duration>>,
}

impl Round {
    /// Whether the machine kept its pace through the slices of these.
    pub(super) fn is_steady(&self, subjects: &[&str]) -> bool {
        let controls = subjects.iter().filter_map(|name| self.controls.get(*name)).flatten();
        !control::is_disturbed(&controls.copied().collect::<Vec<_>>())
    }
}

/// Runs all rounds. A subject that fails in one takes no part in those after it.
pub(super) fn run(plan: &Plan, subjects: &mut Vec<Subject>, failed: &mut Failed) -> Result<Vec<Round>, CpuError> {
    let mut rounds = Vec::new();
    while plan.wants_another(rounds.len(), report::fewest(plan, &rounds, subjects)) {
        rounds.push(round(plan, subjects, failed)?);
    }
    Ok(rounds)
}

fn round(plan: &Plan, subjects: &mut Vec<Subject>, failed: &mut Failed) -> Result<Round, CpuError> {
    let mut before = control::time();
    let mut controls: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    let mut slices: BTreeMap<String, Vec<Figures>> = BTreeMap::new();
    for index in there_and_back(subjects.len()) {
        let Some(subject) = subjects.get_mut(index) else {
            continue;
        };
        if failed.iter().any(|(name, _)| *name == subject.name) {
            continue;
        }
        match slice::run(subject, plan.slice()) {
            Ok(figures) => slices.entry(subject.name.clone()).or_default().push(figures),
            Err(SliceError::Subject(error)) => failed.push((subject.name.clone(), error)),
            Err(SliceError::Cpu(error)) => return Err(error),
        }
        let after = control::time();
        controls
            .entry(subject.name.clone())
            .or_default()
            .extend([before, after]);
        before = after;
    }
    subjects.retain(|subject| !failed.iter().any(|(name, _)| *name == subject.name));
    let both = slices.into_iter().filter(|(_, slices)| slices.len() == 2);
    let figures = both
        .map(|(name, slices)| (name, summed(mean(&slices), plan.count_client)))
        .collect();
    Ok(Round { figures, controls })
}

fn there_and_back(count: usize) -> impl Iterator<Item = usize> {
    (0..count).chain((0..count).rev())
}

fn mean(slices: &[Figures]) -> Figures {
    let mut sums = Figures::new();
    for (name, value) in slices.iter().flatten() {
        *sums.entry(name.clone()).or_default() += value / slices.len() as f64;
    }
    sums
}

/// With `cpu`, what all parts cost together.
fn summed(mut figures: Figures, count_client: bool) -> Figures {
    let client = format!("cpu.{CLIENT}");
    let parts = figures
        .iter()
        .filter(|(name, _)| name.starts_with("cpu.") && (count_client || **name != client));
    let sum = parts.map(|(_, value)| *value).reduce(|one, other| one + other);
    figures.extend(sum.map(|sum| ("cpu".to_owned(), sum)));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_has_two_slices_around_the_same_middle() {
        let order: Vec<usize> = there_and_back(3).collect();
        assert_eq!(order, [0, 1, 2, 2, 1, 0]);
    }

    #[test]
    fn the_client_counts_where_the_plan_says_so() {
        let figures = Figures::from([
            ("cpu.client".into(), 5.0),
            ("cpu.service".into(), 20.0),
            ("p50".into(), 30.0),
        ]);
        assert_eq!(summed(figures.clone(), true)["cpu"], 25.0);
        assert_eq!(summed(figures, false)["cpu"], 20.0);
    }

    #[test]
    fn two_slices_give_their_mean() {
        let slice = |value| Figures::from([("p50".to_owned(), value)]);
        assert_eq!(mean(&[slice(1.0), slice(3.0)])["p50"], 2.0);
    }
}
