//! AWS's own builder puts the parts together and measures them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::paths::Paths;
use crate::process;
use crate::setup::{Build, Tool, cargo_tool};

/// The registers of an image, in hexadecimal.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Pcrs {
    /// All of it.
    #[serde(alias = "PCR0")] // as eif_build writes it
    pub(crate) pcr0: String,
    /// Kernel, command line and the first ramdisk, which is the program: the same for every policy.
    #[serde(alias = "PCR1")] // as eif_build writes it
    pub(crate) pcr1: String,
    /// The other ramdisk, which is the policy.
    #[serde(alias = "PCR2")] // as eif_build writes it
    pub(crate) pcr2: String,
}

/// What an image is made of.
pub(super) struct Parts<'a> {
    pub(super) kernel: &'a Path,
    pub(super) kernel_version: &'a str,
    pub(super) command_line: &'a str,
    /// The first holds the program, the second the policy.
    pub(super) ramdisks: [&'a Path; 2],
}

/// Writes the image. Nothing of the place and the time gets in: its metadata, which nothing measures and nobody may trust,
/// are fixed too, so that the whole file is the same.
pub(super) fn build(paths: &Paths, parts: &Parts<'_>, out: &Path) -> Result<Pcrs> {
    let mut command = Command::new(builder(paths)?);
    command.arg("--kernel").arg(parts.kernel);
    command.args(["--img-kernel", parts.kernel_version, "--img-os", "none"]);
    command.args(["--cmdline", parts.command_line]);
    for ramdisk in parts.ramdisks {
        command.arg("--ramdisk").arg(ramdisk);
    }
    command.args(["--name", "enclave-tls", "--build-time", BUILD_TIME]);
    let said = process::capture(command.arg("--output").arg(out))?;
    let (_, json) = said.split_once('{').context("eif_build printed no measurements")?;
    let pcrs = serde_json::from_str(&format!("{{{json}")).context("eif_build's measurements")?;
    fs::metadata(out).with_context(|| format!("eif_build wrote no {}", out.display()))?;
    Ok(pcrs)
}

/// AWS's program, in the cache.
pub(super) fn builder(paths: &Paths) -> Result<PathBuf> {
    cargo_tool(paths, &BUILDER)
}

/// By AWS.
pub(super) const BUILDER: Tool = Tool {
    name: "eif_build",
    version: "0.2.1",
    build: Build::Quick,
    mends: &[],
};

const BUILD_TIME: &str = "1970-01-01T00:00:00+00:00";
