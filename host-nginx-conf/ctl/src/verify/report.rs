//! What `verify` prints.

use std::io;

use enclave_attestation::{AttestedKey, Document, Statement};
use serde::Serialize;

use super::checks::{Checks, printable, utc};
use enclave_tls_admin::hex;

use crate::{show, table};

/// A run of `verify`.
pub(crate) struct Report {
    pub(crate) checks: Checks,
    /// The root that was trusted.
    pub(crate) root_sha256: [u8; 32],
    pub(crate) trusts_aws: bool,
    pub(crate) document: Option<Document>,
    pub(crate) statement: Option<Statement>,
    pub(crate) host: Option<String>,
    /// The keys that the host showed.
    pub(crate) shown: Vec<AttestedKey>,
    pub(crate) limits: Vec<String>,
}

impl Report {
    pub(crate) fn print(&self, json: bool) -> io::Result<()> {
        if json {
            show::json(&ReportJson::from(self))
        } else {
            show::text_out(&self.text())
        }
    }

    /// The names of the checks that failed.
    pub(crate) fn failed(&self) -> Vec<String> {
        let failed = self.checks.0.iter().filter(|check| !check.passed);
        failed.map(|check| check.name.clone()).collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.trusts_aws {
            text.push_str(
                "THE ROOT IS NOT AWS'S: whoever has its key can make any such document. This is a lab's proof.\n",
            );
        }
        for check in &self.checks.0 {
            let word = if check.passed { "ok" } else { "FAILED" };
            text.push_str(&format!("{word:<6}  {}: {}\n", check.name, check.detail));
        }
        if let Some(statement) = &self.statement {
            text.push_str(&format!("\nkeys:\n{}", keys_table(&statement.keys)));
        }
        if !self.checks.is_proof() {
            text.push_str("\nNot proven.\n");
            return text;
        }
        text.push_str(&format!("\n{}\n", self.conclusion()));
        text.push_str("This does not show, or depends on:\n");
        for limit in &self.limits {
            text.push_str(&format!("- {limit}\n"));
        }
        text
    }

    fn conclusion(&self) -> String {
        let at = self
            .document
            .as_ref()
            .map_or_else(String::new, |document| utc(document.timestamp_ms));
        let enclave = format!("at {at} an enclave of this image, under this policy, held these keys");
        match &self.host {
            Some(host) => format!(
                "Proven: {enclave}; {host} has shown now that it signs with {} of them. Whether its certificates are good is for browsers \
                 to say.",
                self.shown.len()
            ),
            None => format!("Proven: {enclave}."),
        }
    }
}

fn keys_table(keys: &[AttestedKey]) -> String {
    let row = |key: &AttestedKey| {
        let weaker = if key.usage == "digest" { " (weaker)" } else { "" };
        [
            hex::encode(&key.spki_sha256),
            format!("{}{weaker}", printable(&key.usage)),
            printable(&key.origin),
            key.generation.to_string(),
        ]
    };
    table::render(
        ["SPKI SHA-256", "USAGE", "ORIGIN", "GENERATION"],
        &keys.iter().map(row).collect::<Vec<_>>(),
    )
}

#[derive(Serialize)]
struct ReportJson {
    proven: bool,
    root_sha256: String,
    root_is_aws: bool,
    checks: Vec<CheckJson>,
    document: Option<DocumentJson>,
    statement: Option<StatementJson>,
    host: Option<HostJson>,
    /// Who else may hold the keys, and what else stays open; empty where nothing is proven.
    limits: Vec<String>,
}

#[derive(Serialize)]
struct CheckJson {
    name: String,
    passed: bool,
    detail: String,
}

#[derive(Serialize)]
struct DocumentJson {
    module_id: String,
    made: String,
    pcrs: std::collections::BTreeMap<u8, String>,
}

#[derive(Serialize)]
struct StatementJson {
    keys: Vec<AttestedKeyJson>,
    sealed_to: Vec<String>,
    boot_id: String,
    policy_sha384: String,
    /// None: kvm-clock. By any other, expiry is judged by a clock that may run wrong.
    clock_source: Option<String>,
}

#[derive(Serialize)]
struct AttestedKeyJson {
    spki_sha256: String,
    usage: String,
    /// A `digest` key signs whatever a client sends.
    weaker: bool,
    origin: String,
    generation: u32,
}

#[derive(Serialize)]
struct HostJson {
    name: String,
    keys: Vec<AttestedKeyJson>,
}

impl From<&AttestedKey> for AttestedKeyJson {
    fn from(key: &AttestedKey) -> Self {
        Self {
            spki_sha256: hex::encode(&key.spki_sha256),
            usage: key.usage.clone(),
            weaker: key.usage == "digest",
            origin: key.origin.clone(),
            generation: key.generation,
        }
    }
}

impl From<&Report> for ReportJson {
    fn from(report: &Report) -> Self {
        let check = |check: &super::checks::Check| CheckJson {
            name: check.name.clone(),
            passed: check.passed,
            detail: check.detail.clone(),
        };
        let proven = report.checks.is_proof();
        Self {
            proven,
            root_sha256: hex::encode(&report.root_sha256),
            root_is_aws: report.trusts_aws,
            checks: report.checks.0.iter().map(check).collect(),
            document: report.document.as_ref().map(|document| DocumentJson {
                module_id: document.module_id.clone(),
                made: utc(document.timestamp_ms),
                pcrs: document
                    .pcrs
                    .iter()
                    .map(|(index, pcr)| (*index, hex::encode(pcr)))
                    .collect(),
            }),
            statement: report.statement.as_ref().map(|statement| StatementJson {
                keys: statement.keys.iter().map(AttestedKeyJson::from).collect(),
                sealed_to: statement.sealed_to.clone(),
                boot_id: hex::encode(&statement.boot_id),
                policy_sha384: hex::encode(&statement.policy_sha384),
                clock_source: statement.clock_source.clone(),
            }),
            host: report.host.as_ref().map(|name| HostJson {
                name: name.clone(),
                keys: report.shown.iter().map(AttestedKeyJson::from).collect(),
            }),
            limits: if proven { report.limits.clone() } else { Vec::new() },
        }
    }
}
