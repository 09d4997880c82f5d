//! AWS's own builder puts the parts together and measures them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::signer::Signer;
use crate::paths::Paths;
use crate::process;
use crate::setup::{Build, Tool, cargo_tool};

/// The registers of an image, in hexadecimal.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Pcrs {
    /// All of it.
    #[serde(rename = "PCR0")] // as eif_build and nitro-cli write it, here and below
    pub(crate) pcr0: String,
    /// Kernel, command line and the first ramdisk, which is the program: the same for every policy.
    #[serde(rename = "PCR1")]
    pub(crate) pcr1: String,
    /// The other ramdisk, which is the policy.
    #[serde(rename = "PCR2")]
    pub(crate) pcr2: String,
}

/// What an image is made of.
pub(super) struct Parts<'a> {
    pub(super) kernel: &'a Path,
    pub(super) kernel_version: &'a str,
    pub(super) command_line: &'a str,
    /// The first holds the program, the second the policy.
    pub(super) ramdisks: [&'a Path; 2],
    pub(super) signer: Option<&'a Signer>,
}

/// Writes the image, and tells PCR0 to 2, and PCR8 of one that is signed. Nothing of the place and the time gets in: its metadata,
/// which nothing measures and nobody may trust, are fixed too, so that the whole file is the same; only a signature, which holds
/// a random number, is another each time.
pub(super) fn build(paths: &Paths, parts: &Parts<'_>, out: &Path) -> Result<Measurements> {
    let mut command = Command::new(builder(paths)?);
    command.arg("--kernel").arg(parts.kernel);
    command.args(["--img-kernel", parts.kernel_version, "--img-os", "none"]);
    command.args(["--cmdline", parts.command_line]);
    for ramdisk in parts.ramdisks {
        command.arg("--ramdisk").arg(ramdisk);
    }
    command.args(["--name", "enclave-tls", "--build-time", BUILD_TIME]);
    if let Some(signer) = parts.signer {
        command.arg("--signing-certificate").arg(signer.certificate());
        command.arg("--private-key").arg(signer.key());
    }
    let said = process::capture(command.arg("--output").arg(out))?;
    let (_, json) = said.split_once('{').context("eif_build printed no measurements")?;
    let measured: Measurements = serde_json::from_str(&format!("{{{json}")).context("eif_build's measurements")?;
    fs::metadata(out).with_context(|| format!("eif_build wrote no {}", out.display()))?;
    ensure!(
        measured.pcr8.is_some() == parts.signer.is_some(),
        "eif_build measured {} certificate",
        measured.pcr8.as_ref().map_or("no", |_| "a")
    );
    Ok(measured)
}

/// What an image measures to.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Measurements {
    #[serde(flatten)]
    pub(crate) pcrs: Pcrs,
    /// The certificate of who signed it, where somebody did: it says nothing of what is in the image, and the others nothing of it.
    #[serde(rename = "PCR8", default, skip_serializing_if = "Option::is_none")]
    pub(crate) pcr8: Option<String>,
}

/// AWS's program, in the cache.
pub(crate) fn builder(paths: &Paths) -> Result<PathBuf> {
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
