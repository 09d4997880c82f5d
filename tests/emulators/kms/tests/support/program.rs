//! The emulator as a program, over TLS or not.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use super::enclave::Enclave;
use super::{ACCOUNT, ADMIN, KEY_ARN, Login, PARENT, REGION, hex, key_policy, statements};

/// Ends with its test.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: String,
    pub(crate) admin: SocketAddr,
    stderr: Option<ChildStderr>,
}

impl Program {
    pub(crate) fn start(dir: &Path, root_sha256: [u8; 32], tls: Option<&[PathBuf; 2]>, more: &[&str]) -> Self {
        let config = dir.join("kms.toml");
        std::fs::write(&config, toml(root_sha256)).unwrap();
        let announced = dir.join("announced");
        let mut command = Command::new(env!("CARGO_BIN_EXE_emulator-kms"));
        command
            .arg("--config")
            .arg(config)
            .args(["--listen", "127.0.0.1:0"])
            .arg("--announce")
            .arg(&announced);
        if let Some([cert, key]) = tls {
            command.arg("--cert").arg(cert).arg("--key").arg(key);
        }
        Self::run(command.args(more), tls.is_some(), &announced)
    }

    fn run(command: &mut Command, tls: bool, announced: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["tls"], tls);
        // The file comes after the line; which one a harness waits for is its own matter.
        while !announced.exists() {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::read_to_string(announced).unwrap(), line);
        let address = said["address"].as_str().unwrap().to_owned();
        Self {
            address,
            admin: said["admin"].as_str().unwrap().parse().unwrap(),
            stderr: child.stderr.take(),
            child,
        }
    }

    /// Ends it, and gives what it said on stderr.
    pub(crate) fn complaints(mut self) -> String {
        self.child.kill().unwrap();
        let mut text = String::new();
        self.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for 127.0.0.1, and its key.
pub(crate) fn certificate(dir: &Path) -> [PathBuf; 2] {
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.join(name));
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args([
            "-subj",
            "/CN=lab KMS",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
        ])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    [cert, key]
}

/// What the Python side is told of an enclave, in files.
pub(crate) fn write_documents(dir: &Path, enclave: &Enclave) {
    let spki = enclave.spki();
    let image = super::enclave::IMAGE;
    for (name, document) in [
        ("good", enclave.document()),
        ("another-image", enclave.document_of([0xac; 48], 0, Some(&spki))),
        ("debug", enclave.document_of([0; 48], 0, Some(&spki))),
        ("stale", enclave.document_of(image, -6 * 60_000, Some(&spki))),
        ("without-a-key", enclave.document_of(image, 0, None)),
        ("another-root", Enclave::new().document()),
        ("unsigned", enclave.unsigned()),
    ] {
        std::fs::write(dir.join(format!("{name}.cose")), document).unwrap();
    }
    std::fs::write(dir.join("recipient.der"), enclave.pkcs8()).unwrap();
    let login = |login: Login| serde_json::json!({ "id": login.access_key_id, "secret": login.secret, "token": login.token, "arn": login.arn });
    let what = serde_json::json!({
        "region": REGION, "admin": login(ADMIN), "parent": login(PARENT), "parent_role": super::PARENT_ROLE, "key": KEY_ARN,
        "refused": {
            "another-image": "AccessDeniedException", "debug": "AccessDeniedException", "stale": "ValidationException",
            "without-a-key": "ValidationException", "another-root": "ValidationException", "unsigned": "ValidationException",
        },
    });
    std::fs::write(dir.join("what.json"), what.to_string()).unwrap();
}

fn toml(root_sha256: [u8; 32]) -> String {
    let all = statements(serde_json::json!([{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }]));
    let principal = |login: Login| {
        let token = login
            .token
            .map(|token| format!("session_token = \"{token}\"\n"))
            .unwrap_or_default();
        let Login {
            access_key_id,
            secret,
            arn,
            ..
        } = login;
        format!(
            "[[principals]]\naccess_key_id = \"{access_key_id}\"\nsecret_access_key = \"{secret}\"\narn = \"{arn}\"\n{token}"
        )
    };
    [
        format!(
            "region = \"{REGION}\"\naccount = \"{ACCOUNT}\"\nattestation_root_sha256 = \"{}\"\n",
            hex(&root_sha256)
        ),
        format!("{}iam = '{all}'\n", principal(ADMIN)),
        principal(PARENT),
        format!(
            "[[keys]]\narn = \"{KEY_ARN}\"\npolicy = '{}'\nmaterial = \"{}\"\n",
            key_policy(),
            "07".repeat(32)
        ),
    ]
    .concat()
}
