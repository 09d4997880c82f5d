//! `attest` and `status`: what others can check, and what is promised.

use std::fs;

use enclave_wire::control::{ControlError, KmsAnswer, SealingKey};
use enclave_wire::log::Text;
use serde_json::json;

use crate::stack::Stack;

#[test]
fn attest_writes_the_document_and_its_statement_for_the_nonce() {
    let (stack, fake) = Stack::serving("attest");
    let id = stack.create("www", "tls");
    stack.create("api", "tls");
    let files = ["--document", "doc", "--statement", "st"];
    let printed = stack.ok(&[&["attest", "--nonce", "00ff"], &files[..]].concat());
    assert_eq!(printed, "00ff\n");
    assert_eq!(fs::read(stack.dir.join("doc")).unwrap(), b"document \x00\xff");
    assert_eq!(fs::read(stack.dir.join("st")).unwrap(), b"statement ", "all keys");
    let json = stack.json(&[&["attest", "--random", "--key", "www"], &files[..]].concat());
    let nonce = json["nonce"].as_str().unwrap();
    assert_eq!(nonce.len(), 64);
    assert_eq!(
        fs::read(stack.dir.join("st")).unwrap(),
        format!("statement {id}").into_bytes()
    );
    let again = stack.json(&[&["attest", "--random"], &files[..]].concat());
    assert_ne!(again["nonce"], json["nonce"]);

    fs::write(stack.dir.join("doc"), "before").unwrap();
    fake.world().refuse.insert("Attest", ControlError::AttestationFailed);
    let error = stack.fails(1, &[&["attest", "--random"], &files[..]].concat());
    assert!(error.contains("the NSM did not attest"), "{error}");
    assert_eq!(fs::read(stack.dir.join("doc")).unwrap(), b"before");
    let error = stack.fails(
        1,
        &["attest", "--random", "--document", "/dev/null", "--statement", "st"],
    );
    assert!(error.contains("no regular file"), "{error}");
    let long = "00".repeat(65);
    for wrong in [
        &[][..],
        &["--nonce", ""],
        &["--nonce", "0"],
        &["--nonce", "FF"],
        &["--nonce", &long],
        &["--random", "--nonce", "00"],
    ] {
        stack.fails(2, &[&["attest"], wrong, &files].concat());
    }
}

#[test]
fn threat_35_status_says_what_is_promised_by_origin_and_no_more() {
    let (stack, mut fake) = Stack::serving("status");
    stack.create("born", "tls");
    stack.import("imported", b"key", &[]);
    let sealed = [
        "create", "sealed", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    stack.ok(&sealed);
    let text = stack.ok(&["status"]);
    for line in [
        "born (1): nobody else has it, ever; it ends with this run of the service.\n",
        "born-sealed (1): nobody else has it, while nobody can change the policy of the KMS key that seals it.\n",
        "imported (1): whoever had the key before the import",
        "egress           0 hosts allowed, 0 connections (0 now), 0 refused\n",
        "AWS credentials  off\n",
        "time             2026-01-01T00:00:00Z\n",
        "clock source     kvm-clock\n",
        "logs             0 records, 0 dropped, 0 malformed connections\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("unproven") && !text.contains("may run wrong"), "{text}");
    let json = stack.json(&["status"]);
    assert_eq!((&json["phase"], &json["keys"]), (&"serving".into(), &3.into()));
    // SHA-384 of 96 zero bytes: the stand-in's policy hash is zeros.
    assert!(
        json["pcr16"].as_str().unwrap().starts_with("f57bb7ed82c6ae4a29e6c987"),
        "{json}"
    );
    assert_eq!(
        json["egress"],
        json!({"hosts": 0, "connections_now": 0, "connections": 0, "refused": 0})
    );
    assert_eq!(
        (&json["aws"], &json["clock_source"]),
        (&json!(null), &json!("kvm-clock"))
    );
    assert_eq!(
        json["logs"],
        json!({"records": 0, "dropped": 0, "malformed": 0, "last_error": null})
    );

    fake.world().sealing = vec![
        SealingKey {
            kms_key: Text::lossy("arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
            answers: KmsAnswer::Well,
            missing: 0,
        },
        SealingKey {
            kms_key: Text::lossy("arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"),
            answers: KmsAnswer::Failed,
            missing: 2,
        },
    ];
    let output = stack.run(&["status"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let key = "us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let said = "did not answer, or refused, when it was asked last, and the states of 2 names do not open by it";
    for line in [
        format!("service: the KMS key arn:aws:kms:{key} {said}\n"),
        format!("sealing key      arn:aws:kms:{key}: {said}\n"),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert_eq!(output.status.code(), Some(3), "it needs somebody");
    fake.world().sealing.clear();

    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert!(stack.ok(&["status"]).contains("freshness: unproven (1)"));
    assert_eq!(stack.json(&["status"])["origins"][0]["freshness_unproven"], 1);
}

#[test]
fn threat_16_status_says_where_expiry_is_judged_by_a_clock_that_may_run_wrong() {
    let (stack, fake) = Stack::serving("clock");
    fake.world().clock_source = Some("tsc");
    let text = stack.ok(&["status"]);
    assert!(text.contains("clock source     tsc\n"), "{text}");
    assert!(
        text.contains("\nThe clock source is not kvm-clock: expiry is judged by a clock that may run wrong.\n"),
        "{text}"
    );
    assert_eq!(stack.json(&["status"])["clock_source"], "tsc");
}
