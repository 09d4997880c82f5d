//! What a signature costs: ours, SoftHSM2 in the same process, the library alone, and the bare socket.

use anyhow::{Context, Result};
use serde_json::json;

use super::runner::{Group, Measured, Runner, SERVER_CORE, Subject};
use super::show::{Columns, difference, number, ratio};
use super::softhsm::{self, signing_key};
use crate::lab::Description;

pub(super) const TITLE: &str = "C_SignInit and C_Sign: client and service on one core, µs";

/// One group for each mechanism.
pub(super) fn measure(runner: &Runner, lab: &Description) -> Result<Vec<Measured>> {
    let groups = MECHANISMS
        .iter()
        .map(|mechanism| runner.measure(group(mechanism, lab)?));
    groups.collect()
}

/// A row for each subject.
pub(super) fn print(measured: &[Measured]) {
    let mut columns = Columns::new([
        "signature",
        "by",
        "p50",
        "over raw",
        "p99",
        "CPU client",
        "service",
        "both",
        "p50 / SoftHSM2",
        "CPU / SoftHSM2",
        "rounds",
    ]);
    for group in measured {
        let raw = group
            .report
            .subjects
            .iter()
            .find(|subject| subject.name == RAW)
            .and_then(|raw| raw.figure("p50"));
        for subject in &group.report.subjects {
            let mut row = group.title.clone();
            row.push(subject.name.clone());
            row.extend(cells(subject, raw));
            columns.row(row, group);
        }
    }
    columns.print();
}

fn cells(subject: &Subject, raw: Option<f64>) -> [String; 8] {
    let figure = |name| number(subject.figure(name));
    [
        figure("p50"),
        if subject.name == RAW {
            String::new()
        } else {
            difference(subject.figure("p50"), raw)
        },
        figure("p99"),
        figure("cpu.client"),
        figure("cpu.service"),
        figure("cpu"),
        ratio(subject.ratio(SOFTHSM, "p50")),
        ratio(subject.ratio(SOFTHSM, "cpu")),
    ]
}

fn group(mechanism: &Mechanism, lab: &Description) -> Result<Group> {
    let key = signing_key(lab, mechanism.key)?;
    let service = lab.pids.get("service").context("the lab has no service")?;
    let watch = json!([{ "part": "service", "pid": service, "core": SERVER_CORE }]);
    let pkcs11 = |module: &str, token: &str, pin: Option<&str>| {
        json!({
            "kind": "pkcs11", "module": module, "token": token, "label": key.label, "pin": pin,
            "mechanism": mechanism.argument,
        })
    };
    let ours = pkcs11(&lab.module.display().to_string(), &lab.token, None);
    Ok(Group {
        title: vec![mechanism.title.to_owned()],
        core: SERVER_CORE,
        references: vec![RAW, SOFTHSM],
        count_client: true,
        subjects: vec![
            json!({ "name": "ours", "watch": watch, "work": ours }),
            json!({ "name": SOFTHSM, "work": pkcs11(softhsm::MODULE, softhsm::TOKEN, Some(softhsm::PIN)) }),
            json!({ "name": RAW, "work": { "kind": "raw", "key": key.private_key, "mechanism": mechanism.argument } }),
            json!({ "name": "bare socket", "work": {
                "kind": "socket", "request": FRAME + mechanism.input, "reply": FRAME + mechanism.signature,
            } }),
        ],
    })
}

struct Mechanism {
    title: &'static str,
    /// As signbench takes it.
    argument: &'static str,
    key: &'static str,
    /// Bytes that travel to the service and back.
    input: usize,
    signature: usize,
}

const MECHANISMS: [Mechanism; 3] = [
    Mechanism {
        title: "P-256",
        argument: "ecdsa",
        key: "P-256",
        input: 32,
        signature: 64,
    },
    Mechanism {
        title: "RSA-2048 PKCS#1",
        argument: "rsa-pkcs",
        key: "RSA-2048",
        input: 51,
        signature: 256,
    },
    Mechanism {
        title: "RSA-2048 PSS",
        argument: "rsa-pss",
        key: "RSA-2048",
        input: 32,
        signature: 256,
    },
];

/// The rest of a sign request, and (two bytes less) of its reply: header, key id, mechanism, length.
const FRAME: usize = 14 + 32 + 1 + 2;

const RAW: &str = "raw library";
const SOFTHSM: &str = "SoftHSM2";
