//! `acme caa`: what it prints, and what it prints nothing for.

use crate::directory::Directory;

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/acme/acct/1";
const PEBBLE: &str = "https://localhost:14000/my-account/1";

#[test]
fn known_cas_need_no_issuer_and_a_recovery_account_may_be_of_another() {
    let directory = Directory::new("caa-known");
    let acm = "https://acm-acme-enroll.eu-west-1.api.aws/1/account/2";
    let accounts = [
        "--account-url",
        LETS_ENCRYPT,
        "--recovery-account-url",
        acm,
        "--method",
        "http-01",
    ];
    let printed = directory.ok(&[&["acme", "caa", "www.a.example"], &accounts[..]].concat());
    let expected = format!(
        "www.a.example. IN CAA 0 issue \"letsencrypt.org; accounturi={LETS_ENCRYPT}; validationmethods=http-01\"\n\
         www.a.example. IN CAA 0 issue \"amazon.com; accounturi={acm}; validationmethods=http-01\"\n\
         www.a.example. IN CAA 0 issuewild \";\"\n"
    );
    assert_eq!(printed, expected);
    let json = directory.json(&[&["acme", "caa", "www.a.example"], &accounts[..]].concat());
    assert_eq!(json["zone"], expected);
    let record = serde_json::json!({
        "name": "www.a.example", "type": "CAA", "flags": 0, "tag": "issuewild", "value": ";", "rdata": "0 issuewild \";\"",
    });
    assert_eq!(json["records"][2], record);
}

#[test]
fn without_a_recovery_account_the_price_is_said() {
    let directory = Directory::new("caa-recovery");
    let output = directory.run(&["acme", "caa", "a.example", "--account-url", LETS_ENCRYPT]);
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("Should its key be lost")
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[test]
fn a_ca_that_is_not_known_and_a_wildcard_that_is_not_proven_are_refused() {
    let directory = Directory::new("caa-refused");
    let unknown = directory.fails(1, &["acme", "caa", "a.example", "--account-url", PEBBLE]);
    assert!(
        unknown.contains("the CA at localhost") && unknown.contains("--issuer"),
        "{unknown}"
    );
    let base = [
        "acme",
        "caa",
        "*.a.example",
        "--account-url",
        PEBBLE,
        "--issuer",
        "ca.example",
        "--method",
        "http-01",
    ];
    let unproven = directory.fails(1, &base);
    assert!(unproven.contains("*.a.example is proven by dns-01 only"), "{unproven}");
    let printed = directory.ok(&[&base[..], &["--method", "dns-01"]].concat());
    assert!(
        printed.contains("a.example. IN CAA 0 issuewild \"ca.example; accounturi"),
        "{printed}"
    );
    directory.fails(2, &["acme", "caa", "A.example", "--account-url", PEBBLE]);
    directory.fails(
        2,
        &["acme", "caa", "a.example", "--account-url", "https://ca.example/1;x"],
    );
}

#[test]
fn records_are_looked_up_or_printed_and_not_both() {
    let directory = Directory::new("caa-check");
    for other in [
        &["--from-agent"][..],
        &["--issuer", "ca.example"],
        &["--account-url", LETS_ENCRYPT],
    ] {
        directory.fails(2, &[&["acme", "caa", "--check"], other].concat());
    }
    directory.fails(2, &["acme", "caa", "--check", "www", "a.example"]);
    directory.fails(2, &["acme", "caa", "--check", "no/name"]);
    // Nobody was asked: there is no agent.
    directory.fails(1, &["acme", "caa", "--check", "www"]);
}
