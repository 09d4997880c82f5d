//! Whether time tells secrets: of our own code by valgrind, of what it calls by statistics over the socket.

use std::path::Path;

use anyhow::Result;

use super::count::Counts;
use super::e2e;
use crate::build::cargo;
use crate::lab::Enclave;
use crate::paths::Paths;

/// Both, and the leaks that each must find.
pub(super) fn run(paths: &Paths) -> Result<Counts> {
    // As it is released. The unit tests have tried what is not optimised.
    let mut poisoned = cargo(paths);
    poisoned.args(["test", "--release", "--no-fail-fast", "--lib"]);
    poisoned.args(POISONED.map(|name| format!("-p{name}")));
    let glue = Counts::of_tests(poisoned.args(["--", "threat_43"]))?;
    let seen = e2e::on_a_lab(paths, Enclave::Process, |lab: &Path| {
        Counts::of_tests(e2e::tests(paths, lab, e2e::Length::Full)?.args(["--test", "timing"]))
    })?;
    Ok(glue + seen)
}

/// Crates that touch secrets, and the one that poisons them, with its controls.
const POISONED: [&str; 4] = ["lab-poison", "enclave-wire", "enclave-tls-pkcs11", "enclave-tls"];
