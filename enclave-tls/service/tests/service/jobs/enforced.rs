//! A CA that enforces CAA: pebble, behind a proxy that looks at the records before it lets an order be finalised.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use emulator_caa::CaaServer;
use enclave_wire::control::{Job, JobError};
use lab_pebble::Options;
use serde_json::Value;

use super::*;

/// The parent answers for the name as well as the enclave does, with a client of its own and an account of its own.
#[test]
fn threat_54_the_parents_own_client_is_refused_and_the_enclave_is_not() {
    const TEST: &str = "threat_54_the_parents_own_client_is_refused_and_the_enclave_is_not";
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        return eprintln!("SKIPPED {TEST}: ENCLAVE_TLS_PYTHON names no interpreter");
    };
    let Some(ca) = Ca::start("enforced", Options::default()) else {
        return;
    };
    let caa = enforcing(&ca);
    let mut lab = ca.lab();
    let account = account_key(&mut lab, None).id;
    let url = match run(&mut lab, Job::Account(ca.account(account))) {
        Ok(JobOutcome::Account(url)) => url.as_str().to_owned(),
        other => panic!("{other:?}"),
    };
    let key = certificate_key(&mut lab, "lab-a", &["www.jobs.test"]).id;

    let got = parents_order(&ca, &caa, &python);
    assert!(got["certificates"].as_u64() >= Some(2), "without the record: {got}");
    assert_ne!(got["account"], url.as_str());

    let pin = |account: &str| {
        let record = format!("{IDENTITY}; accounturi={account}; validationmethods=http-01");
        caa.set_zone(&format!("www.jobs.test. IN CAA 0 issue \"{record}\"\n"))
            .unwrap();
    };
    pin(&url);
    let refused = parents_order(&ca, &caa, &python);
    assert_eq!(
        refused["problem"]["type"], "urn:ietf:params:acme:error:caa",
        "{refused}"
    );
    let issued = run(&mut lab, Job::Order(ca.order(key, account)));
    assert!(matches!(issued, Ok(JobOutcome::Certificate(_))), "{issued:?}");

    // The record decides, not the client: one that names the parent's account keeps the enclave out, which says why.
    pin(got["account"].as_str().unwrap());
    let second = certificate_key(&mut lab, "lab-b", &["www.jobs.test"]).id;
    let failure = run(&mut lab, Job::Order(ca.order(second, account))).unwrap_err();
    assert_eq!(failure.error, JobError::Order, "{failure:?}");
    assert!(
        failure.detail.as_str().contains("no CAA record of www.jobs.test"),
        "{failure:?}"
    );
    assert_eq!(caa.refusals().len(), 2, "{:?}", caa.refusals());
}

/// Stands between everybody and the CA, under the CA's own name.
fn enforcing(ca: &Ca) -> CaaServer {
    let dir = ca.pebble.root_pem();
    let read = |name: &str| fs::read_to_string(dir.with_file_name(name)).unwrap();
    let port = ca.pebble.ports().acme;
    let caa = CaaServer::start(&emulator_caa::Options {
        listen: "127.0.0.1:0",
        certificate: &read("server.pem"),
        key: &read("server.key"),
        upstream: ([127, 0, 0, 1], port).into(),
        upstream_name: HOST,
        upstream_root: &read("root.pem"),
        issuer: IDENTITY,
    });
    let caa = caa.unwrap();
    ca.passage.allow(HOST, port, caa.address());
    caa
}

fn parents_order(ca: &Ca, caa: &CaaServer, python: &OsStr) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/python/acme_client.py");
    let output = Command::new(python)
        .arg(script)
        .args(["order", &ca.pebble.directory()])
        .arg(ca.pebble.root_pem())
        .arg(ca.pebble.root_pem().with_file_name("parent.pem"))
        .args(["http-01", &format!("http://127.0.0.1:{}", ca.pebble.ports().challenges)])
        .arg("www.jobs.test")
        .env("ACME_CONNECT_TO", caa.address().to_string())
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// By which the records name the CA.
const IDENTITY: &str = "pebble.letsencrypt.org";
