//! Let's Encrypt's ACME server for tests, and the DNS and challenge server that comes with it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::{Archive, Instead, download_of};
use super::once::once;
use crate::paths::Paths;
use crate::process;

/// The programs, each with the variable by which tests find it.
pub(crate) fn variables(paths: &Paths) -> Result<[(&'static str, PathBuf); 2]> {
    let root = programs(paths)?;
    Ok(PROGRAMS.map(|(variable, program)| (variable, root.join(program))))
}

/// The directory that holds them, from the package of Debian's next release but one: the system's own has no renewal information
/// and no profiles. It is unpacked and not installed; its programs need a C library of Debian 12's age and nothing else.
fn programs(paths: &Paths) -> Result<PathBuf> {
    let root = paths.cache(&format!("pebble {PEBBLE:?}"));
    let programs = root.join("bin");
    once(&root, &programs, || {
        let deb = download_of(paths, &PEBBLE, SUITE, Instead::Newest)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let unpacked = root.join("unpacked");
        process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
        fs::rename(unpacked.join(INSIDE), &programs).context("Debian's package holds no programs")?;
        Ok(fs::remove_dir_all(unpacked)?)
    })?;
    Ok(programs)
}

const PROGRAMS: [(&str, &str); 2] = [
    ("ENCLAVE_TLS_PEBBLE", "pebble"),
    ("ENCLAVE_TLS_CHALLTESTSRV", "pebble-challtestsrv"),
];
const INSIDE: &str = "usr/bin";
const SUITE: &str = "forky";
const PEBBLE: Archive = Archive {
    package: "pebble",
    version: "2.10.0+ds1-2",
    sha256: "b9a3a3920143f1a6fc568dfa88247be22cafa96c845fe62938c08982a15df315",
};
