//! What the lab's service is measured as: its image's register, which the NSM stand-in has, and its policy.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::aws::{BUNDLE_KEY, REGION, SEALING_KEY};
use super::place::Place;
use crate::build::Binaries;
use crate::process;

/// The measurements of one service, and the root of the NSM that attests them.
pub(super) struct Measured {
    /// PCR0, in hexadecimal.
    pub(super) pcr0: String,
    /// PCR16, which measures the policy.
    pub(super) pcr16: String,
    /// SHA-256 of the stand-in's root.
    pub(super) root_sha256: String,
}

impl Measured {
    /// As `enclave-tlsctl policy generate --measured` takes it.
    pub(super) fn pair(&self) -> String {
        format!("{}:{}", self.pcr0, self.pcr16)
    }
}

/// Gives the stand-in its registers, writes the lab's policy, and measures it as an auditor would.
pub(super) fn prepare(place: &Place, binaries: &Binaries) -> Result<Measured> {
    let pcr0 = "a0".repeat(48);
    let registers = format!(
        "pcr0 = \"{pcr0}\"\npcr1 = \"{}\"\npcr2 = \"{}\"\n",
        "a1".repeat(48),
        "a2".repeat(48)
    );
    fs::write(place.nsm().join("nsm.toml"), registers)?;
    let root = process::capture(Command::new(&binaries.emulator_nsm).arg(place.nsm()))?;
    let root_sha256 = root.trim().to_owned();
    fs::write(
        place.policy(),
        policy(&root_sha256, &fs::read_to_string(place.ca("aws.pem"))?),
    )?;
    let mut measure = Command::new(&binaries.ctl);
    measure.args(["--json", "policy", "pcr16"]).arg(place.policy());
    let measured: Value = serde_json::from_str(&process::capture(&mut measure)?)?;
    let pcr16 = measured
        .get("pcr16")
        .and_then(Value::as_str)
        .context("no PCR16")?
        .to_owned();
    Ok(Measured {
        pcr0,
        pcr16,
        root_sha256,
    })
}

/// A lab's policy allows more than a real one should: imports, foreign bundles, `digest` keys for engines,
/// and the clock of a machine that has no hypervisor's.
fn policy(root_sha256: &str, aws_root: &str) -> String {
    format!(
        r#"version = 1
imports = true

[[names]]
pattern = "lab-*"
usages = ["tls", "tls-client", "digest"]

[keys]
rsa = {{ min = 2048, max = 4096 }}
curves = ["P-256", "P-384", "P-521", "Ed25519"]

[attestation]
root_sha256 = "{root_sha256}"

[aws]
regions = ["{REGION}"]
roots = ["""
{aws_root}"""]

[sealing]
keys = ["{SEALING_KEY}"]

[bundles]
keys = ["{BUNDLE_KEY}"]
foreign = true

[clock]
any_source = true
"#
    )
}
