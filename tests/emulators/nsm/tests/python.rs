//! Independent agreement: Python's `cbor2` and `cryptography` read what the stand-in signed, and what AWS did.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod scratch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use emulator_nsm::{Options, StandIn, system_clock};
use enclave_attestation::{AWS_ROOT_SHA256, AttestedKey, Bound, Nsm, Purpose, Statement};
use serde_json::{Value, json};

use scratch::Scratch;

/// The interpreter, if there is one with what the check needs.
fn python(test: &str) -> Option<OsString> {
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        eprintln!("SKIPPED {test}: ENCLAVE_TLS_PYTHON names no interpreter");
        return None;
    };
    let imports = Command::new(&python)
        .args(["-c", "import cbor2, cryptography"])
        .status();
    if imports.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED {test}: it has no `cbor2` or no `cryptography`");
    None
}

fn verify(python: &OsString, document: &Path, root_sha256: [u8; 32], statement: Option<&Path>) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/verify.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(document)
        .arg(hex::encode(root_sha256))
        .args(statement);
    command.output().unwrap()
}

fn said(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn statement() -> Statement {
    let key = |generation, usage: &str| AttestedKey {
        spki_sha256: [7; 32],
        origin: "born-sealed".to_owned(),
        usage: usage.to_owned(),
        generation,
    };
    Statement {
        purpose: Purpose::Keys,
        nonce: vec![9; 32],
        keys: vec![key(1, "tls"), key(u32::MAX, "digest")],
        sealed_to: vec!["arn:aws:kms:us-east-1:111122223333:key/2b9c4f2e-6d0b-4a4b-8c3e-0f5a5f1f0d11".to_owned()],
        boot_id: [4; 16],
        policy_sha384: [5; 48],
        clock_source: Some("tsc".to_owned()),
    }
}

/// A document and its statement, in files.
struct Written {
    document: PathBuf,
    statement: PathBuf,
    root_sha256: [u8; 32],
}

fn write(scratch: &Scratch) -> Written {
    let options = Options {
        dir: scratch.path().to_owned(),
        pcrs: BTreeMap::from([(0, [0xa0; 48]), (1, [0xa1; 48]), (2, [0xa2; 48])]),
        clock: system_clock(),
    };
    let nsm = StandIn::start(options).unwrap();
    nsm.extend(16, b"abc").unwrap();
    nsm.lock_below(32).unwrap();
    let statement = statement();
    let bound = Bound {
        user_data: Some(&statement.user_data()),
        nonce: Some(&statement.nonce),
        ..Bound::default()
    };
    let written = Written {
        document: scratch.path().join("document"),
        statement: scratch.path().join("statement"),
        root_sha256: nsm.pki().root_sha256(),
    };
    std::fs::write(&written.document, nsm.attest(&bound).unwrap()).unwrap();
    std::fs::write(&written.statement, statement.encode()).unwrap();
    written
}

#[test]
fn python_verifies_a_document_and_its_statement() {
    let Some(python) = python("python_verifies_a_document_and_its_statement") else {
        return;
    };
    let scratch = Scratch::new("python");
    let written = write(&scratch);
    let said = said(&verify(
        &python,
        &written.document,
        written.root_sha256,
        Some(&written.statement),
    ));
    assert_eq!(said["public_key"], Value::Null);
    assert_eq!(said["nonce"], json!("09".repeat(32)));
    assert_eq!(said["pcrs"].as_object().unwrap().len(), 32);
    assert_eq!(said["pcrs"]["1"], json!("a1".repeat(48)));
    // `(head -c48 /dev/zero; printf abc) | sha384sum`
    assert!(
        said["pcrs"]["16"]
            .as_str()
            .unwrap()
            .starts_with("b1c16eb7634112b7c9d5ebd27e62a2d4")
    );
    let key = |generation: u32, usage| json!({"spki_sha256": "07".repeat(32), "origin": "born-sealed", "usage": usage, "generation": generation});
    let expected = json!({
        "v": 1,
        "purpose": "keys",
        "nonce": "09".repeat(32),
        "keys": [key(1, "tls"), key(u32::MAX, "digest")],
        "sealed_to": ["arn:aws:kms:us-east-1:111122223333:key/2b9c4f2e-6d0b-4a4b-8c3e-0f5a5f1f0d11"],
        "boot_id": "04".repeat(16),
        "policy_sha384": "05".repeat(48),
        "clock_source": "tsc",
    });
    assert_eq!(said["statement"], expected);
}

/// The check checks: what is damaged, spliced or under another root does not pass it.
#[test]
fn python_refuses_what_is_wrong() {
    let Some(python) = python("python_refuses_what_is_wrong") else {
        return;
    };
    let scratch = Scratch::new("python-refuses");
    let written = write(&scratch);
    let refused = |document: &Path, root, statement: &Path, why: &str| {
        let output = verify(&python, document, root, Some(statement));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(why), "{error}");
    };
    refused(
        &written.document,
        AWS_ROOT_SHA256,
        &written.statement,
        "AssertionError: root",
    );
    let damaged = |file: &Path| {
        let mut bytes = std::fs::read(file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let path = file.with_extension("damaged");
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let root = written.root_sha256;
    refused(
        &damaged(&written.document),
        root,
        &written.statement,
        "InvalidSignature",
    );
    refused(&written.document, root, &damaged(&written.statement), "does not bind");
}

#[test]
fn python_verifies_a_document_of_aws() {
    let Some(python) = python("python_verifies_a_document_of_aws") else {
        return;
    };
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../enclave-tls/attestation/tests/vectors");
    let production = vectors.join("production-2025-01-06.cose");
    let said = said(&verify(&python, &production, AWS_ROOT_SHA256, None));
    assert_eq!(said["timestamp"], json!(1_736_179_625_472_u64));
    assert_eq!(said["public_key"].as_str().unwrap().len(), 2 * 294);
    assert!(said["pcrs"]["0"].as_str().unwrap().starts_with("8bb159f2"));
    let bad = vectors.join("bad-signature-2024-07-23.cose");
    let output = verify(&python, &bad, AWS_ROOT_SHA256, None);
    assert!(String::from_utf8_lossy(&output.stderr).contains("InvalidSignature"));
}
