//! What the emulated machine measured: the same as the build printed. Its NSM signs nothing, so this is no proof to anybody else, and
//! `enclave-tlsctl verify` refuses it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha384};

use super::proof::Proof;
use crate::build::Binaries;
use crate::lab::{Attestation, Lab};
use crate::machine::Document;
use crate::process;
use crate::progress;
use crate::table::{Table, Verdict};

/// Compares a document of the booted image with what is known of the image.
pub(super) fn all(lab: &Lab, binaries: &Binaries) -> Result<Table> {
    let proof = progress::step("asking the enclave for a document", || Proof::fetch(lab, binaries))?;
    let document = Document::read(&fs::read(&proof.document)?)?;
    let statement = fs::read(&proof.statement)?;
    let known = &lab.description().attestation;
    let mut table = Table::new(["what", "in the document", "known from"]);
    let mut row = |what: &str, found: &str, wanted: &str, from: &str| {
        let begin = found.get(..16).unwrap_or(found);
        table.row(
            [what.to_owned(), format!("{begin}…"), from.to_owned()],
            Verdict::of(found == wanted),
        );
    };
    let image = known.image.as_ref().context("no image was booted")?;
    let json = image.with_extension("json");
    let built = json.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for ((index, wanted), what) in (0..).zip(&known.pcrs).zip(["image", "kernel, program", "policy file"]) {
        let what = format!("PCR{index}, {what}");
        row(&what, document.pcr(index)?, wanted, &built);
    }
    row(
        "PCR16, policy",
        document.pcr(16)?,
        &known.pcr16,
        "enclave-tlsctl policy pcr16",
    );
    let hex_of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(hex::encode).unwrap_or_default();
    row(
        "nonce",
        &hex_of(&document.nonce),
        proof.nonce(),
        "the one that was asked for",
    );
    row(
        "user_data",
        &hex_of(&document.user_data),
        &hex::encode(Sha384::digest(&statement)),
        "SHA-384 of the statement beside it",
    );
    let said = refusal(&proof, binaries, known)?;
    let refused = said.is_some();
    table.row(
        [
            "control: verify".to_owned(),
            said.unwrap_or_else(|| "took it".to_owned()),
            "nobody signed it".to_owned(),
        ],
        Verdict::of(refused),
    );
    Ok(table)
}

/// What `verify` says against the document, told the right registers and the right policy; nothing, if it says anything else or takes it.
fn refusal(proof: &Proof, binaries: &Binaries, known: &Attestation) -> Result<Option<String>> {
    let [pcr0, ..] = &known.pcrs;
    let mut verify = Command::new(&binaries.ctl);
    verify.args(["--json", "verify", "--document"]).arg(&proof.document);
    verify.arg("--statement").arg(&proof.statement);
    verify.args(["--nonce", proof.nonce(), "--pcr", &format!("0={pcr0}"), "--policy"]);
    let output = process::output(verify.arg(&known.policy))?;
    let said: Value = serde_json::from_slice(&output.stdout).context("verify printed no JSON")?;
    let check = said["checks"].as_array().and_then(|checks| checks.first());
    let detail = check.filter(|check| check["name"] == "document" && check["passed"] == false);
    let detail = detail.and_then(|check| check["detail"].as_str());
    Ok(detail.filter(|_| !output.status.success()).map(str::to_owned))
}
