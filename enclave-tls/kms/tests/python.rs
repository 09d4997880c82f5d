//! Independent agreement: botocore makes the same signatures, and what Python's cryptography encrypts is decrypted.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64ct::{Base64, Encoding as _};
use enclave_kms::cms::Envelope;
use enclave_kms::sigv4::{Identity, Request, Scope, sign};
use serde_json::{Value, json};

#[test]
fn botocore_makes_the_same_signatures() {
    let Some(mut python) = Python::start("botocore_makes_the_same_signatures") else {
        return;
    };
    let kms = [
        ("content-type", "application/x-amz-json-1.1"),
        ("x-amz-target", "TrentService.Decrypt"),
        ("host", "kms.us-east-1.amazonaws.com"),
    ];
    let s3 = [("host", "s3.cn-north-1.amazonaws.com.cn")];
    let base = Request {
        method: "POST",
        path: "/",
        query: "",
        headers: &kms,
        body: br#"{"KeyId":"arn:aws:kms:us-east-1:111122223333:key/1"}"#,
        body_hash_header: false,
    };
    let object = Request {
        method: "GET",
        headers: &s3,
        body: b"",
        body_hash_header: true,
        ..base
    };
    for (request, region, service) in [
        (base, "us-east-1", "kms"),
        (Request { body: b"", ..base }, "eu-west-3", "kms"),
        (
            Request {
                query: "a=b&c=d%20e",
                ..base
            },
            "us-east-1",
            "iam",
        ),
        (object, "cn-north-1", "s3"),
        (
            Request {
                path: "/bucket/key",
                ..object
            },
            "cn-north-1",
            "s3",
        ),
        (
            Request {
                path: "/bucket/arn%3Aaws%3Aiam%3A%3A1%3Arole/r%20%2525",
                ..object
            },
            "us-east-1",
            "s3",
        ),
        (
            Request {
                path: "/bucket//a/../b/.~_-/",
                ..object
            },
            "us-east-1",
            "s3",
        ),
    ] {
        for (token, unix) in [
            (Some("to/ken=="), 1_440_938_160),
            (None, 951_868_799),
            (Some("t"), 1_800_000_000),
        ] {
            let identity = Identity {
                access_key_id: "AKIDEXAMPLE",
                secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                session_token: token,
            };
            let theirs = python.ask(&json!({
                "do": "sign", "method": request.method, "path": request.path, "query": request.query,
                "headers": request.headers, "body": Base64::encode_string(request.body),
                "id": identity.access_key_id, "secret": identity.secret_access_key, "token": token,
                "region": region, "service": service, "unix": unix,
            }));
            for (name, value) in sign(&request, &identity, &Scope { region, service }, unix).unwrap() {
                assert_eq!(theirs[name], value, "{name} of {} in {service}", request.path);
            }
        }
    }
}

#[test]
fn threat_36_what_python_encrypts_is_decrypted() {
    let Some(mut python) = Python::start("threat_36_what_python_encrypts_is_decrypted") else {
        return;
    };
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    let key = OaepPrivateDecryptingKey::new(key).unwrap();
    for length in [1, 15, 16, 32, 1_000, 4_096] {
        for pieces in [0, 1, 100, 1_000] {
            let plaintext: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let sealed = python.ask(&json!({
                "do": "seal", "spki": Base64::encode_string(spki.as_ref()),
                "plaintext": Base64::encode_string(&plaintext), "pieces": pieces,
            }));
            let sealed = Base64::decode_vec(sealed.as_str().unwrap()).unwrap();
            let opened = Envelope::parse(&sealed).unwrap().open(&key).unwrap();
            assert_eq!(*opened, plaintext, "{length} {pieces}");
        }
    }
}

/// An interpreter that answers line by line.
struct Python {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Python {
    /// The interpreter of `ENCLAVE_TLS_PYTHON`, if it has what the script needs.
    fn start(test: &str) -> Option<Self> {
        let skipped = |reason: &str| println!("SKIPPED {test}: {reason}");
        let Ok(program) = std::env::var("ENCLAVE_TLS_PYTHON") else {
            skipped("ENCLAVE_TLS_PYTHON names no interpreter");
            return None;
        };
        let imports = Command::new(&program)
            .args(["-c", "import botocore, cryptography"])
            .output();
        if !imports.is_ok_and(|output| output.status.success()) {
            skipped("the interpreter has not botocore and cryptography");
            return None;
        }
        let mut child = Command::new(program)
            .args(["-c", include_str!("python/agree.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asks = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Some(Self { child, asks, answers })
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.asks, "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It has nothing to lose; and a test that failed must not wait for it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
