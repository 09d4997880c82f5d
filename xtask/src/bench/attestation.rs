//! What attestation costs: verifying a document, opening sealed state after a restart, one attested decryption. Processor time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::{Binaries, cargo};
use crate::lab::{Ctl, Lab};
use crate::paths::Paths;
use crate::process::{self, Identity};
use crate::progress;

pub(super) const TITLE: &str = "Attestation: processor time";

/// All figures.
#[derive(Deserialize, Serialize)]
pub(super) struct Attestation {
    /// Of the example `cost` of crate enclave-attestation: microseconds.
    document: Value,
    sealed: Sealed,
    decryption: Decryption,
}

/// A restart of the service.
#[derive(Deserialize, Serialize)]
struct Sealed {
    names: u64,
    kms_calls: u64,
    /// Of the service, from its start until it serves.
    service_ms: f64,
}

/// One attested call of KMS.
#[derive(Deserialize, Serialize)]
struct Decryption {
    calls: u32,
    /// Of the service, but for the thread that makes recipient keys: milliseconds a call.
    service_ms: f64,
    /// Of that thread, which runs ahead of need: milliseconds a call.
    recipient_key_ms: f64,
}

/// Measures on a lab, whose service is restarted: this comes last.
pub(super) fn measure(paths: &Paths, lab: &Lab, quick: bool) -> Result<Attestation> {
    let document = progress::step("measuring the verification of a document", || document(paths))?;
    let names = if quick { 200 } else { 1_000 };
    let ctl = Ctl::new(lab.place(), &Binaries::of(paths));
    progress::step(&format!("making {names} sealed names"), || {
        (0..names).try_for_each(|number| {
            let name = format!("lab-bench-{number}");
            let create = ["create", &name, "--type", "p-256", "--usage", "tls", "--sealed=bench"];
            ctl.run(&[&create[..], &["--client", "www-data"]].concat()).map(drop)
        })
    })?;
    let (service, sealed) = progress::step("restarting the service", || restart(lab, &ctl))?;
    let decryption = progress::step("measuring attested decryptions", || decryptions(lab, &ctl, &service));
    let ended = service.end(Duration::from_secs(5));
    let decryption = decryption?;
    ended?;
    Ok(Attestation {
        document,
        sealed,
        decryption,
    })
}

pub(super) fn print(measured: &Attestation) {
    let Attestation {
        document,
        sealed,
        decryption,
    } = measured;
    println!(
        "  verifying a document: {} us, of which five P-384 verifications {} us",
        document["document_us"], document["five_verifications_us"]
    );
    println!(
        "  a restart with {} sealed names: {:.0} ms and {} KMS calls",
        sealed.names, sealed.service_ms, sealed.kms_calls
    );
    println!(
        "  an attested decryption: {:.2} ms, and {:.0} ms for a recipient key, made ahead at low priority",
        decryption.service_ms, decryption.recipient_key_ms
    );
}

fn document(paths: &Paths) -> Result<Value> {
    let mut example = cargo(paths);
    example.args([
        "run",
        "--quiet",
        "--release",
        "-p",
        "enclave-attestation",
        "--example",
        "cost",
    ]);
    Ok(serde_json::from_str(&process::capture(&mut example)?)?)
}

/// Ends the service, which its supervisor starts again.
fn restart(lab: &Lab, ctl: &Ctl) -> Result<(Identity, Sealed)> {
    let description = lab.description();
    let words = description.commands.get("service").context("the lab has no service")?;
    let names = fs::read_dir(lab.place().replay().join("sealed"))?.count();
    counters(&description.kms_admin, "DELETE")?;
    for identity in process::with_command_line(words) {
        identity.end(Duration::from_secs(5))?;
    }
    let mut service = None;
    let begun = process::wait_until(Duration::from_secs(30), || {
        service = process::with_command_line(words).pop();
        service.is_some()
    });
    ensure!(begun, "the supervisor does not start the service again");
    let service = service.context("no service")?;
    let serves = || ctl.run(&["stats"]).is_ok_and(|stats| stats["phase"] == "serving");
    ensure!(
        process::wait_until(Duration::from_secs(120), serves),
        "the service does not serve"
    );
    let cpu: u64 = threads(service.pid)?.values().sum();
    let asked = counters(&description.kms_admin, "GET")?;
    let sealed = Sealed {
        names: u64::try_from(names)?,
        kms_calls: asked["operations"]["Decrypt"]["requests"].as_u64().unwrap_or_default(),
        service_ms: milliseconds(cpu),
    };
    Ok((service, sealed))
}

/// The same bundle again and again: KMS opens it each time, and then its key is found to be there.
fn decryptions(lab: &Lab, ctl: &Ctl, service: &Identity) -> Result<Decryption> {
    let bundle = lab.place().aws("lab-bundle-p256.json").display().to_string();
    let key = lab.description().kms_keys.get("bundles").context("no KMS key")?;
    let provision = ["provision", "lab-bundle-p256", "--bundle", &bundle, "--kms-key", key];
    let whose = ["--usage", "tls", "--client", "www-data"];
    counters(&lab.description().kms_admin, "DELETE")?;
    let before = threads(service.pid)?;
    for _ in 0..CALLS {
        let refused = ctl.run(&[&provision[..], &whose].concat());
        ensure!(refused.is_err(), "one key was taken twice");
    }
    let asked = counters(&lab.description().kms_admin, "GET")?;
    ensure!(
        asked["operations"]["Decrypt"]["succeeded"] == CALLS,
        "not each bundle was opened: {asked}"
    );
    let after = threads(service.pid)?;
    let spent = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let sum = |all: &BTreeMap<String, u64>| {
            all.iter()
                .filter(|(name, _)| wanted(name))
                .map(|(_, cpu)| cpu)
                .sum::<u64>()
        };
        sum(&after).saturating_sub(sum(&before))
    };
    let is_recipient = |name: &str| name.starts_with(RECIPIENT);
    Ok(Decryption {
        calls: CALLS,
        service_ms: milliseconds(spent(&|name| !is_recipient(name))) / f64::from(CALLS),
        recipient_key_ms: milliseconds(spent(&is_recipient)) / f64::from(CALLS),
    })
}

/// Nanoseconds on a processor, by thread: its name and number.
fn threads(pid: u32) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path();
        let name = fs::read_to_string(path.join("comm"))?;
        let schedstat = fs::read_to_string(path.join("schedstat"))?;
        let spent = schedstat
            .split(' ')
            .next()
            .and_then(|text| text.parse().ok())
            .context("no schedstat")?;
        let number = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(format!("{} {number}", name.trim()), spent);
    }
    Ok(all)
}

/// The KMS emulator's counters, read or reset.
fn counters(admin: &str, method: &str) -> Result<Value> {
    let mut connection = TcpStream::connect(admin)?;
    let request = format!("{method} /_emulator/counters HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no answer of the KMS emulator")?;
    serde_json::from_str(body).with_context(|| answer.clone())
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

const CALLS: u32 = 40;
/// The name of the thread that makes recipient keys.
const RECIPIENT: &str = "recipient";
