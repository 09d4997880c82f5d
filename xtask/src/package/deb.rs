//! The deb, by dpkg's own tool.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::list::Source;
use super::{EPOCH, Format, Inputs, VERSION, filled, stage};
use crate::paths::Paths;
use crate::process;

pub(super) fn write(inputs: &Inputs, paths: &Paths, work: &Path, out: &Path) -> Result<PathBuf> {
    let root = work.join("root");
    stage::lay_out(inputs, paths, Format::Deb, &root)?;
    let sums = sums(&root)?; // before the directory that is no part of the system
    let bytes = size(&root)?;
    let recipe = paths.workspace().join("packaging/deb");
    let about = root.join("DEBIAN");
    fs::create_dir(&about)?;
    let control = filled(
        &recipe.join("control"),
        &[
            ("@VERSION@", VERSION),
            ("@GLIBC@", &inputs.programs.glibc.to_string()),
            ("@KIBIBYTES@", &bytes.div_ceil(1024).to_string()),
        ],
    )?;
    fs::write(about.join("control"), control)?;
    fs::write(about.join("md5sums"), sums)?;
    fs::write(about.join("conffiles"), conffiles(inputs))?;
    for file in ["control", "md5sums", "conffiles"] {
        fs::set_permissions(about.join(file), Permissions::from_mode(0o644))?;
    }
    for script in ["postinst", "prerm", "postrm"] {
        fs::copy(recipe.join(script), about.join(script))?;
        fs::set_permissions(about.join(script), Permissions::from_mode(0o755))?;
    }
    stage::level(&root, inputs.epoch)?;
    let file = out.join(format!("enclave-tls_{VERSION}_amd64.deb"));
    let mut build = Command::new("dpkg-deb");
    build.env(EPOCH, inputs.epoch.to_string());
    // One thread: how many there are shows in the compressed bytes.
    build.args(["--root-owner-group", "--threads-max=1", "-Zzstd", "--build"]);
    process::run(build.arg(&root).arg(&file))?;
    Ok(file)
}

/// As `dpkg --verify` reads them.
fn sums(root: &Path) -> Result<String> {
    let (files, _) = stage::walk(root)?;
    let mut md5sum = Command::new("md5sum");
    md5sum.current_dir(root);
    for file in &files {
        md5sum.arg(file.strip_prefix(root)?);
    }
    process::capture(&mut md5sum)
}

fn size(root: &Path) -> Result<u64> {
    let (files, _) = stage::walk(root)?;
    let sizes = files.iter().map(|file| Ok(fs::metadata(file)?.len()));
    sizes.sum::<Result<u64>>().context("cannot measure")
}

fn conffiles(inputs: &Inputs) -> String {
    let all = inputs.list.of(Format::Deb);
    let configs = all.filter(|entry| matches!(entry.source, Source::Config(_)));
    configs.map(|entry| format!("{}\n", entry.path.display())).collect()
}
