//! What `policy lint --iam` prints of a role.

use serde::Serialize;

use super::finding::Finding;
use crate::kms_policy::PolicyError;
use crate::show;

/// Prints it. How many findings make lint fail: all of them.
pub(crate) fn report(findings: &[Finding], json: bool) -> Result<usize, PolicyError> {
    if json {
        show::json(&ReportJson {
            clean: findings.is_empty(),
            findings: findings.iter().map(FindingJson::from).collect(),
        })
    } else {
        show::text_out(&text(findings))
    }
    .map_err(PolicyError::Output)?;
    Ok(findings.len())
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { danger, about } in findings {
        text.push_str(&format!(
            "{} {}: {}:\n  {}\n  advice: {}\n\n",
            severity(danger.is_error()),
            danger.text(),
            danger.sentence(),
            about.join("\n  "),
            danger.advice()
        ));
    }
    if findings.is_empty() {
        text.push_str("These policies let the role get no certificate of its own.\n");
    }
    text + REACH
}

fn severity(is_error: bool) -> &'static str {
    if is_error { "error" } else { "warning" }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    clean: bool,
    findings: Vec<FindingJson<'a>>,
}

#[derive(Serialize)]
struct FindingJson<'a> {
    name: &'static str,
    severity: &'static str,
    about: &'a [String],
    sentence: &'static str,
    advice: &'static str,
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(Finding { danger, about }: &'a Finding) -> Self {
        Self {
            name: danger.text(),
            severity: severity(danger.is_error()),
            about,
            sentence: danger.sentence(),
            advice: danger.advice(),
        }
    }
}

const REACH: &str = "Judged is what was given: a role has every policy that is attached to it or written into it (`aws iam list-attached-role-policies`, \
     `aws iam list-role-policies`).\n";
