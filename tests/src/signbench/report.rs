//! What was measured, for people and programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::Plan;
use super::rounds::Round;
pub use super::stats::Spread;
use super::subject::Failed;

/// Figures and ratios of all subjects of a plan.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Rounds that were run.
    pub rounds: usize,
    /// Rounds that count: in the others the machine moved. If it moved in nearly all, all count, and `disturbed` says so.
    pub kept: usize,
    /// Whether the figures come from a machine that was not steady.
    pub disturbed: bool,
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
        let total = rounds.len();
        let steady = rounds.iter().filter(|round| !round.disturbed).count();
        let disturbed = steady < total.min(LEAST);
        let kept: Vec<&Round> = rounds.iter().filter(|round| disturbed || !round.disturbed).collect();
        let subject = |name: &str| SubjectReport {
            name: name.to_owned(),
            error: failed
                .iter()
                .find(|(failed, _)| failed == name)
                .map(|(_, error)| error.to_string()),
            figures: spreads(&kept, name, None),
            ratios: plan
                .references
                .iter()
                .filter(|reference| *reference != name)
                .map(|reference| (reference.clone(), spreads(&kept, name, Some(reference))))
                .collect(),
        };
        let subjects = plan.subjects.iter().map(|planned| subject(&planned.name)).collect();
        Self {
            rounds: total,
            kept: kept.len(),
            disturbed,
            load,
            subjects,
        }
    }
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

    fn round(a: f64, b: f64, disturbed: bool) -> Round {
        let figures = |value| Figures::from([("p50".to_owned(), value)]);
        Round {
            figures: BTreeMap::from([("a".to_owned(), figures(a)), ("b".to_owned(), figures(b))]),
            disturbed,
        }
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        // The machine is twice as slow in every other round: the ratio does not see it.
        let rounds = vec![
            round(2.0, 1.0, false),
            round(4.0, 2.0, false),
            round(2.0, 1.0, false),
            round(9.0, 1.0, true),
        ];
        let report = Report::of(&plan(), rounds, &vec![("c".to_owned(), SubjectError::Sign)], [0.0, 0.5]);
        assert_eq!((report.rounds, report.kept, report.disturbed), (4, 3, false));
        let [a, b, c] = report.subjects.as_slice() else {
            panic!("three subjects")
        };
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
        assert!(c.figures.is_empty() && c.error.is_some());
    }

    #[test]
    fn if_nearly_all_rounds_were_disturbed_all_count_and_it_is_said() {
        let rounds = vec![
            round(2.0, 1.0, true),
            round(4.0, 2.0, true),
            round(2.0, 1.0, true),
            round(9.0, 1.0, false),
        ];
        let report = Report::of(&plan(), rounds, &Vec::new(), [0.0, 0.5]);
        assert_eq!((report.kept, report.disturbed), (4, true));
    }
}
