//! The proof of which code holds the key behind a live server: a document of the NSM, checked by `enclave-tlsctl verify`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build::Binaries;
use crate::lab::{Attestation, Endpoint, Lab};
use crate::process;
use crate::progress;
use crate::table::{Table, Verdict};

/// Asks for one proof of every key, and checks it against every server; then with what is wrong, which must not pass.
pub(super) fn all(lab: &Lab, binaries: &Binaries) -> Result<Table> {
    let proof = progress::step("asking the service for a proof", || Proof::fetch(lab, binaries))?;
    let mut table = Table::new(["what is checked", "key", "origin", "verify says"]);
    let served = lab.description().endpoints.iter().filter(|end| end.via == "provider");
    for endpoint in served.clone() {
        let said = proof.verify(endpoint, &proof.expected)?;
        let origin = said.origin_of(lab, &endpoint.key);
        let url = format!("https://{}", endpoint.name);
        table.row(
            [url, endpoint.key.clone(), origin, said.verdict()],
            Verdict::of(said.proven),
        );
    }
    let endpoint = served.clone().next().context("no server")?;
    for (what, wrong) in proof.wrong()? {
        let said = proof.verify(endpoint, &wrong)?;
        let name = format!("control: {what}");
        table.row(
            [name, endpoint.key.clone(), String::new(), said.verdict()],
            Verdict::of(!said.proven),
        );
    }
    Ok(table)
}

/// A proof, as `enclave-tlsctl attest` wrote it.
pub(super) struct Proof {
    ctl: PathBuf,
    pub(super) document: PathBuf,
    pub(super) statement: PathBuf,
    expected: Expected,
}

/// What the verifier knows from elsewhere: of the code, of its policy, and what it asked.
#[derive(Clone)]
struct Expected {
    nonce: String,
    attestation: Attestation,
}

impl Proof {
    pub(super) fn fetch(lab: &Lab, binaries: &Binaries) -> Result<Self> {
        let [document, statement] = ["document.cose", "statement.cbor"].map(|name| lab.place().root().join(name));
        let mut nonce = [0_u8; 32];
        getrandom::fill(&mut nonce)?;
        let nonce = hex::encode(nonce);
        let mut attest = Command::new(&binaries.ctl);
        attest.arg("--socket").arg(lab.place().ctl_socket());
        attest.args(["attest", "--nonce", &nonce, "--document"]).arg(&document);
        process::capture(attest.arg("--statement").arg(&statement))?;
        Ok(Self {
            ctl: binaries.ctl.clone(),
            document,
            statement,
            expected: Expected {
                nonce,
                attestation: lab.description().attestation.clone(),
            },
        })
    }

    fn verify(&self, endpoint: &Endpoint, expected: &Expected) -> Result<Said> {
        let attestation = &expected.attestation;
        let mut verify = Command::new(&self.ctl);
        verify.args(["--json", "verify", "--document"]).arg(&self.document);
        verify
            .arg("--statement")
            .arg(&self.statement)
            .args(["--nonce", &expected.nonce]);
        let root = attestation
            .root_sha256
            .as_deref()
            .context("the lab's NSM signs nothing")?;
        verify.args(["--root-sha256", root]);
        let [pcr0, ..] = &attestation.pcrs;
        verify
            .args(["--pcr", &format!("0={pcr0}"), "--policy"])
            .arg(&attestation.policy);
        verify.arg(format!("https://{}", endpoint.name));
        verify.args(["--connect", &format!("{}:{}", endpoint.host, endpoint.port)]);
        let output = process::output(&mut verify)?;
        let json = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{}: {}", process::line_of(&verify), process::text(&output.stderr)))?;
        let said = Said {
            proven: output.status.success(),
            json,
        };
        ensure!(
            said.json["proven"] == said.proven,
            "exit status and JSON of verify differ"
        );
        Ok(said)
    }

    /// The nonce that was asked for, in hexadecimal.
    pub(super) fn nonce(&self) -> &str {
        &self.expected.nonce
    }

    /// What must not pass.
    fn wrong(&self) -> Result<[(&'static str, Expected); 3]> {
        let mut all = [
            ("another image (PCR0)", self.expected.clone()),
            ("another policy (PCR16)", self.expected.clone()),
            ("another nonce", self.expected.clone()),
        ];
        let [image, policy, nonce] = &mut all;
        image.1.attestation.pcrs = ["b0"; 3].map(|byte| byte.repeat(48));
        policy.1.attestation.policy = other_policy(&self.expected.attestation.policy, &self.document)?;
        nonce.1.nonce = "00".repeat(32);
        Ok(all)
    }
}

/// The lab's policy with one word changed.
fn other_policy(policy: &Path, beside: &Path) -> Result<PathBuf> {
    let other = beside.with_extension("policy.toml");
    let text = fs::read_to_string(policy)?;
    let changed = text.replacen("imports = true", "imports = false", 1);
    ensure!(changed != text, "the lab's policy has no such word");
    fs::write(&other, changed)?;
    Ok(other)
}

/// What `verify --json` said.
struct Said {
    proven: bool,
    json: Value,
}

impl Said {
    fn verdict(&self) -> String {
        let checks = self.json["checks"].as_array().into_iter().flatten();
        let failed: Vec<&str> = checks
            .filter(|check| check["passed"] == false)
            .filter_map(|check| check["name"].as_str())
            .collect();
        if self.proven {
            "proven".to_owned()
        } else {
            format!("not proven: {}", failed.join(", "))
        }
    }

    /// Where the statement says that this key came from.
    fn origin_of(&self, lab: &Lab, label: &str) -> String {
        let keys = &lab.description().keys;
        let id = keys.iter().find(|key| key.label == label).map(|key| key.id.as_str());
        let stated = self.json["statement"]["keys"].as_array().into_iter().flatten();
        let key = stated.into_iter().find(|key| key["spki_sha256"].as_str() == id);
        key.and_then(|key| key["origin"].as_str()).unwrap_or("-").to_owned()
    }
}
