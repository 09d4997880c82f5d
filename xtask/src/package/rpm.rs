//! The RPM, by rpmbuild. What its programs need of the system, it finds out itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::list::{Entry, Source};
use super::{EPOCH, Format, Inputs, VERSION, filled, stage};
use crate::paths::Paths;
use crate::process;

pub(super) fn write(inputs: &Inputs, paths: &Paths, work: &Path, out: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    stage::lay_out(inputs, paths, Format::Rpm, &root)?;
    stage::level(&root, inputs.epoch)?;
    let recipes = paths.workspace().join("packaging");
    let users = fs::read_to_string(recipes.join("systemd/enclave-tls.sysusers"))?;
    let lines: String = inputs.list.of(Format::Rpm).map(line).collect();
    let spec = filled(
        &recipes.join("rpm/enclave-tls.spec"),
        &[
            ("@VERSION@", VERSION),
            ("@STAGE@", &root.display().to_string()),
            ("@SYSUSERS@", users.trim_end()),
            ("@FILES@", lines.trim_end()),
        ],
    )?;
    let file = work.join("enclave-tls.spec");
    fs::write(&file, spec)?;
    let name = format!("enclave-tls-{VERSION}-1.x86_64.rpm");
    let mut build = Command::new("rpmbuild");
    build.env(EPOCH, inputs.epoch.to_string());
    build.args(["-bb", "--quiet", "--target", "x86_64", "--define"]);
    build.arg(format!("_topdir {}", work.join("rpmbuild").display()));
    build.arg("--define").arg(format!("_rpmdir {}", out.display()));
    build.arg("--define").arg(format!("_build_name_fmt {name}"));
    process::run(build.arg(&file))?;
    Ok(out.join(name))
}

/// Its line in `%files`.
fn line(entry: &Entry) -> String {
    let kind = match &entry.source {
        Source::Directory => "%dir ",
        Source::Config(_) => "%config(noreplace) ",
        Source::File(path) if path == Path::new("LICENSE") => "%license ",
        Source::Program(_) | Source::Module | Source::Image | Source::Measurements | Source::File(_) => "",
    };
    format!(
        "{kind}%attr({:04o}, root, {}) {}\n",
        entry.mode,
        entry.group,
        entry.path.display()
    )
}
