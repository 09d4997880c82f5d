//! `policy generate` and `policy lint`, one with the other.

use std::fs;
use std::path::PathBuf;

use crate::directory::Directory;
use crate::enclave::SEALING_KEY;

fn pair(image: &str, policy: &str) -> String {
    format!("{}:{}", image.repeat(48), policy.repeat(48))
}

fn generate(directory: &Directory, rest: &[&str]) -> String {
    let base = [
        "policy",
        "generate",
        "--key-arn",
        SEALING_KEY,
        "--role",
        "arn:aws:iam::111122223333:role/web",
    ];
    let output = directory.ok(&[&base[..], rest].concat());
    directory.write("key.json", &output);
    output
}

const ADMIN: [&str; 2] = ["--admin", "arn:aws:iam::111122223333:role/admin"];

#[test]
fn threat_38_what_generate_writes_lint_passes() {
    let directory = Directory::new("generate");
    let (old, new) = (pair("a1", "c3"), pair("b2", "d4"));
    generate(
        &directory,
        &[&["--measured", &old, "--measured", &new], &ADMIN[..]].concat(),
    );
    let lint = [
        "policy", "lint", "--policy", "key.json", "--expect", &old, "--expect", &new,
    ];
    let report = directory.json(&lint);
    assert_eq!(
        (&report["clean"], report["findings"][0]["name"].as_str()),
        (&true.into(), Some("policy-can-be-changed"))
    );
    assert_eq!(report["changers"][0], ADMIN[1]);
    let error = directory.fails(1, &[&lint[..], &["--immutable"]].concat());
    assert!(error.contains("1 to correct"), "{error}");
    // An enclave that the policy does not know of would be locked out.
    let third = pair("a1", "d4");
    let report = directory.run(&["policy", "lint", "--policy", "key.json", "--expect", &third, "--json"]);
    assert!(String::from_utf8(report.stdout).unwrap().contains("enclave-denied"));
}

#[test]
fn threat_38_an_immutable_policy_says_its_price() {
    let directory = Directory::new("immutable");
    let (image, policy) = ("a1".repeat(48), "c3".repeat(48));
    let args = ["--pcr0", &image, "--pcr16", &policy, "--immutable"];
    generate(&directory, &args);
    let lint = [
        "policy",
        "lint",
        "--policy",
        "key.json",
        "--expect",
        &pair("a1", "c3"),
        "--immutable",
    ];
    assert_eq!(directory.json(&lint)["findings"].as_array().unwrap().len(), 0);
    let base = [
        "policy",
        "generate",
        "--key-arn",
        SEALING_KEY,
        "--role",
        "arn:aws:iam::111122223333:role/web",
    ];
    let output = directory.run(&[&base[..], &args].concat());
    let warning = String::from_utf8(output.stderr).unwrap();
    for said in ["--bypass-policy-lockout-safety-check", "No other image", "AWS Support"] {
        assert!(warning.contains(said), "{warning}");
    }
}

#[test]
fn what_would_make_a_policy_worthless_is_wrong_usage() {
    let directory = Directory::new("worthless");
    let good = pair("a1", "c3");
    let base = |role: &'static str| vec!["policy", "generate", "--key-arn", SEALING_KEY, "--role", role];
    let role = "arn:aws:iam::111122223333:role/web";
    let zero = pair("00", "c3");
    for args in [
        [&base(role)[..], &["--measured", &zero], &ADMIN].concat(),
        [&base(role)[..], &["--measured", &good]].concat(),
        [&base(role)[..], &ADMIN].concat(),
        [&base(role)[..], &["--measured", &good, "--immutable"], &ADMIN].concat(),
        [&base("*")[..], &["--measured", &good], &ADMIN].concat(),
        [
            &base("arn:aws:iam::111122223333:role/*")[..],
            &["--measured", &good],
            &ADMIN,
        ]
        .concat(),
        [
            &base("arn:aws:sts::111122223333:assumed-role/web/i-1")[..],
            &["--measured", &good],
            &ADMIN,
        ]
        .concat(),
        [&base(role)[..], &["--measured", &good, "--sealer", role], &ADMIN].concat(),
        // The parent instance is the adversary.
        [&base(role)[..], &["--measured", &good, "--admin", role]].concat(),
        [
            &base(role)[..],
            &["--measured", &good, "--for", "bundles", "--sealer", role],
            &ADMIN,
        ]
        .concat(),
        [
            &base("arn:aws:iam::111122223333:root")[..],
            &["--measured", &good],
            &ADMIN,
        ]
        .concat(),
    ] {
        directory.fails(2, &args);
    }
}

#[test]
fn lint_reads_what_the_aws_command_line_prints() {
    let directory = Directory::new("aws-cli");
    let good = pair("a1", "c3");
    let generated = generate(&directory, &[&["--measured", &good][..], &ADMIN].concat());
    let generated: serde_json::Value = serde_json::from_str(&generated).unwrap();
    let policy = serde_json::json!({ "PolicyName": "default", "Policy": generated["key_policy"].to_string() });
    directory.write("policy.json", policy.to_string());
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/kms-keys/grant-decrypt.json"]
        .iter()
        .collect();
    let case: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    directory.write("grants.json", case["grants"].to_string());
    let files = ["policy", "lint", "--policy", "policy.json", "--grants", "grants.json"];
    assert_eq!(directory.json(&files)["clean"], true, "the grant is denied");
    let mut truncated = case["grants"].clone();
    truncated["Truncated"] = true.into();
    directory.write("grants.json", truncated.to_string());
    assert!(directory.fails(1, &files).contains("truncated"));
    directory.write("policy.json", "{}");
    assert!(directory.fails(1, &files).contains("give a policy document"));
}

#[test]
#[cfg(not(feature = "aws"))]
fn without_the_sdk_its_commands_say_how_to_get_it() {
    let directory = Directory::new("no-sdk");
    let error = directory.fails(1, &["policy", "lint", "--key-arn", SEALING_KEY]);
    assert!(
        error.contains("built without the AWS SDK; build it with: cargo build"),
        "{error}"
    );
}
