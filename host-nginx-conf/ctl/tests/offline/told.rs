//! What is said on standard error, whoever reads it.

use std::process::Stdio;

use crate::directory::Directory;

#[test]
fn a_closed_standard_error_changes_no_exit_status() {
    let directory = Directory::new("closed-stderr");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for (status, args) in [
        (1, &["--socket", "/nowhere/admin.sock", "rotate", "nope"][..]),
        (2, &["rotate"]),
        (0, &["acme", "caa", "a.example", "--account-url", LETS_ENCRYPTS]),
    ] {
        let mut command = directory.command(args);
        command.stdout(Stdio::null()).stderr(writer.try_clone().unwrap());
        assert_eq!(command.status().unwrap().code(), Some(status), "{args:?}");
    }
}

#[test]
fn what_is_given_in_place_of_a_name_is_not_said_whole() {
    let directory = Directory::new("long-names");
    let long = "A".repeat(100_000);
    directory.write("iam.json", format!(r#"{{"Statement": [], "{long}": 1}}"#));
    for (status, args) in [
        (2, &["rotate", &long][..]),
        (1, &["policy", "lint", "--iam", "iam.json"]),
    ] {
        let said = directory.fails(status, args);
        assert!(said.len() < 1_000 && said.contains("AAAA…"), "{said}");
    }
}

#[test]
fn a_policy_with_a_key_twice_is_refused() {
    let directory = Directory::new("twice");
    let allowed = r#"[{"Effect": "Allow", "Action": "*", "Resource": "*"}]"#;
    let bare = format!(r#"{{"Statement": {allowed}, "Statement": []}}"#);
    for text in [bare.clone(), format!(r#"{{"PolicyDocument": {bare}}}"#)] {
        directory.write("iam.json", text);
        let said = directory.fails(1, &["policy", "lint", "--iam", "iam.json"]);
        assert!(
            said.contains("iam.json") && said.contains("\"Statement\" twice"),
            "{said}"
        );
    }
}

#[test]
fn an_account_is_no_recovery_from_its_own_loss() {
    let directory = Directory::new("own-recovery");
    let of = [
        "acme",
        "caa",
        "a.example",
        "--account-url",
        LETS_ENCRYPTS,
        "--recovery-account-url",
    ];
    let said = directory.fails(1, &[&of[..], &[LETS_ENCRYPTS]].concat());
    assert!(said.contains("no recovery from its loss"), "{said}");
    let other = directory.ok(&[&of[..], &["https://acme-v02.api.letsencrypt.org/acme/acct/2"]].concat());
    assert!(other.contains("acct/1") && other.contains("acct/2"), "{other}");
}

const LETS_ENCRYPTS: &str = "https://acme-v02.api.letsencrypt.org/acme/acct/1";
