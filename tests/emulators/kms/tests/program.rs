//! The emulator as a program: what it says, what it refuses to start with.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use support::client::{Ask, exchange};
use support::enclave::Enclave;
use support::program::Program;
use support::scratch::Scratch;
use support::{ADMIN, KEY_ARN, PARENT, base64, recipient};

#[test]
fn it_serves_and_lets_itself_be_switched() {
    let scratch = Scratch::new();
    let program = Program::start(scratch.path(), [0; 32], None, &[]);
    let ask = Ask::new(ADMIN, "DescribeKey", &json!({ "KeyId": KEY_ARN }));
    let address = program.address.parse().unwrap();
    assert_eq!(ask.send(address).status, 200);
    let body = r#"{"error":"unavailable"}"#;
    let length = body.len();
    let put = format!(
        "PUT /_emulator/faults HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    assert_eq!(exchange(program.admin, put.as_bytes()).unwrap().status, 200);
    assert_eq!(ask.send(address).status, 503);
    assert_eq!(program.complaints(), "");
}

#[test]
fn it_says_at_the_start_and_at_each_use_that_unsigned_documents_are_believed() {
    let scratch = Scratch::new();
    let enclave = Enclave::new();
    let program = Program::start(
        scratch.path(),
        enclave.root_sha256(),
        None,
        &["--allow-unsigned-documents"],
    );
    let address = program.address.parse().unwrap();
    let sealed = Ask::new(
        ADMIN,
        "Encrypt",
        &json!({ "KeyId": KEY_ARN, "Plaintext": base64(b"x") }),
    )
    .send(address)
    .json();
    let body = json!({ "CiphertextBlob": sealed["CiphertextBlob"], "Recipient": recipient(&enclave.unsigned()) });
    for _ in 0..2 {
        assert_eq!(Ask::new(PARENT, "Decrypt", &body).send(address).status, 200);
    }
    let said = program.complaints();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].contains("WARNING: UNSIGNED attestation documents are believed"),
        "{said}"
    );
    assert!(
        lines[1].contains("WARNING: an UNSIGNED attestation document was believed"),
        "{said}"
    );
}

#[test]
fn a_configuration_that_is_wrong_is_named() {
    let scratch = Scratch::new();
    let head = "region = \"us-east-1\"\naccount = \"111122223333\"\n";
    for (text, words) in [
        ("region = \"us-east-1\"\n".to_owned(), "missing field `account`"),
        (format!("{head}colour = \"red\"\n"), "unknown field `colour`"),
        (
            "region = \"us-east-1\"\naccount = \"1\"\n".to_owned(),
            "1 is not an account",
        ),
        (
            format!("{head}attestation_root_sha256 = \"00\"\n"),
            "00 is not a SHA-256",
        ),
        (
            format!("{head}[[keys]]\narn = \"arn:aws:kms:us-east-1:111122223333:alias/x\"\n"),
            "is not the ARN of a key",
        ),
        (
            format!("{head}[[keys]]\nid = \"0a1b2c3d-1111-4222-8333-444455556666\"\nmaterial = \"07\"\n"),
            "is not 32 bytes of hexadecimal",
        ),
        (
            format!("{head}[[keys]]\npolicy = '{{}}'\n"),
            "the policy of arn:aws:kms:us-east-1:111122223333:key/",
        ),
        (
            format!(
                "{head}[[principals]]\naccess_key_id = \"a\"\nsecret_access_key = \"b\"\narn = \"arn:aws:iam::111122223333:group/x\"\n"
            ),
            "is not the ARN of a user, a role, a session or a root",
        ),
    ] {
        let output = refused(scratch.path(), &text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words), "{words}: {said}");
    }
}

fn refused(dir: &Path, text: &str) -> Output {
    let path = dir.join("wrong.toml");
    std::fs::write(&path, text).unwrap();
    Command::new(env!("CARGO_BIN_EXE_emulator-kms"))
        .arg("--config")
        .arg(path)
        .output()
        .unwrap()
}
