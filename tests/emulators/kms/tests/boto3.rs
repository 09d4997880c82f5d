//! Independent agreement: boto3 speaks to the program, and Python opens its replies to a recipient.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use support::enclave::Enclave;
use support::program::{Program, certificate, write_documents};
use support::scratch::Scratch;

#[test]
fn boto3_works_in_the_clear() {
    run("boto3_works_in_the_clear", false);
}

#[test]
fn boto3_works_over_tls() {
    run("boto3_works_over_tls", true);
}

fn run(test: &str, tls: bool) {
    let Some(python) = python(test) else { return };
    let scratch = Scratch::new();
    let enclave = Enclave::new();
    let tls = tls.then(|| certificate(scratch.path()));
    let program = Program::start(scratch.path(), enclave.root_sha256(), tls.as_ref(), &[]);
    write_documents(scratch.path(), &enclave);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/kms.py"))
        .arg(format!("{scheme}://{}", program.address))
        .arg(
            tls.map(|[certificate, _]| certificate.into_os_string())
                .unwrap_or_default(),
        )
        .arg(scratch.path())
        .env_remove("HTTPS_PROXY")
        .env("NO_PROXY", "127.0.0.1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "agreed\n");
}

/// The interpreter, if there is one with what the check needs.
fn python(test: &str) -> Option<OsString> {
    let Some(python) = std::env::var_os("ENCLAVE_TLS_PYTHON") else {
        eprintln!("SKIPPED {test}: ENCLAVE_TLS_PYTHON names no interpreter");
        return None;
    };
    let imports = Command::new(&python)
        .args(["-c", "import boto3, cryptography"])
        .status();
    if imports.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED {test}: it has no `boto3` or no `cryptography`");
    None
}
