//! Which image and which policy KMS releases to, and what a proof of them says: on the lab's KMS, whose key policies are those that
//! `enclave-tlsctl policy generate` writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::kms::KeyPolicy;
use e2e::lab::program::{Ran, run, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::second::{Options, Second};
use e2e::lab::suite::Test;
use e2e::lab::{Lab, acme};
use enclave_attestation::decode_unsigned;
use serde_json::Value;

pub(super) const TESTS: &[Test] = e2e::tests![
    control_the_same_image_and_policy_opens_the_labs_states,
    threat_26_another_image_gets_nothing_from_kms,
    threat_39_another_policy_gets_nothing_from_kms,
    threat_39_the_inventory_is_not_measured_and_the_policy_is,
    threat_34_a_bundle_under_another_name_is_refused,
    threat_33_another_kms_key_is_refused,
    an_upgrade_with_two_pairs,
    a_proof_fits_every_server_and_nothing_else,
    threat_29_a_document_has_the_registers_of_image_and_policy,
    threat_19_the_release_program_holds_no_stand_in,
];

/// Without this the refusals below would say nothing.
fn control_the_same_image_and_policy_opens_the_labs_states(lab: &Lab) -> Result<()> {
    let second = Second::start(lab, &Options::like(lab)?)?;
    ensure!(
        described(&second)? == sealed(lab),
        "{:?}\n{}",
        second.labels()?,
        second.log()
    );
    provision(&second, lab, "lab-bundle-p256", "lab-bundle-p256", "bundles")?;
    Ok(())
}

fn threat_26_another_image_gets_nothing_from_kms(lab: &Lab) -> Result<()> {
    let other = Options {
        pcr0: "b0".repeat(48),
        ..Options::like(lab)?
    };
    gets_nothing(lab, &other)
}

fn threat_39_another_policy_gets_nothing_from_kms(lab: &Lab) -> Result<()> {
    let same = Options::like(lab)?;
    // Even one that allows less is another.
    let policy = same.policy.replacen("imports = true", "imports = false", 1);
    ensure!(policy != same.policy, "the lab's policy has changed");
    gets_nothing(lab, &Options { policy, ..same })
}

fn gets_nothing(lab: &Lab, options: &Options) -> Result<()> {
    let second = Second::start(lab, options)?;
    ensure!(second.labels()?.is_empty(), "{:?}", second.labels()?);
    let refused = try_provision(&second, lab, "lab-bundle-p256", "lab-bundle-p256", "bundles")?;
    ensure!(refused.status.code() == Some(1), "{}", refused.printed());
    ensure!(
        refused.stderr.contains("policy lint"),
        "no advice: {}",
        refused.printed()
    );
    let log = second.service_log();
    ensure!(log.contains("access denied"), "its own log does not say why:\n{log}");
    Ok(())
}

fn threat_39_the_inventory_is_not_measured_and_the_policy_is(lab: &Lab) -> Result<()> {
    let before = Proof::of(lab, |arguments| succeed(lab.ctl_command()?.args(arguments)))?;
    let key = TestKey::create(lab, "lab-not-measured", "P-256", "tls", WEB_SERVERS)?;
    let after = Proof::of(lab, |arguments| succeed(lab.ctl_command()?.args(arguments)))?;
    for proof in [&before, &after] {
        ensure!(
            proof.verify(lab, &[])?.status.success(),
            "{}",
            proof.verify(lab, &[])?.printed()
        );
    }
    let keys = |proof: &Proof| -> Result<String> { Ok(proof.json(lab, &[])?["statement"]["keys"].to_string()) };
    ensure!(
        !keys(&before)?.contains(&key.key.id) && keys(&after)?.contains(&key.key.id),
        "the key is not in the second"
    );
    let options = Options::like(lab)?;
    let policy = options.policy.replacen("imports = true", "imports = false", 1);
    let second = Second::start(lab, &Options { policy, ..options })?;
    let other = Proof::of(lab, |arguments| Ok(second.try_ctl(arguments)?.printed()))?;
    let said = other.verify(lab, &[])?;
    ensure!(
        said.status.code() == Some(1) && said.printed().contains("PCR16"),
        "{}",
        said.printed()
    );
    Ok(())
}

fn threat_34_a_bundle_under_another_name_is_refused(lab: &Lab) -> Result<()> {
    let second = without_states(lab)?;
    let refused = try_provision(&second, lab, "lab-bundle-p256", "lab-bundle-rsa", "bundles")?;
    ensure!(
        refused.status.code() == Some(1) && refused.stderr.contains("another name"),
        "{}",
        refused.printed()
    );
    ensure!(second.labels()?.is_empty(), "{:?}", second.labels()?);
    Ok(())
}

/// The inventory can only choose among the keys of the policy.
fn threat_33_another_kms_key_is_refused(lab: &Lab) -> Result<()> {
    let second = without_states(lab)?;
    let refused = try_provision(&second, lab, "lab-bundle-p256", "lab-bundle-p256", "sealing")?;
    // By the service itself: KMS was not asked, which would have refused in other words.
    ensure!(
        refused.status.code() == Some(1) && refused.stderr.contains(NOT_IN_THE_POLICY),
        "{}",
        refused.printed()
    );
    ensure!(
        !second.service_log().contains("AWS did not decrypt"),
        "{}",
        second.service_log()
    );
    Ok(())
}

fn without_states(lab: &Lab) -> Result<Second<'_>> {
    let options = Options {
        with_lab_states: false,
        ..Options::like(lab)?
    };
    Second::start(lab, &options)
}

/// As `design.md` has it: KMS allows both pairs; the new image opens and seals again; the old pair is retired.
fn an_upgrade_with_two_pairs(lab: &Lab) -> Result<()> {
    let old = Options::like(lab)?;
    let new = Options {
        pcr0: "c0".repeat(48),
        policy: old.policy.replacen("foreign = true", "foreign = false", 1),
        ..old.clone()
    };
    let [old_pair, new_pair] = [pair(lab, &old)?, pair(lab, &new)?];
    let policies = KeyPolicy::remember(lab)?;
    let mut upgraded = {
        policies.put(lab, &[&old_pair, &new_pair])?;
        let upgraded = Second::start(lab, &new)?;
        ensure!(
            described(&upgraded)? == sealed(lab),
            "{:?}\n{}",
            upgraded.labels()?,
            upgraded.log()
        );
        upgraded
    };
    policies.put(lab, &[&new_pair])?;
    upgraded.restart_service()?;
    ensure!(
        described(&upgraded)? == sealed(lab),
        "the new one does not open what it sealed again:\n{}",
        upgraded.log()
    );
    let late = Second::start(lab, &old)?;
    ensure!(late.labels()?.is_empty(), "the old pair still opens");
    Ok(())
}

fn a_proof_fits_every_server_and_nothing_else(lab: &Lab) -> Result<()> {
    let proof = Proof::of(lab, |arguments| succeed(lab.ctl_command()?.args(arguments)))?;
    let mut seen = 0;
    for endpoint in lab.served() {
        let url = format!("https://{}", endpoint.name);
        let said = proof.verify(lab, &[&url, "--connect", &endpoint.address()])?;
        ensure!(said.status.success(), "{endpoint}: {}", said.printed());
        let strict = proof.verify(lab, &[&url, "--connect", &endpoint.address(), "--require-usage", "tls"])?;
        let is_tls = lab.key(&endpoint.key)?.usage == "tls";
        ensure!(strict.status.success() == is_tls, "{endpoint}: {}", strict.printed());
        seen += 1;
    }
    ensure!(seen > 0, "no server");
    // A key that is not the service's: that of the server behind the proxy.
    let stranger = Stranger::serve(lab)?;
    let said = proof.verify(lab, &["https://stranger.lab.test", "--connect", &stranger.address])?;
    ensure!(said.status.code() == Some(1), "{}", said.printed());
    Ok(())
}

/// What the machine measured is what its build printed, and what the policy measures to; and nobody can add to it. Whether the document is
/// signed is another question, and an emulated machine's is not.
fn threat_29_a_document_has_the_registers_of_image_and_policy(lab: &Lab) -> Result<()> {
    let proof = Proof::of(lab, |arguments| succeed(lab.ctl_command()?.args(arguments)))?;
    let document = decode_unsigned(&fs::read(&proof.document)?).map_err(|error| anyhow!("{error}"))?;
    let register = |index: u8| document.pcrs.get(&index).map(hex::encode).unwrap_or_default();
    for (index, wanted) in (0..).zip(&lab.attestation.pcrs) {
        ensure!(
            register(index) == *wanted,
            "PCR{index} is {}, not {wanted}",
            register(index)
        );
    }
    ensure!(register(16) == lab.attestation.pcr16, "PCR16 is {}", register(16));
    // A document names locked registers alone.
    for index in 17..32 {
        ensure!(
            register(index) == "00".repeat(48),
            "PCR{index} is {:?}",
            register(index)
        );
    }
    Ok(())
}

/// The stand-in's certificates all carry this text, so a program that can make them holds it.
fn threat_19_the_release_program_holds_no_stand_in(lab: &Lab) -> Result<()> {
    let stand_in = &lab.ctl.with_file_name("lab-service");
    let holds = |program: &Path| -> Result<bool> {
        let bytes = fs::read(program).with_context(|| program.display().to_string())?;
        Ok(bytes.windows(MARKER.len()).any(|window| window == MARKER.as_bytes()))
    };
    ensure!(holds(stand_in)?, "the control: the lab's own program must hold it");
    ensure!(
        !holds(&stand_in.with_file_name("enclave-tls"))?,
        "the release program holds the stand-in"
    );
    Ok(())
}

/// A proof for a nonce of ours.
struct Proof {
    nonce: String,
    document: PathBuf,
    statement: PathBuf,
    _dir: Scratch,
}

impl Proof {
    fn of(lab: &Lab, ask: impl FnOnce(&[&str]) -> Result<String>) -> Result<Self> {
        let dir = Scratch::new()?;
        let mut nonce = [0; 16];
        fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut nonce))?;
        let nonce = hex::encode(nonce);
        let [document, statement] = ["document", "statement"].map(|name| dir.file(name));
        let [to, beside] = [&document, &statement].map(|path| path.display().to_string());
        ask(&["attest", "--nonce", &nonce, "--document", &to, "--statement", &beside])?;
        ensure!(
            document.exists() && statement.exists(),
            "no proof was written for {}",
            lab.signing
        );
        Ok(Self {
            nonce,
            document,
            statement,
            _dir: dir,
        })
    }

    /// Against what the lab's service must be.
    fn verify(&self, lab: &Lab, more: &[&str]) -> Result<Ran> {
        run(&mut self.command(lab, more)?)
    }

    fn json(&self, lab: &Lab, more: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&succeed(self.command(lab, more)?.arg("--json"))?)?)
    }

    fn command(&self, lab: &Lab, more: &[&str]) -> Result<Command> {
        let expected = &lab.attestation;
        let mut command = Command::new(&lab.ctl);
        command
            .arg("verify")
            .arg("--document")
            .arg(&self.document)
            .arg("--statement")
            .arg(&self.statement);
        command.args(["--nonce", &self.nonce, "--root-sha256", expected.root_sha256()?]);
        command
            .args(["--pcr", &format!("0={}", expected.pcrs[0]), "--policy"])
            .arg(&expected.policy);
        command.args(more);
        Ok(command)
    }
}

/// `openssl s_server` with a key of its own, ended when it is dropped.
struct Stranger {
    child: std::process::Child,
    address: String,
    _dir: Scratch,
}

impl Stranger {
    fn serve(lab: &Lab) -> Result<Self> {
        let dir = Scratch::new()?;
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| dir.file(name));
        let mut make = e2e::lab::program::openssl();
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=stranger",
        ]);
        succeed(make.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let mut serve = e2e::lab::program::openssl();
        serve
            .args(["s_server", "-quiet", "-accept", &address])
            .arg("-key")
            .arg(&key)
            .arg("-cert")
            .arg(&certificate);
        let quiet = std::process::Stdio::null;
        let child = serve.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn()?;
        let stranger = Self {
            child,
            address,
            _dir: dir,
        };
        let answers = || std::net::TcpStream::connect(&stranger.address).is_ok();
        e2e::lab::process::wait_until(std::time::Duration::from_secs(5), "the stranger", answers)
            .with_context(|| lab.signing.clone())?;
        Ok(stranger)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The (PCR0, PCR16) of a service to be.
fn pair(lab: &Lab, options: &Options) -> Result<String> {
    let dir = Scratch::new()?;
    let policy = dir.write("policy.toml", &options.policy)?;
    let printed = succeed(Command::new(&lab.ctl).args(["--json", "policy", "pcr16"]).arg(&policy))?;
    let measured: Value = serde_json::from_str(&printed)?;
    Ok(format!(
        "{}:{}",
        options.pcr0,
        measured["pcr16"].as_str().context("no PCR16")?
    ))
}

/// The keys of another service that the lab's description has.
fn described(second: &Second<'_>) -> Result<Vec<String>> {
    let mut labels = second.labels()?;
    labels.retain(|label| !acme::is_of_ca(label));
    Ok(labels)
}

fn sealed(lab: &Lab) -> Vec<String> {
    let mut labels: Vec<String> = lab
        .keys
        .iter()
        .filter(|key| key.origin.ends_with("-sealed"))
        .map(|key| key.label.clone())
        .collect();
    labels.sort();
    labels
}

fn provision(second: &Second<'_>, lab: &Lab, name: &str, bundle: &str, key: &str) -> Result<()> {
    let ran = try_provision(second, lab, name, bundle, key)?;
    ensure!(ran.status.success(), "{}", ran.printed());
    Ok(())
}

/// Gives a second service a bundle of the lab's.
fn try_provision(second: &Second<'_>, lab: &Lab, name: &str, bundle: &str, key: &str) -> Result<Ran> {
    let file = lab.dir()?.join(format!("aws/{bundle}.json")).display().to_string();
    let arn = &lab.kms_keys[key];
    second.try_ctl(&[
        "provision",
        name,
        "--bundle",
        &file,
        "--kms-key",
        arn,
        "--usage",
        "tls",
        "--client",
        WEB_SERVERS,
    ])
}

/// `emulator_nsm::MARKER`.
const MARKER: &str = "enclave-tls stand-in NSM, not AWS";
/// What `enclave-tlsctl` says of a KMS key that the service's own policy refuses.
const NOT_IN_THE_POLICY: &str = "the policy does not allow this KMS key";
