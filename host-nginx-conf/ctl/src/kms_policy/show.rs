//! What `policy` prints.

use enclave_policy::Policy;
use serde::Serialize;

use super::finding::{Role, Severity};
use super::lint::{Answers, Report};
use super::{Generated, PolicyError};
use enclave_tls_admin::hex;

use crate::{show, table};

pub(super) fn measurement(policy: &Policy, json: bool) -> Result<(), PolicyError> {
    if json {
        show::json(&Measurement::from(policy))
    } else {
        show::text_out(&format!("{}\n", hex::encode(&policy.pcr16())))
    }
    .map_err(PolicyError::Output)
}

pub(super) fn merged(policy: &Policy, json: bool) -> Result<(), PolicyError> {
    #[derive(Serialize)]
    struct Merged {
        policy: String,
        #[serde(flatten)]
        measurement: Measurement,
    }
    let text = policy.to_toml();
    if json {
        show::json(&Merged {
            policy: text,
            measurement: Measurement::from(policy),
        })
    } else {
        show::text_out(&text)
    }
    .map_err(PolicyError::Output)
}

/// Always JSON: both parts are.
pub(super) fn generated(generated: &Generated) -> Result<(), PolicyError> {
    show::json(generated).map_err(PolicyError::Output)
}

pub(super) fn report(report: &Report, json: bool) -> Result<(), PolicyError> {
    if json {
        show::json(&ReportJson::from(report))
    } else {
        show::text_out(&report_text(report))
    }
    .map_err(PolicyError::Output)
}

#[derive(Serialize)]
struct Measurement {
    policy_sha384: String,
    pcr16: String,
}

impl From<&Policy> for Measurement {
    fn from(policy: &Policy) -> Self {
        Self {
            policy_sha384: hex::encode(&policy.sha384()),
            pcr16: hex::encode(&policy.pcr16()),
        }
    }
}

fn report_text(report: &Report) -> String {
    let mut text = table::render(
        ["ACTION", "EXPECTED ENCLAVE", "NO ATTESTATION", "DEBUG"],
        &report.matrix.iter().map(row).collect::<Vec<_>>(),
    );
    let forged = match report.role {
        Role::Sealing => "Beside the enclave, its state can be forged by",
        Role::Bundles => "Bundles can be made by",
    };
    for (question, who) in [
        ("Beside the enclave, plaintext is read by", &report.readers),
        (forged, &report.forgers),
        ("The policy can be changed by", &report.changers),
    ] {
        let who = if who.is_empty() {
            "nobody".to_owned()
        } else {
            who.join("; ")
        };
        text.push_str(&format!("{question}: {who}\n"));
    }
    for finding in &report.findings {
        text.push_str(&format!(
            "\n{} {}: {}:\n  {}\n  advice: {}\n",
            severity(finding.severity),
            finding.name.text(),
            finding.name.sentence(),
            finding.about.join("\n  "),
            finding.name.advice()
        ));
    }
    text
}

fn row(answers: &Answers) -> [String; 4] {
    let word = |allowed: Option<bool>| {
        match allowed {
            Some(true) => "allowed",
            Some(false) => "denied",
            None => "-",
        }
        .to_owned()
    };
    [
        format!("kms:{}", answers.action),
        word(answers.attested),
        word(Some(answers.unattested)),
        word(answers.debug),
    ]
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[derive(Serialize)]
struct ReportJson<'a> {
    clean: bool,
    readers: &'a [String],
    forgers: &'a [String],
    changers: &'a [String],
    matrix: &'a [Answers],
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

impl<'a> From<&'a Report> for ReportJson<'a> {
    fn from(report: &'a Report) -> Self {
        let finding = |finding: &'a super::finding::Finding| FindingJson {
            name: finding.name.text(),
            severity: severity(finding.severity),
            about: &finding.about,
            sentence: finding.name.sentence(),
            advice: finding.name.advice(),
        };
        Self {
            clean: report.above_notes() == 0,
            readers: &report.readers,
            forgers: &report.forgers,
            changers: &report.changers,
            matrix: &report.matrix,
            findings: report.findings.iter().map(finding).collect(),
        }
    }
}
