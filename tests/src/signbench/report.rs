//! What was measured, for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::{Plan, SubjectPlan};
use super::rounds::Round;
pub use super::stats::Spread;
use super::subject::{Failed, Subject};

/// Figures and ratios of all subjects of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rounds that were run.
    pub rounds: usize,
    /// The load average before and after.
    pub load: [f64; 2],
    /// In the plan's order.
    pub subjects: Vec<SubjectReport>,
}

/// What was measured of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct SubjectReport {
    /// Its name.
    pub name: String,
    /// Rounds that count, for the figure or ratio that has the fewest: in the others the machine moved during its slices or those that it
    /// is compared with. If it moved in nearly all, all count, and `disturbed` says so.
    pub kept: usize,
    /// Whether something of this comes from a machine that was not steady.
    pub disturbed: bool,
    /// Why it could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `p50`, `p99`: µs. `rate`: operations a second. `cpu`, `cpu.PART`: µs an operation.
    pub figures: BTreeMap<String, Spread>,
    /// By reference: its figures divided by the reference's, round by round.
    pub ratios: BTreeMap<String, BTreeMap<String, Spread>>,
}

impl Report {
    pub(super) fn of(plan: &Plan, rounds: Vec<Round>, failed: &Failed, load: [f64; 2]) -> Self {
        let subject = |planned: &SubjectPlan| SubjectReport::of(planned, plan, &rounds, failed);
        Self {
            rounds: rounds.len(),
            load,
            subjects: plan.subjects.iter().map(subject).collect(),
        }
    }
}

impl SubjectReport {
    fn of(planned: &SubjectPlan, plan: &Plan, rounds: &[Round], failed: &Failed) -> Self {
        let name = planned.name.as_str();
        let error = failed.iter().find(|(failed, _)| failed == name);
        let own = Counting::of(rounds, &[name]);
        let mut report = Self {
            name: name.to_owned(),
            kept: own.rounds.len(),
            disturbed: own.disturbed,
            error: error.map(|(_, error)| error.to_string()),
            figures: spreads(&own.rounds, name, None),
            ratios: BTreeMap::new(),
        };
        for reference in plan.references.iter().filter(|reference| *reference != name) {
            let both = Counting::of(rounds, &[name, reference]);
            if !both.rounds.is_empty() {
                report.kept = report.kept.min(both.rounds.len());
                report.disturbed |= both.disturbed;
            }
            report
                .ratios
                .insert(reference.clone(), spreads(&both.rounds, name, Some(reference)));
        }
        report
    }
}

/// The rounds that count where some subjects are looked at together.
struct Counting<'a> {
    rounds: Vec<&'a Round>,
    disturbed: bool,
}

impl<'a> Counting<'a> {
    fn of(rounds: &'a [Round], names: &[&str]) -> Self {
        let has_all = |round: &&Round| names.iter().all(|name| round.figures.contains_key(*name));
        let all: Vec<&Round> = rounds.iter().filter(has_all).collect();
        let steady: Vec<&Round> = all.iter().copied().filter(|round| round.is_steady(names)).collect();
        let disturbed = steady.len() < all.len().min(LEAST);
        Self {
            rounds: if disturbed { all } else { steady },
            disturbed,
        }
    }
}

/// How many steady rounds that comparison has which has the fewest, among subjects that can be measured.
pub(super) fn fewest(plan: &Plan, rounds: &[Round], subjects: &[Subject]) -> usize {
    let works = |name: &str| subjects.iter().any(|subject| subject.name == name);
    let steady = |names: [&str; 2]| rounds.iter().filter(|round| round.is_steady(&names)).count();
    let references: Vec<&str> = plan
        .references
        .iter()
        .map(String::as_str)
        .filter(|name| works(name))
        .collect();
    subjects
        .iter()
        .flat_map(|subject| {
            let name = subject.name.as_str();
            let references = references.iter().map(move |reference| [name, *reference]);
            references.chain([[name, name]])
        })
        .map(steady)
        .min()
        .unwrap_or(rounds.len())
}

/// Each figure of a subject, as it is or divided by that of a reference.
fn spreads(rounds: &[&Round], subject: &str, reference: Option<&str>) -> BTreeMap<String, Spread> {
    let mut values: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in rounds {
        for (name, value) in round.figures.get(subject).into_iter().flatten() {
            let divisor = match reference {
                None => Some(1.0),
                Some(reference) => round
                    .figures
                    .get(reference)
                    .and_then(|figures| figures.get(name))
                    .copied(),
            };
            // Of nothing, as of a core that was never idle, there is no part.
            if let Some(divisor) = divisor.filter(|divisor| *divisor != 0.0) {
                values.entry(name).or_default().push(value / divisor);
            }
        }
    }
    values
        .into_iter()
        .filter_map(|(name, values)| Some((name.to_owned(), Spread::of(values)?)))
        .collect()
}

/// With fewer steady rounds than these there is no median worth the name.
const LEAST: usize = 3;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::slice::Figures;
    use super::super::subject::SubjectError;
    use super::*;

    fn plan() -> Plan {
        serde_json::from_str(
            r#"{"core": null, "slice_ms": 1, "rounds": 4, "references": ["b"], "count_client": true, "subjects": [
                {"name": "a", "work": {"kind": "socket", "request": 1, "reply": 1}},
                {"name": "b", "work": {"kind": "socket", "request": 1, "reply": 1}},
                {"name": "c", "work": {"kind": "raw", "key": "/k", "mechanism": "rsa-pss"}}]}"#,
        )
        .unwrap()
    }

    /// With what the control loop took beside each, in ms.
    fn round(a: (f64, u64), b: (f64, u64)) -> Round {
        let figures = |value| Figures::from([("p50".to_owned(), value)]);
        let controls = |ms| vec![Duration::from_millis(100), Duration::from_millis(ms)];
        Round {
            figures: BTreeMap::from([("a".to_owned(), figures(a.0)), ("b".to_owned(), figures(b.0))]),
            controls: BTreeMap::from([("a".to_owned(), controls(a.1)), ("b".to_owned(), controls(b.1))]),
        }
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is twice as slow in every other round: the ratio does not see it.
        let rounds = vec![
            round((2.0, 100), (1.0, 100)),
            round((4.0, 100), (2.0, 100)),
            round((2.0, 100), (1.0, 100)),
            round((9.0, 120), (1.0, 100)),
        ];
        let report = Report::of(&plan(), rounds, &vec![("c".to_owned(), SubjectError::Sign)], [0.0, 0.5]);
        let [a, b, c] = report.subjects.as_slice() else {
            panic!("three subjects")
        };
        assert_eq!((report.rounds, a.kept, a.disturbed), (4, 3, false));
        assert_eq!(
            a.ratios["b"]["p50"],
            Spread {
                q1: 2.0,
                median: 2.0,
                q3: 2.0
            }
        );
        assert_eq!(a.figures["p50"].median, 2.0);
        assert!(b.ratios.is_empty() && b.error.is_none());
        assert_eq!(b.kept, 4, "nothing moved while this had its turns");
        assert!(c.figures.is_empty() && c.error.is_some());
        assert_eq!(c.kept, 0);
    }

    #[test]
    fn a_pair_counts_where_the_machine_had_one_pace_for_both() {
        let fast_and_slow = Round {
            controls: BTreeMap::from([
                ("a".to_owned(), vec![Duration::from_millis(100)]),
                ("b".to_owned(), vec![Duration::from_millis(112)]),
            ]),
            ..round((1.0, 100), (1.0, 100))
        };
        assert!(fast_and_slow.is_steady(&["a"]) && fast_and_slow.is_steady(&["b"]));
        assert!(!fast_and_slow.is_steady(&["a", "b"]));
    }

    #[test]
    fn if_nearly_all_rounds_were_disturbed_all_count_and_it_is_said() {
        let rounds = vec![
            round((2.0, 120), (1.0, 100)),
            round((4.0, 120), (2.0, 100)),
            round((2.0, 120), (1.0, 100)),
            round((9.0, 100), (1.0, 100)),
        ];
        let report = Report::of(&plan(), rounds, &Vec::new(), [0.0, 0.5]);
        assert_eq!((report.subjects[0].kept, report.subjects[0].disturbed), (4, true));
        assert_eq!((report.subjects[1].kept, report.subjects[1].disturbed), (4, false));
    }

    #[test]
    fn rounds_go_on_for_the_comparison_that_has_the_fewest() {
        let subject = |name: &str| Subject {
            name: name.to_owned(),
            workers: Vec::new(),
            watch: Vec::new(),
        };
        let rounds = [round((1.0, 100), (1.0, 120)), round((1.0, 100), (1.0, 100))];
        assert_eq!(fewest(&plan(), &rounds, &[subject("a"), subject("b")]), 1);
        assert_eq!(
            fewest(&plan(), &rounds, &[subject("a")]),
            2,
            "what failed holds nothing up"
        );
        assert_eq!(fewest(&plan(), &rounds, &[]), 2);
    }
}
