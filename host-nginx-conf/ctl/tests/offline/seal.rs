//! `seal` against a strict stand-in for KMS, with the AWS SDK as it is.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use base64ct::{Base64, Encoding};
use emulator_kms::{Config, Emulator, Key, Principal};
use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use serde_json::Value;

use crate::directory::Directory;
use crate::enclave::SEALING_KEY;
use crate::server::Identity;

struct Kms {
    emulator: Emulator,
    directory: Directory,
    identity: Identity,
}

impl Kms {
    /// A key of AWS's default policy, and the account's root.
    fn new(name: &str) -> Self {
        Self::with(name, "arn:aws:iam::111122223333:root", None)
    }

    /// A key of this policy, and whoever has this ARN.
    fn with(name: &str, caller: &str, policy: Option<String>) -> Self {
        let mut config = Config::new("us-east-1", "111122223333");
        config.principals.push(Principal {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
            expires: None,
            arn: caller.to_owned(),
            iam: None,
        });
        config.keys.push(Key {
            arn: Some(SEALING_KEY.to_owned()),
            policy,
            ..Key::default()
        });
        let (directory, identity) = (Directory::new(name), Identity::new(&PKCS_ECDSA_P256_SHA256));
        directory.write("key.pem", pem("PRIVATE KEY", &identity.key.serialize_der()));
        directory.write("chain.pem", pem("CERTIFICATE", &identity.certificate));
        Self {
            emulator: Emulator::start(&config).unwrap(),
            directory,
            identity,
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.directory.command(args);
        command
            .env_clear()
            .env("AWS_ENDPOINT_URL_KMS", format!("http://{}", self.emulator.address()))
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
            .env("AWS_EC2_METADATA_DISABLED", "true");
        command
    }

    fn seal(&self, name: &str, rest: &[&str]) -> (Option<i32>, String) {
        let base = [
            "seal",
            name,
            "key.pem",
            "--chain",
            "chain.pem",
            "--key-arn",
            SEALING_KEY,
            "--out",
            "bundle.json",
        ];
        let output = self.command(&[&base[..], rest].concat()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    fn bundle(&self) -> Value {
        serde_json::from_slice(&fs::read(self.directory.0.join("bundle.json")).unwrap()).unwrap()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, der).unwrap()
}

#[test]
fn a_bundle_holds_the_key_for_whoever_may_decrypt_it() {
    let kms = Kms::new("seal");
    assert_eq!(kms.seal("lab-a", &[]), (Some(0), String::new()));
    let bundle = kms.bundle();
    assert_eq!(bundle["certificate"], pem("CERTIFICATE", &kms.identity.certificate));
    assert_eq!(
        (bundle["certificateChain"].as_str(), bundle["encryptionMethod"].as_str()),
        (Some(""), Some("SYMMETRIC_DEFAULT"))
    );
    assert_eq!(
        bundle["enclaveTls"],
        serde_json::json!({ "version": 1, "name": "lab-a", "keyArn": SEALING_KEY })
    );
    let ciphertext = bundle["encryptedPrivateKey"].as_str().unwrap();
    assert!(Base64::decode_vec(ciphertext).unwrap().len() > 100);
    assert!(!bundle.to_string().contains("PRIVATE KEY"));
    let mode = fs::metadata(kms.directory.0.join("bundle.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o600);
    // Another bundle takes no other's place unless it is told to.
    assert!(kms.seal("lab-a", &[]).1.contains("--force replaces it"));
    assert_eq!(kms.seal("lab-b", &["--force"]).0, Some(0));
    assert_eq!(kms.bundle()["enclaveTls"]["name"], "lab-b");
}

#[test]
fn threat_34_a_key_is_sealed_with_its_own_certificate_alone() {
    let kms = Kms::new("seal-other");
    let other = Identity::new(&PKCS_ED25519);
    kms.directory
        .write("key.pem", pem("PRIVATE KEY", &other.key.serialize_der()));
    let (status, error) = kms.seal("lab-a", &[]);
    assert_eq!(status, Some(1));
    assert!(error.contains("not that of the chain's first certificate"), "{error}");
    assert!(!kms.directory.0.join("bundle.json").exists());
}

#[test]
fn keys_come_in_three_forms_and_not_behind_a_pass_phrase() {
    let kms = Kms::new("seal-forms");
    for script in [
        "openssl ecparam -name prime256v1 -genkey -out key.pem",
        "openssl genrsa -traditional -out key.pem 2048",
        "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:4096 -out key.pem",
        "openssl genpkey -algorithm ED25519 -out key.pem",
    ] {
        let certify = "openssl req -x509 -key key.pem -subj /CN=a -days 1 -out chain.pem";
        shell(&kms, &format!("{script} && {certify}"));
        assert_eq!(kms.seal("lab-a", &["--force"]), (Some(0), String::new()), "{script}");
    }
    for (script, said) in [
        (
            "openssl genrsa -aes128 -passout pass:x -out key.pem 2048",
            "openssl pkcs8 -in",
        ),
        (
            "openssl genrsa -traditional -aes128 -passout pass:x -out key.pem 2048",
            "openssl pkey -in",
        ),
        (
            "openssl ecparam -name secp256k1 -genkey -noout -out key.pem",
            "no key of RSA",
        ),
        ("openssl genpkey -algorithm X25519 -out key.pem", "no key of RSA"),
    ] {
        shell(&kms, script);
        let (status, error) = kms.seal("lab-a", &["--force"]);
        assert!(status == Some(1) && error.contains(said), "{script}: {error}");
    }
    // Of 7,168 bits, say. KMS would refuse it, after it has had it.
    kms.directory.write("key.pem", pem("RSA PRIVATE KEY", &[0; 4_000]));
    assert!(kms.seal("lab-a", &["--force"]).1.contains("4096 bytes"));
}

#[test]
fn threat_38_under_a_generated_policy_only_its_sealer_seals() {
    let directory = Directory::new("seal-generated");
    let measured = format!("{}:{}", "a1".repeat(48), "c3".repeat(48));
    let sealer = "arn:aws:iam::111122223333:role/sealer";
    let admin = "arn:aws:iam::111122223333:role/admin";
    let generate = [
        "policy",
        "generate",
        "--for",
        "bundles",
        "--key-arn",
        SEALING_KEY,
        "--role",
        "arn:aws:iam::111122223333:role/web",
        "--measured",
        &measured,
        "--admin",
        admin,
        "--sealer",
        sealer,
    ];
    let policy = directory.json(&generate)["key_policy"].to_string();
    for (caller, status) in [
        ("arn:aws:sts::111122223333:assumed-role/sealer/i-0123456789abcdef0", 0),
        (admin, 1),
        ("arn:aws:iam::111122223333:role/web", 1),
        ("arn:aws:iam::111122223333:root", 1),
    ] {
        let kms = Kms::with("seal-by", caller, Some(policy.clone()));
        let (found, error) = kms.seal("lab-a", &[]);
        assert_eq!(found, Some(status), "{caller}: {error}");
        assert!(status == 0 || error.contains("AccessDenied"), "{error}");
    }
}

#[test]
fn threat_38_a_key_is_linted_as_aws_describes_it() {
    let kms = Kms::new("lint-aws");
    let output = kms
        .command(&["policy", "lint", "--key-arn", SEALING_KEY, "--json"])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let names: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(
        names.contains(&"unattested-decrypt") && names.contains(&"policy-can-be-changed"),
        "{names:?}"
    );
    assert_eq!(output.status.code(), Some(1));
}

fn shell(kms: &Kms, script: &str) {
    let mut command = Command::new("sh");
    let output = command
        .args(["-ec", script])
        .current_dir(&kms.directory.0)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}
