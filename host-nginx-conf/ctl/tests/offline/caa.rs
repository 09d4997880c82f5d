//! What `acme caa` prints, before a CA that enforces it: pebble, behind a proxy that looks at CAA as RFC 8659 and RFC 8657 say.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use emulator_caa::{CaaServer, Options};
use lab_pebble::{Pebble, Programs};
use serde_json::Value;

use crate::directory::Directory;

struct Ca {
    pebble: Pebble,
    caa: CaaServer,
    python: OsString,
    directory: Directory,
}

impl Ca {
    /// None where its programs are not there, which is said.
    fn start(test: &str) -> Option<Self> {
        let Some(programs) = Programs::of_environment() else {
            eprintln!("SKIPPED {test}: {}", Programs::MISSING);
            return None;
        };
        let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
            eprintln!("SKIPPED {test}: ENCLAVE_TLS_PYTHON names no interpreter");
            return None;
        };
        let directory = Directory::new(test);
        let options = lab_pebble::Options {
            names: vec!["localhost".to_owned()],
            ..lab_pebble::Options::default()
        };
        let pebble = Pebble::start(&programs, &directory.0, &options).unwrap();
        let read = |name: &str| fs::read_to_string(directory.0.join(name)).unwrap();
        let caa = CaaServer::start(&Options {
            listen: "127.0.0.1:0",
            certificate: &read("server.pem"),
            key: &read("server.key"),
            upstream: SocketAddr::from((Ipv4Addr::LOCALHOST, pebble.ports().acme)),
            upstream_name: "localhost",
            upstream_root: &read("root.pem"),
            issuer: "ca.example",
        });
        Some(Self {
            caa: caa.unwrap(),
            pebble,
            python,
            directory,
        })
    }

    /// Somebody's own ACME client, with an account of theirs.
    fn client(&self, command: &str, who: &str, rest: &[&str]) -> Value {
        let output = Command::new(&self.python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/acme_client.py"))
            .args([command, &format!("https://localhost:{}/dir", self.caa.address().port())])
            .arg(self.pebble.root_pem())
            .arg(self.directory.0.join(format!("{who}.pem")))
            .args(rest)
            .env("NO_PROXY", "localhost,127.0.0.1")
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn account(&self, who: &str) -> String {
        self.client("account", who, &[])["account"].as_str().unwrap().to_owned()
    }

    fn order(&self, who: &str, method: &str, names: &[&str]) -> Value {
        let challenges = format!("http://127.0.0.1:{}", self.pebble.ports().challenges);
        self.client("order", who, &[&[method, &challenges], names].concat())
    }

    fn gets(&self, who: &str, method: &str, name: &str) {
        let ended = self.order(who, method, &[name]);
        assert!(
            ended["certificates"].as_u64() >= Some(2),
            "a leaf and its issuer: {ended}"
        );
    }

    fn is_refused(&self, who: &str, method: &str, names: &[&str]) {
        let ended = self.order(who, method, names);
        assert_eq!(ended["problem"]["type"], "urn:ietf:params:acme:error:caa", "{ended}");
        assert_eq!(ended["certificates"], Value::Null);
    }

    /// Puts into the zone exactly what the command prints, and nothing else.
    fn pin(&self, args: &[&str]) {
        let zone = self
            .directory
            .ok(&[&["acme", "caa", "--issuer", "ca.example"], args].concat());
        self.caa.set_zone(&zone).unwrap();
    }
}

#[test]
fn threat_54_an_account_that_no_record_names_gets_no_certificate() {
    let Some(ca) = Ca::start("caa-accounts") else { return };
    let enclave = ca.account("enclave");
    assert_ne!(enclave, ca.account("parent"));
    // Without the record, whoever answers for the name has what they want.
    ca.gets("parent", "http-01", "www.a.example");
    ca.pin(&["www.a.example", "--account-url", &enclave]);
    ca.is_refused("parent", "http-01", &["www.a.example"]);
    ca.is_refused("parent", "dns-01", &["www.a.example"]);
    ca.is_refused("parent", "http-01", &["b.example", "deep.www.a.example"]);
    ca.gets("enclave", "http-01", "www.a.example");
    ca.gets("parent", "http-01", "b.example");
    assert_eq!(ca.caa.refusals().len(), 3, "{:?}", ca.caa.refusals());
}

#[test]
fn threat_54_methods_and_wildcards_are_pinned_with_the_account() {
    let Some(ca) = Ca::start("caa-methods") else { return };
    let enclave = ca.account("enclave");
    ca.pin(&["www.a.example", "--account-url", &enclave, "--method", "dns-01"]);
    ca.is_refused("enclave", "http-01", &["www.a.example"]);
    ca.gets("enclave", "dns-01", "www.a.example");
    ca.is_refused("enclave", "dns-01", &["*.www.a.example"]);
    ca.pin(&["*.www.a.example", "--account-url", &enclave, "--method", "dns-01"]);
    ca.gets("enclave", "dns-01", "*.www.a.example");
    ca.is_refused("enclave", "dns-01", &["www.a.example"]);
}

#[test]
fn the_recovery_account_can_take_over() {
    let Some(ca) = Ca::start("caa-recovery-account") else {
        return;
    };
    let (enclave, recovery) = (ca.account("enclave"), ca.account("recovery"));
    ca.pin(&[
        "a.example",
        "--account-url",
        &enclave,
        "--recovery-account-url",
        &recovery,
    ]);
    ca.gets("recovery", "http-01", "a.example");
    ca.gets("enclave", "http-01", "a.example");
    ca.is_refused("parent", "http-01", &["a.example"]);
}
