//! Keys of which one thing is wrong, each in a file of `tests/kms-keys`, and the generated policy, of which nothing is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::document::Document;
use super::evaluate::Rules;
use super::finding::{Name, Role, Severity};
use super::generate::Wanted;
use super::grant::{Description, Grants};
use super::lint::{Report, Subject};
use super::measured::Measured;

/// One test a file: the finding that the file names, and no other above a note.
macro_rules! files {
    ($($test:ident $file:literal;)*) => {
        $(#[test]
        fn $test() {
            finds_what_the_file_says($file);
        })*

        const FILES: &[&str] = &[$($file),*];
    };
}

files! {
    threat_38_unattested_decrypt "unattested-decrypt";
    threat_38_for_all_values "for-all-values";
    threat_38_deny_only_if_a_document_is_shown "deny-only-if-a-document-is-shown";
    threat_38_deny_names_one_role "deny-names-one-role";
    threat_38_deny_excepts_a_principal "deny-excepts-a-principal";
    threat_38_deny_excepts_a_pattern "deny-excepts-a-pattern";
    threat_38_a_session_of_an_excepted_role "a-session-of-an-excepted-role";
    threat_38_unattested_derive_shared_secret "unattested-derive-shared-secret";
    threat_38_forge_by_generate_data_key "forge-by-generate-data-key";
    threat_38_forge_by_generate_data_key_pair "forge-by-generate-data-key-pair";
    threat_38_debug_allowed "debug-allowed";
    threat_38_other_image_allowed "other-image-allowed";
    threat_38_other_policy_allowed "other-policy-allowed";
    threat_38_cross_pair_allowed "cross-pair-allowed";
    threat_38_enclave_denied "enclave-denied";
    threat_38_encrypt_allowed "encrypt-allowed";
    threat_38_reencrypt_from "reencrypt-from";
    threat_38_reencrypt_to "reencrypt-to";
    threat_38_generate_without_plaintext "generate-without-plaintext";
    threat_38_create_grant_allowed "create-grant-allowed";
    threat_38_import_key_material_allowed "import-key-material-allowed";
    threat_38_replicate_allowed "replicate-allowed";
    threat_38_policy_can_be_changed "policy-can-be-changed";
    threat_38_parent_can_change_policy "parent-can-change-policy";
    threat_38_grant_decrypt "grant-decrypt";
    threat_38_grant_decrypt_under_another_policy "grant-decrypt-under-another-policy";
    threat_38_grant_forge "grant-forge";
    threat_38_grant_reencrypt "grant-reencrypt";
    threat_38_grant_create_grant "grant-create-grant";
    threat_38_not_principal "not-principal";
    threat_38_wildcard_principal "wildcard-principal";
    threat_38_not_action "not-action";
    threat_38_ineffective_statement "ineffective-statement";
    threat_38_imported_material "imported-material";
    threat_38_custom_key_store "custom-key-store";
    threat_38_multi_region_replica "multi-region-replica";
    threat_38_wrong_key_spec "wrong-key-spec";
    threat_38_key_not_enabled "key-not-enabled";
    threat_38_aws_managed "aws-managed";
    threat_38_iam_policy "iam-policy";
}

fn finds_what_the_file_says(file: &str) {
    let key = read(file);
    let report = subject(&key).lint();
    let above: Vec<_> = report
        .findings
        .iter()
        .filter(|found| found.severity > Severity::Note)
        .collect();
    assert_eq!(
        above.iter().map(|found| found.name.text()).collect::<Vec<_>>(),
        [wanted(&key)],
        "{file}"
    );
    assert!(!above[0].about.is_empty() && !above[0].about[0].is_empty(), "{file}");
}

#[test]
fn every_finding_has_a_file_and_every_file_a_test() {
    let directory = std::fs::read_dir(directory()).unwrap();
    let mut there: Vec<String> = directory
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut tested: Vec<String> = FILES.iter().map(|file| format!("{file}.json")).collect();
    there.sort();
    tested.sort();
    assert_eq!(there, tested);
    let found: BTreeSet<String> = FILES.iter().map(|file| wanted(&read(file))).collect();
    assert_eq!(found, Name::ALL.iter().map(|name| name.text().to_owned()).collect());
}

#[test]
fn threat_38_a_generated_policy_has_no_finding() {
    for role in [Role::Sealing, Role::Bundles] {
        for pairs in [
            vec![("a", "1")],
            vec![("a", "1"), ("b", "2")],
            vec![("a", "1"), ("a", "2"), ("b", "1")],
        ] {
            for immutable in [false, true] {
                let wanted = wanted_policy(role, &pairs, immutable);
                let report = lint(&wanted, policy_of(&wanted), None);
                assert_eq!(
                    report.above_notes(),
                    0,
                    "{role:?} {pairs:?} {immutable}: {:?}",
                    report.findings
                );
                assert!(report.readers.is_empty());
                assert_eq!(report.changers.is_empty(), immutable);
                assert_eq!(report.forgers, wanted.sealers);
                assert!(
                    report
                        .matrix
                        .iter()
                        .any(|row| row.action == "Decrypt" && row.attested == Some(true))
                );
            }
        }
    }
}

#[test]
fn threat_38_its_denials_beat_grants_and_whatever_else_is_allowed() {
    let wanted = wanted_policy(Role::Sealing, &[("a", "1"), ("b", "2")], true);
    let mut policy = policy_of(&wanted);
    let everything = json!({ "Effect": "Allow", "Principal": { "AWS": ROOT }, "Action": "kms:*", "Resource": "*" });
    policy["Statement"].as_array_mut().unwrap().push(everything);
    let operations: Vec<&str> = [
        "Decrypt",
        "Encrypt",
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "ReEncryptFrom",
        "ReEncryptTo",
        "CreateGrant",
        "RetireGrant",
        "DescribeKey",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
        "DeriveSharedSecret",
    ]
    .to_vec();
    let grants =
        json!({ "Grants": [{ "GranteePrincipal": "arn:aws:iam::111122223333:role/backup", "Operations": operations }]});
    let report = lint(&wanted, policy, Some(grants));
    assert_eq!(report.findings, []);
    let denied = |row: &super::lint::Answers| !row.unattested && row.debug != Some(true);
    assert!(report.matrix.iter().all(denied));
}

#[test]
fn threat_38_each_denial_of_a_generated_policy_is_needed() {
    for pairs in [vec![("a", "1")], vec![("a", "1"), ("b", "2")]] {
        let wanted = wanted_policy(Role::Sealing, &pairs, true);
        let statements = policy_of(&wanted)["Statement"].as_array().unwrap().clone();
        // With several images, those that hold each to its own policy say this again.
        let needed = |one: &Value| one["Effect"] == "Deny" && (pairs.len() == 1 || one["Sid"] != "DenyOtherPolicies");
        for (place, statement) in statements.iter().enumerate().filter(|(_, one)| needed(one)) {
            let mut less = statements.clone();
            less.remove(place);
            // What a grant or an IAM policy would allow beside it.
            less.push(json!({ "Effect": "Allow", "Principal": { "AWS": ROOT }, "Action": "kms:*", "Resource": "*" }));
            let report = lint(&wanted, json!({ "Statement": less }), None);
            assert!(report.above_notes() > 0, "{}", statement["Sid"]);
        }
    }
}

fn wanted_policy(role: Role, pairs: &[(&str, &str)], immutable: bool) -> Wanted {
    let digits = |digit: &str| digit.repeat(96);
    let named = |name: &str| vec![format!("arn:aws:iam::111122223333:role/{name}")];
    Wanted {
        key_arn: "arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012".to_owned(),
        roles: named("web"),
        measured: pairs
            .iter()
            .map(|(image, policy)| Measured {
                pcr0: digits(image),
                pcr16: digits(policy),
            })
            .collect(),
        role,
        admins: if immutable { Vec::new() } else { named("admin") },
        sealers: if role == Role::Bundles {
            named("sealer")
        } else {
            Vec::new()
        },
        immutable,
        account_root: ROOT.to_owned(),
    }
}

fn policy_of(wanted: &Wanted) -> Value {
    serde_json::to_value(wanted.generate().key_policy).unwrap()
}

fn lint(wanted: &Wanted, policy: Value, grants: Option<Value>) -> Report {
    let subject = Subject {
        rules: Rules {
            policy: Document::parse(&policy.to_string()).unwrap(),
            iam: Vec::new(),
            arn: Some(wanted.key_arn.clone()),
        },
        grants: grants.map(|grants| Grants::parse(&grants.to_string()).unwrap()),
        metadata: None,
        expected: wanted.measured.clone(),
        role: wanted.role,
        immutable: wanted.immutable,
    };
    subject.lint()
}

fn subject(key: &Value) -> Subject {
    let pair = |pcr0: &str, pcr16: &str| Measured {
        pcr0: pcr0.repeat(48),
        pcr16: pcr16.repeat(48),
    };
    let grants = key
        .get("grants")
        .map(|grants| Grants::parse(&grants.to_string()).unwrap());
    let metadata = key.get("metadata").map(|metadata| {
        let description: Description = serde_json::from_value(metadata.clone()).unwrap();
        description.key_metadata
    });
    let iam = key
        .get("iam")
        .map(|policy| ("held.json".to_owned(), Document::parse(&policy.to_string()).unwrap()));
    Subject {
        rules: Rules {
            policy: Document::parse(&key.to_string()).unwrap(),
            iam: iam.into_iter().collect(),
            arn: Some("arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012".to_owned()),
        },
        grants,
        metadata,
        expected: vec![pair("a1", "c3"), pair("b2", "d4")],
        role: Role::Sealing,
        immutable: wanted(key) == "policy-can-be-changed",
    }
}

fn wanted(key: &Value) -> String {
    key["finding"].as_str().unwrap().to_owned()
}

fn read(file: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory().join(format!("{file}.json"))).unwrap()).unwrap()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/kms-keys")
}

const ROOT: &str = "arn:aws:iam::111122223333:root";
