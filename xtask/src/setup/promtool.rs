//! Prometheus' tool, which checks metrics and alert rules.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
        // The server beside it is twice as large.
        let mut files = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(deb)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run dpkg-deb")?;
        let tar = files.stdout.take().context("dpkg-deb has no output")?;
        process::run(
            Command::new("tar")
                .arg("-x")
                .arg("-C")
                .arg(&root)
                .arg(INSIDE)
                .stdin(tar),
        )?;
        ensure!(files.wait()?.success(), "dpkg-deb cannot read Debian's package");
        Ok(fs::rename(root.join(INSIDE), &program)?)
    })?;
    Ok(program)
}

const INSIDE: &str = "./usr/bin/promtool";
const PROMETHEUS: Archive = Archive {
    package: "prometheus",
    version: "2.42.0+ds-5+deb12u1",
    sha256: "81d59a24fce84f7fbe97a45a4f2914b6a5881b5cd1db2a6a0e129e515e1a5f55",
};
