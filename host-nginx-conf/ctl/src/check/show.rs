//! The findings, for people and for programs.

use serde::Serialize;

use super::{Finding, Level};
use crate::colour::{Painter, Tone};
use crate::show::plain;

#[derive(Serialize)]
pub(crate) struct CheckJson<'a> {
    errors: usize,
    warnings: usize,
    findings: &'a [Finding],
}

pub(crate) fn json(findings: &[Finding]) -> CheckJson<'_> {
    CheckJson {
        errors: count(findings, Level::Error),
        warnings: count(findings, Level::Warning),
        findings,
    }
}

pub(crate) fn text(findings: &[Finding], painter: Painter) -> String {
    let mut text = String::new();
    let width = findings.iter().map(|finding| finding.area.len()).max().unwrap_or(0);
    for finding in findings {
        let level = match finding.level {
            Level::Ok => painter.paint(Tone::Good, "ok     "),
            Level::Warning => painter.paint(Tone::Doubtful, "warning"),
            Level::Error => painter.paint(Tone::Bad, "error  "),
        };
        let found = plain(&finding.found).replace('\n', "\n         ");
        text.push_str(&format!("{level}  {:width$}  {found}\n", finding.area));
        if let Some(todo) = &finding.todo {
            text.push_str(&format!("         {:width$}  → {}\n", "", plain(todo)));
        }
    }
    let (errors, warnings) = (count(findings, Level::Error), count(findings, Level::Warning));
    let verdict = match (errors, warnings) {
        (0, 0) => painter.paint(Tone::Good, "Nothing to correct."),
        (0, warnings) => painter.paint(Tone::Good, &format!("Nothing to correct; {warnings} to look at.")),
        (errors, warnings) => painter.paint(Tone::Bad, &format!("{errors} to correct, {warnings} to look at.")),
    };
    text + &format!("\n{verdict}\n")
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_is_a_line_and_what_to_do_is_the_next() {
        let findings = [
            Finding::ok("image", "PCR0 00"),
            Finding::error("server main", "no file", "touch it"),
        ];
        assert_eq!(
            text(&findings, Painter::never()),
            "ok       image        PCR0 00\nerror    server main  no file\n                      → touch it\n\n1 to correct, 0 to look at.\n"
        );
        let json = serde_json::to_value(json(&findings)).unwrap();
        assert_eq!(
            (&json["errors"], &json["findings"][1]["level"]),
            (&1.into(), &"error".into())
        );
    }
}
