//! Prometheus' tool, which checks metrics and alert rules.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::archive::{Archive, Instead, download};
use super::once::once;
use crate::paths::Paths;
use crate::process;

/// By which tests find it.
pub(crate) const VARIABLE: &str = "ENCLAVE_TLS_PROMTOOL";

/// `promtool`, from Debian's package, which is unpacked and not installed: its server would be started.
pub(crate) fn promtool(paths: &Paths) -> Result<PathBuf> {
    let root = paths.cache(&format!("promtool {PROMETHEUS:?}"));
    let program = root.join("promtool");
    once(&root, &program, || {
        let deb = download(paths, &PROMETHEUS, Instead::Newest)?;
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        let unpacked = root.join("unpacked");
        process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(&unpacked))?;
        fs::rename(unpacked.join(INSIDE), &program).context("Debian's package holds no promtool")?;
        // The server beside it is twice as large.
        Ok(fs::remove_dir_all(unpacked)?)
    })?;
    Ok(program)
}

const INSIDE: &str = "usr/bin/promtool";
const PROMETHEUS: Archive = Archive {
    package: "prometheus",
    version: "2.42.0+ds-5+deb12u1",
    sha256: "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
};
