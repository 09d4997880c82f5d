//! `acm` and `acme eab` against strict stand-ins for ACM and KMS, with the AWS SDK as it is.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::primitives::Blob;
use base64ct::{Base64, Encoding};
use emulator_acm::{AccountKey, Registration};
use emulator_kms::Key;
use lab_pebble::{Pebble, Programs};
use serde_json::Value;

use crate::directory::Directory;
use crate::enclave::SEALING_KEY;

struct Aws {
    acm: emulator_acm::Emulator,
    kms: emulator_kms::Emulator,
    directory: Directory,
}

impl Aws {
    /// An administrator who may do everything, at an ACM whose endpoints are those of one ACME server.
    fn new(name: &str, config: impl FnOnce(&mut emulator_acm::Config)) -> Self {
        let mut acm = emulator_acm::Config::new("us-east-1", "111122223333");
        acm.directory = Some(DIRECTORY.to_owned());
        acm.account_keys = Some(vec![AccountKey {
            key_id: "kid-1".to_owned(),
            mac_key: MAC_KEY.to_owned(),
        }]);
        acm.principals.push(emulator_acm::Principal {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: None,
            arn: "arn:aws:iam::111122223333:root".to_owned(),
            may: None,
        });
        config(&mut acm);
        let mut kms = emulator_kms::Config::new("us-east-1", "111122223333");
        kms.principals.push(emulator_kms::Principal {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: SECRET.to_owned(),
            session_token: None,
            expires: None,
            arn: "arn:aws:iam::111122223333:root".to_owned(),
            iam: None,
        });
        kms.keys.push(Key {
            arn: Some(SEALING_KEY.to_owned()),
            ..Key::default()
        });
        Self {
            acm: emulator_acm::Emulator::start(&acm).unwrap(),
            kms: emulator_kms::Emulator::start(&kms).unwrap(),
            directory: Directory::new(name),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.directory.command(args);
        command
            .env_clear()
            .env("AWS_ENDPOINT_URL_ACM", format!("http://{}", self.acm.address()))
            .env("AWS_ENDPOINT_URL_KMS", format!("http://{}", self.kms.address()))
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.command(&[args, &["--json"]].concat()).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn endpoint(&self) -> String {
        arn(&self.json(&["acm", "endpoint", "create"]))
    }

    /// A binding of a new endpoint: its ARN, and the endpoint's.
    fn binding(&self) -> (String, String) {
        let endpoint = self.endpoint();
        let binding = arn(&self.json(&["acm", "eab", "create", &endpoint, "--role", ROLE, "--expires", "7d"]));
        (binding, endpoint)
    }

    fn file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.directory.0.join("eab.json")).unwrap()).unwrap()
    }

    /// What KMS opens of a file's ciphertext under this context.
    fn open(&self, context: &[(&str, &str)]) -> Option<Vec<u8>> {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", SECRET, None, None, "test"))
            .endpoint_url(format!("http://{}", self.kms.address()))
            .build();
        let ciphertext = Base64::decode_vec(self.file()["ciphertext"].as_str().unwrap()).unwrap();
        let mut ask = aws_sdk_kms::Client::from_conf(config)
            .decrypt()
            .key_id(SEALING_KEY)
            .ciphertext_blob(Blob::new(ciphertext));
        for (name, value) in context {
            ask = ask.encryption_context(*name, *value);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let opened = runtime.block_on(ask.send()).ok()?;
        opened.plaintext.map(Blob::into_inner)
    }
}

fn arn(shown: &Value) -> String {
    shown["arn"].as_str().unwrap().to_owned()
}

#[test]
fn an_endpoint_is_waited_for_and_gives_its_directory() {
    let aws = Aws::new("acm-endpoint", |_| {});
    let made = aws.json(&["acm", "endpoint", "create", "--key-algorithm", "EC_prime256v1"]);
    assert_eq!(
        (made["status"].as_str(), made["directory"].as_str()),
        (Some("ACTIVE"), Some(DIRECTORY))
    );
    assert_eq!(made["key_algorithms"], serde_json::json!(["EC_prime256v1"]));
    let early = aws.json(&["acm", "endpoint", "create", "--no-wait", "--contact-required"]);
    assert_eq!(
        (early["status"].as_str(), early["contact_required"].as_bool()),
        (Some("CREATING"), Some(true))
    );
    aws.endpoint();
    let listed = aws.ok(&["acm", "endpoint", "list"]);
    assert_eq!(listed.lines().count(), 4, "all pages: {listed}");
    let shown = aws.ok(&["acm", "endpoint", "show", &arn(&made)]);
    assert!(shown.contains(&format!("Directory       {DIRECTORY}\n")), "{shown}");
    let refused = aws.fails(&["acm", "endpoint", "delete", &arn(&made)]);
    assert!(refused.contains("--yes does it"), "{refused}");
    aws.ok(&["acm", "endpoint", "delete", &arn(&made), "--yes"]);
    let deleted = aws.json(&["acm", "endpoint", "show", &arn(&made)]);
    assert_eq!(deleted["status"], "DELETING");
}

#[test]
fn what_fails_at_aws_is_said_in_its_words() {
    let aws = Aws::new("acm-fails", |config| {
        config.failing_endpoints = Some("no such luck".to_owned())
    });
    let failed = aws.fails(&["acm", "endpoint", "create"]);
    assert!(failed.contains("is FAILED: no such luck"), "{failed}");
    let aws = Aws::new("acm-refused", |config| {
        config.principals[0].may = Some(vec!["acm:ListAcmeEndpoints".to_owned()]);
    });
    assert_eq!(aws.ok(&["acm", "endpoint", "list"]), "There are no endpoints.\n");
    let refused = aws.fails(&["acm", "endpoint", "create"]);
    for said in [
        "AWS refused CreateAcmeEndpoint: AccessDeniedException",
        "give these credentials acm:CreateAcmeEndpoint",
    ] {
        assert!(refused.contains(said), "{refused}");
    }
    let nobody = aws
        .command(&["acm", "endpoint", "list"])
        .env("AWS_SECRET_ACCESS_KEY", "other")
        .output()
        .unwrap();
    let nobody = String::from_utf8(nobody.stderr).unwrap();
    assert!(
        nobody.contains("InvalidSignatureException") && !nobody.contains("SdkError"),
        "{nobody}"
    );
}

#[test]
fn a_domain_shows_the_record_that_it_waits_for() {
    let aws = Aws::new("acm-domain", |config| {
        config
            .failing_domains
            .insert("b.example".to_owned(), "HOSTED_ZONE_NOT_FOUND".to_owned());
    });
    let endpoint = aws.endpoint();
    let made = aws.json(&["acm", "domain", "create", &endpoint, "a.example", "--wildcards"]);
    assert_eq!(
        made["scope"],
        serde_json::json!({ "exact": false, "subdomains": false, "wildcards": true })
    );
    let shown = aws.ok(&["acm", "domain", "show", &arn(&made)]);
    let (name, value) = (
        made["record"]["name"].as_str().unwrap(),
        made["record"]["value"].as_str().unwrap(),
    );
    assert!(
        shown.contains(&format!("{name} CNAME {value}\n")) && shown.contains("leave it there"),
        "{shown}"
    );
    aws.acm.add_record(name, value);
    while aws.json(&["acm", "domain", "show", &arn(&made)])["status"] != "VALID" {}
    let failed = aws.fails(&[
        "acm",
        "domain",
        "create",
        &endpoint,
        "b.example",
        "--hosted-zone",
        "Z9",
        "--wait",
    ]);
    assert!(failed.contains("is INVALID: HOSTED_ZONE_NOT_FOUND"), "{failed}");
    let zone = aws.json(&[
        "acm",
        "domain",
        "create",
        &endpoint,
        "c.example",
        "--hosted-zone",
        "Z9",
        "--wait",
    ]);
    assert_eq!(
        (zone["status"].as_str(), zone["scope"]["exact"].as_bool()),
        (Some("VALID"), Some(true))
    );
    assert_eq!(
        aws.json(&["acm", "domain", "list", &endpoint])
            .as_array()
            .unwrap()
            .len(),
        3
    );
    assert!(
        aws.fails(&["acm", "endpoint", "delete", &endpoint, "--yes"])
            .contains("ConflictException")
    );
    aws.ok(&["acm", "domain", "delete", &arn(&made), "--yes"]);
}

#[test]
fn threat_54_a_bindings_key_is_written_for_the_enclave_alone() {
    let aws = Aws::new("acm-eab", |_| {});
    let (binding, _) = aws.binding();
    let args = [
        "acm",
        "eab",
        "credentials",
        &binding,
        "--kms-key",
        SEALING_KEY,
        "--out",
        "eab.json",
    ];
    let said = aws.ok(&args);
    let file = aws.file();
    assert_eq!(
        (
            file["kid"].as_str(),
            file["directory"].as_str(),
            file["kms_key"].as_str()
        ),
        (Some("kid-1"), Some(DIRECTORY), Some(SEALING_KEY))
    );
    for place in [&said, &file.to_string()] {
        assert!(!place.contains(MAC_KEY), "{place}");
    }
    let right = [("purpose", "eab"), ("directory", DIRECTORY), ("kid", "kid-1")];
    let key = base64ct::Base64UrlUnpadded::decode_vec(MAC_KEY).unwrap();
    assert_eq!(aws.open(&right), Some(key));
    for wrong in [
        ("purpose", "bundle"),
        ("directory", "https://other.example/directory"),
        ("kid", "kid-2"),
    ] {
        let context = right.map(|pair| if pair.0 == wrong.0 { wrong } else { pair });
        assert_eq!(aws.open(&context), None, "{wrong:?}");
    }
    let mode = fs::metadata(aws.directory.0.join("eab.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o644, "the agent reads it, and nothing in it is secret");

    // Nothing is asked of AWS for what could not be written.
    let asked = aws.acm.counters()["GetAcmeExternalAccountBindingCredentials"].requests;
    assert!(aws.fails(&args).contains("--force replaces it"));
    assert_eq!(
        aws.acm.counters()["GetAcmeExternalAccountBindingCredentials"].requests,
        asked
    );
    aws.ok(&[&args[..], &["--force"]].concat());

    aws.ok(&["acm", "eab", "revoke", &binding]);
    assert!(aws.json(&["acm", "eab", "show", &binding])["revoked"].is_string());
    let refused = aws.fails(&[&args[..], &["--force"]].concat());
    assert!(refused.contains("ValidationException"), "{refused}");
}

#[test]
fn the_key_that_the_enclave_opens_makes_an_account_at_the_endpoints_server() {
    const TEST: &str = "the_key_that_the_enclave_opens_makes_an_account_at_the_endpoints_server";
    let Some(programs) = Programs::of_environment() else {
        return eprintln!("SKIPPED {TEST}: {}", Programs::MISSING);
    };
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        return eprintln!("SKIPPED {TEST}: ENCLAVE_TLS_PYTHON names no interpreter");
    };
    let place = Directory::new("acm-pebble");
    let options = lab_pebble::Options {
        bindings: BTreeMap::from([("kid-1".to_owned(), MAC_KEY.to_owned())]),
        ..lab_pebble::Options::default()
    };
    let pebble = Pebble::start(&programs, &place.0, &options).unwrap();
    let aws = Aws::new("acm-of-pebble", |config| config.directory = Some(pebble.directory()));
    let (binding, _) = aws.binding();
    let args = [
        "acm",
        "eab",
        "credentials",
        &binding,
        "--kms-key",
        SEALING_KEY,
        "--out",
        "eab.json",
    ];
    aws.ok(&args);
    let (file, directory) = (aws.file(), pebble.directory());
    let kid = file["kid"].as_str().unwrap();
    assert_eq!(file["directory"], directory);
    let key = aws
        .open(&[("purpose", "eab"), ("directory", &directory), ("kid", kid)])
        .unwrap();
    let register = |environment: &[(&str, &str)]| -> Value {
        let output = Command::new(&python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/acme_client.py"))
            .args(["account", &directory])
            .arg(pebble.root_pem())
            .arg(place.0.join("account.pem"))
            .envs(environment.iter().copied())
            .env("NO_PROXY", "localhost")
            .env_remove("HTTPS_PROXY")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let unbound = register(&[])["problem"]["type"].clone();
    assert_eq!(unbound, "urn:ietf:params:acme:error:externalAccountRequired");
    let mac_key = base64ct::Base64UrlUnpadded::encode_string(&key);
    let bound = register(&[("ACME_KID", kid), ("ACME_MAC_KEY", &mac_key)]);
    assert!(bound["account"].is_string(), "{bound}");
}

#[test]
fn accounts_are_shown_and_revoked_by_their_urls() {
    let aws = Aws::new("acm-account", |_| {});
    let (binding, endpoint) = aws.binding();
    let url = "https://acme.example/my-account/1";
    aws.acm
        .register(Registration {
            key_id: "kid-1".to_owned(),
            account_url: url.to_owned(),
            thumbprint: "a-thumbprint".to_owned(),
            contacts: Vec::new(),
        })
        .unwrap();
    let listed = aws.ok(&["acm", "account", "list", &endpoint]);
    assert!(listed.contains(url) && listed.contains("a-thumbprint"), "{listed}");
    let shown = aws.json(&["acm", "account", "show", &endpoint, url]);
    assert_eq!(
        (shown["status"].as_str(), shown["binding"].as_str()),
        (Some("VALID"), Some(binding.as_str()))
    );
    assert!(aws.json(&["acm", "eab", "list", &endpoint])[0]["last_used"].is_string());
    assert!(
        aws.fails(&["acm", "account", "revoke", &endpoint, url])
            .contains("--yes does it")
    );
    aws.ok(&["acm", "account", "revoke", &endpoint, url, "--yes"]);
    assert_eq!(
        aws.json(&["acm", "account", "show", &endpoint, url])["status"],
        "REVOKED"
    );
    aws.ok(&["acm", "eab", "delete", &binding]);
    assert_eq!(aws.ok(&["acm", "eab", "list", &endpoint]), "There are no bindings.\n");
}

#[test]
fn another_cas_key_is_written_from_a_file_or_from_standard_input() {
    let aws = Aws::new("acme-eab", |_| {});
    let base = |file: &'static str| {
        let target = [
            "acme",
            "eab",
            "--kid",
            "kid-9",
            "--directory",
            DIRECTORY,
            "--kms-key",
            SEALING_KEY,
        ];
        [&target[..], &["--mac-key-file", file, "--out", "eab.json", "--force"]].concat()
    };
    aws.directory.write("mac.txt", format!("{MAC_KEY}\n"));
    let key = base64ct::Base64UrlUnpadded::decode_vec(MAC_KEY).ok();
    let context = [("purpose", "eab"), ("directory", DIRECTORY), ("kid", "kid-9")];
    assert!(!aws.ok(&base("mac.txt")).contains(MAC_KEY));
    assert_eq!(aws.open(&context), key);
    fs::remove_file(aws.directory.0.join("eab.json")).unwrap();

    let mut child = aws.command(&base("-")).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(MAC_KEY.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(aws.open(&context), key);

    aws.directory.write("short.txt", "AAAA");
    assert!(aws.fails(&base("short.txt")).contains("base64url of 16 to 1,024 bytes"));
    let plain = base("mac.txt")
        .iter()
        .map(|arg| {
            if *arg == DIRECTORY {
                "http://acme.example/directory"
            } else {
                arg
            }
        })
        .collect::<Vec<_>>();
    assert!(aws.fails(&plain).contains("http://acme.example/directory: "));
}

const DIRECTORY: &str = "https://acme.example:14000/directory";
const MAC_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const ROLE: &str = "arn:aws:iam::111122223333:role/acme";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
