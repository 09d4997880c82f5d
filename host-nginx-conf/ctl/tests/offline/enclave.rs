//! What an enclave would hand to its auditor: documents of the NSM stand-in, statements beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use emulator_nsm::{Options, StandIn, system_clock};
use enclave_attestation::{AttestedKey, Bound, Nsm, Purpose, Statement};
use enclave_policy::Policy;
use serde_json::Value;

use crate::directory::Directory;

pub(crate) struct Enclave {
    pub(crate) directory: Directory,
    nsm: StandIn,
    pub(crate) statement: Statement,
}

impl Enclave {
    /// Of image 0x10, 0x11, 0x12, role 0x13, instance 0x14, signer 0x18, under [`POLICY`].
    pub(crate) fn new(name: &str) -> Self {
        Self::started(
            name,
            0,
            &[(0, 0x10), (1, 0x11), (2, 0x12), (3, 0x13), (4, 0x14), (8, 0x18)],
        )
    }

    /// With a clock that is this many seconds behind.
    pub(crate) fn started(name: &str, behind: u64, pcrs: &[(u8, u8)]) -> Self {
        let directory = Directory::new(name);
        directory.write("policy.toml", POLICY);
        let pki = directory.0.join("pki");
        std::fs::create_dir(&pki).unwrap();
        let clock = system_clock();
        let nsm = StandIn::start(Options {
            dir: pki,
            pcrs: pcrs
                .iter()
                .map(|(index, byte)| (*index, [*byte; 48]))
                .collect::<BTreeMap<_, _>>(),
            clock: Arc::new(move || clock() - behind * 1_000),
        });
        let nsm = nsm.unwrap();
        let policy = Policy::parse(POLICY.as_bytes()).unwrap();
        assert_eq!(nsm.extend(16, &policy.sha384()).unwrap(), policy.pcr16());
        nsm.lock_below(32).unwrap();
        let statement = Statement {
            purpose: Purpose::Keys,
            nonce: vec![7; 32],
            keys: vec![key(1, "born-sealed", "tls"), key(2, "bundle", "tls")],
            sealed_to: vec![SEALING_KEY.to_owned()],
            boot_id: [3; 16],
            policy_sha384: policy.sha384(),
            clock_source: None,
        };
        Self {
            directory,
            nsm,
            statement,
        }
    }

    /// Writes the document and the statement beside it.
    pub(crate) fn attest(&self) {
        self.document(&self.statement);
        self.directory.write("statement", self.statement.encode());
    }

    /// Writes a document that binds this statement.
    pub(crate) fn document(&self, statement: &Statement) {
        let document = self.nsm.attest(&Bound {
            public_key: None,
            user_data: Some(&statement.user_data()),
            nonce: Some(&statement.nonce),
        });
        self.directory.write("document", document.unwrap());
    }

    pub(crate) fn root(&self) -> String {
        hex(&self.nsm.pki().root_sha256())
    }

    /// The options that make a proof: root, nonce, image and policy.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options = self.unexpecting();
        options.extend(words("--policy policy.toml --nonce"));
        options.extend([nonce(), "--pcr".to_owned(), pcr(0, 0x10)]);
        options
    }

    /// Files and root alone.
    pub(crate) fn unexpecting(&self) -> Vec<String> {
        let mut options = words("verify --document document --statement statement --root-sha256");
        options.push(self.root());
        options
    }

    /// The names of the checks that fail; none where it is proven.
    pub(crate) fn failed(&self, options: &[String]) -> Vec<String> {
        failed(&self.directory, options)
    }
}

pub(crate) fn failed(directory: &Directory, options: &[String]) -> Vec<String> {
    let args: Vec<&str> = options.iter().map(String::as_str).chain(["--json"]).collect();
    let output = directory.run(&args);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap().iter();
    let failed: Vec<String> = checks
        .filter(|check| check["passed"] == false)
        .map(|check| check["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(report["proven"], failed.is_empty());
    assert_eq!(output.status.code(), Some(i32::from(!failed.is_empty())));
    failed
}

/// A key of this SPKI, 32 times the byte.
pub(crate) fn key(spki: u8, origin: &str, usage: &str) -> AttestedKey {
    attested([spki; 32], origin, usage)
}

pub(crate) fn attested(spki_sha256: [u8; 32], origin: &str, usage: &str) -> AttestedKey {
    AttestedKey {
        spki_sha256,
        origin: origin.to_owned(),
        usage: usage.to_owned(),
        generation: 1,
    }
}

/// The nonce of the statements.
pub(crate) fn nonce() -> String {
    "07".repeat(32)
}

pub(crate) fn pcr(index: u8, byte: u8) -> String {
    format!("{index}={}", hex(&[byte; 48]))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

pub(crate) const SEALING_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012";
pub(crate) const POLICY: &str = r#"
version = 1
imports = false
[[names]]
pattern = "*"
usages = ["tls"]
[keys]
curves = ["P-256"]
[sealing]
keys = ["arn:aws:kms:us-east-1:111122223333:key/12345678-1234-1234-1234-123456789012"]
"#;
