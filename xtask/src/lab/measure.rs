//! What the lab's service is measured as: its image's register, which the NSM stand-in has, and its policy.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::acme;
use super::aws::{BUNDLE_KEY, REGION, SEALING_KEY};
use super::place::Place;
use super::state::Attestation;
use crate::build::Binaries;
use crate::image::{self, INIT, Inputs, Pcrs};
use crate::paths::Paths;
use crate::process;

/// The measurements of one service, and the root of the NSM that attests them.
pub(super) struct Measured {
    /// PCR0 to 2, in hexadecimal.
    pub(super) pcrs: [String; 3],
    /// PCR16, which measures the policy.
    pub(super) pcr16: String,
    /// SHA-256 of the stand-in's root; an emulated machine signs nothing.
    pub(super) root_sha256: Option<String>,
}

impl Measured {
    /// As `enclave-tlsctl policy generate --measured` takes it.
    pub(super) fn pair(&self) -> String {
        let [pcr0, ..] = &self.pcrs;
        format!("{pcr0}:{}", self.pcr16)
    }

    /// As `lab.json` says it.
    pub(super) fn attestation(self, place: &Place) -> Attestation {
        let signed = self.root_sha256.is_some();
        Attestation {
            root_sha256: self.root_sha256,
            pcrs: self.pcrs,
            policy: place.policy(),
            pcr16: self.pcr16,
            nsm: signed.then(|| place.nsm()),
            image: (!signed).then(|| place.image()),
        }
    }
}

/// Gives the stand-in its registers, writes the lab's policy, and measures it as an auditor would.
pub(super) fn stand_in(place: &Place, binaries: &Binaries) -> Result<Measured> {
    let pcrs = ["a0", "a1", "a2"].map(|byte| byte.repeat(48));
    let registers: String = (0..)
        .zip(&pcrs)
        .map(|(index, pcr): (u8, _)| format!("pcr{index} = \"{pcr}\"\n"))
        .collect();
    fs::write(place.nsm().join("nsm.toml"), registers)?;
    // `nitro-cli` wants an image, and tells what lies beside it.
    fs::write(place.image(), "The service is a process here.\n")?;
    let [pcr0, pcr1, pcr2] = &pcrs;
    let measurements = serde_json::json!({ "Measurements": { "PCR0": pcr0, "PCR1": pcr1, "PCR2": pcr2 } });
    fs::write(place.image().with_extension("json"), measurements.to_string())?;
    let root = process::capture(Command::new(&binaries.emulator_nsm).arg(place.nsm()))?;
    let root_sha256 = root.trim().to_owned();
    let pcr16 = write_policy(place, binaries, &format!("root_sha256 = \"{root_sha256}\""))?;
    Ok(Measured {
        pcrs,
        pcr16,
        root_sha256: Some(root_sha256),
    })
}

/// Builds the image with the lab's policy, which takes the emulated machine's documents as nobody signed them.
pub(super) fn image(paths: &Paths, place: &Place, binaries: &Binaries) -> Result<Measured> {
    let pcr16 = write_policy(place, binaries, "unsigned = true")?;
    let inputs = Inputs::collect(paths, INIT, Some(&place.policy()))?;
    let Pcrs { pcr0, pcr1, pcr2 } = image::write(paths, &inputs, &place.image())?.measurements.pcrs;
    Ok(Measured {
        pcrs: [pcr0, pcr1, pcr2],
        pcr16,
        root_sha256: None,
    })
}

/// Writes the policy, and says what it measures to.
fn write_policy(place: &Place, binaries: &Binaries, attestation: &str) -> Result<String> {
    fs::write(
        place.policy(),
        policy(attestation, &fs::read_to_string(place.ca("aws.pem"))?),
    )?;
    let mut measure = Command::new(&binaries.ctl);
    measure.args(["--json", "policy", "pcr16"]).arg(place.policy());
    let measured: Value = serde_json::from_str(&process::capture(&mut measure)?)?;
    let pcr16 = measured
        .get("pcr16")
        .and_then(Value::as_str)
        .context("no PCR16")?
        .to_owned();
    Ok(pcr16)
}

/// A lab's policy allows more than a real one should: imports, foreign bundles, `digest` keys for engines,
/// and the clock of a machine that has no hypervisor's.
fn policy(attestation: &str, aws_root: &str) -> String {
    format!(
        r#"version = 1
imports = true

[[names]]
pattern = "lab-*"
usages = ["tls", "tls-client", "digest", "acme-account"]

[keys]
rsa = {{ min = 2048, max = 4096 }}
curves = ["P-256", "P-384", "P-521", "Ed25519"]

[attestation]
{attestation}

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
{}"#,
        acme::policy(aws_root)
    )
}
