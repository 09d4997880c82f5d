//! Runs the real `keyscan` against a process that holds keys, one that holds none, and files.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect, its helpers too"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

#[test]
fn keys_are_found_in_the_process_that_holds_them_and_nowhere_else() {
    let directory = Directory::new("live");
    let rsa = directory.generate("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let p256 = directory.generate("p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let other = directory.generate("other", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    // PKCS#8 DER has the factors and the scalar in big-endian order; reversed it has them in the other.
    let der: Vec<u8> = [&rsa, &p256]
        .into_iter()
        .flat_map(|key| fs::read(key.der()).unwrap())
        .collect();
    let reversed: Vec<u8> = der.iter().rev().copied().collect();
    let holding = Holder::start(&directory, "holding", &[&b"x"[..], &der, &reversed].concat());
    let clean = Holder::start(&directory, "clean", b"nothing of interest");

    let report = keyscan(&[
        &["--public-key", &rsa.public(), &p256.public(), &other.public()][..],
        &[
            "--pid",
            &holding.pid(),
            &clean.pid(),
            "--file",
            &other.der(),
            &rsa.public(),
        ],
    ]);
    let components = |target: usize, key: &str| hits(&report, target, key);
    // Each number lies once in PKCS#8; the copies of the process's own making may add more, but never less.
    assert_eq!(components(0, "rsa-public"), ["factor big", "factor little"]);
    assert_eq!(components(0, "p256-public"), ["scalar big", "scalar little"]);
    assert_eq!(components(0, "other-public"), [""; 0]);
    for key in ["rsa-public", "p256-public", "other-public"] {
        assert_eq!(components(1, key), [""; 0], "{key}");
    }
    assert_eq!(components(2, "other-public"), ["scalar big"]);
    assert_eq!(components(2, "p256-public"), [""; 0]);
    assert_eq!(components(3, "rsa-public"), [""; 0]);
    assert_eq!(report["targets"][0]["name"], "keyscan");
    assert_eq!(report["targets"][0]["unreadable"].as_array().unwrap().len(), 0);
}

#[test]
fn every_form_of_a_known_key_is_found_where_it_is() {
    let directory = Directory::new("known");
    let rsa = directory.generate("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let other = directory.generate("other", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
    let held = [fs::read(rsa.der()).unwrap(), fs::read(rsa.private()).unwrap()].concat();
    let holding = Holder::start(&directory, "holding", &held);
    let report = keyscan(&[&[
        "--private-key",
        &rsa.private(),
        &other.private(),
        "--pid",
        &holding.pid(),
    ][..]]);
    let all = [
        "PKCS#1 DER big",
        "PKCS#8 DER big",
        "PKCS#8 PEM big",
        "d big",
        "dP big",
        "dQ big",
        "factor big",
        "p big",
        "q big",
        "qInv big",
    ];
    assert_eq!(hits(&report, 0, "rsa"), all);
    assert_eq!(hits(&report, 0, "other"), [""; 0]);
}

#[test]
fn a_target_that_is_not_there_fails_the_scan() {
    let directory = Directory::new("absent");
    let key = directory.generate("key", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let output = Command::new(TOOL)
        .args(["--public-key", &key.public(), "--file", "/absent"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("could not be read"));
}

const TOOL: &str = env!("CARGO_BIN_EXE_keyscan");

fn keyscan(arguments: &[&[&str]]) -> Value {
    let output = Command::new(TOOL)
        .args(arguments.concat())
        .arg("--json")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Component and order of each hit, sorted.
fn hits(report: &Value, target: usize, key: &str) -> Vec<String> {
    let keys = report["targets"][target]["keys"].as_array().unwrap();
    let report = keys.iter().find(|entry| entry["key"] == key).unwrap();
    let text = |hit: &Value| {
        format!(
            "{} {}",
            hit["component"].as_str().unwrap(),
            hit["order"].as_str().unwrap()
        )
    };
    let mut hits: Vec<_> = report["hits"].as_array().unwrap().iter().map(text).collect();
    assert_eq!(report["found"], !hits.is_empty());
    hits.sort();
    hits
}

/// A directory that goes away with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("keyscan-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn generate(&self, name: &str, arguments: &[&str]) -> KeyFiles {
        let key = KeyFiles(self.0.join(name).display().to_string());
        openssl(&[&["genpkey", "-out", &key.private()], arguments].concat());
        openssl(&["pkey", "-in", &key.private(), "-pubout", "-out", &key.public()]);
        openssl(&[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            &key.private(),
            "-outform",
            "DER",
            "-out",
            &key.der(),
        ]);
        key
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Left behind, it would only be in the way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct KeyFiles(String);

impl KeyFiles {
    fn private(&self) -> String {
        format!("{}.pem", self.0)
    }

    fn public(&self) -> String {
        format!("{}-public.pem", self.0)
    }

    fn der(&self) -> String {
        format!("{}.der", self.0)
    }
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A process that holds some bytes in memory.
struct Holder(Child);

impl Holder {
    fn start(directory: &Directory, name: &str, bytes: &[u8]) -> Self {
        let path = directory.0.join(name);
        fs::write(&path, bytes).unwrap();
        let mut command = Command::new(TOOL);
        command
            .arg("--hold")
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "holding\n");
        Self(child)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}
