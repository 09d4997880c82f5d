//! OpenSC's `pkcs11-tool`: what it sees of the token.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::program::{openssl, run, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab, acme};

pub(super) const TESTS: &[Test] = e2e::tests![
    one_slot_with_a_token_that_asks_for_no_login,
    three_kinds_of_objects_for_every_key,
    allowed_mechanisms_are_those_of_the_usage,
    public_keys_and_certificates_are_the_real_ones,
    mechanisms_sign_and_do_nothing_else,
    both_interfaces,
    random_bytes,
    a_forked_child_initializes_anew,
];

/// `pkcs11-tool` with the lab's module.
pub(super) fn pkcs11_tool(lab: &Lab) -> Command {
    let mut command = lab.command("pkcs11-tool");
    command.arg("--module").arg(&lab.module);
    command
}

/// The mechanisms of one type of key and usage, by the names that pkcs11-tool has for them.
pub(super) fn mechanisms(kind: &str, usage: &str) -> BTreeSet<&'static str> {
    let names: &[&str] = match (kind, usage) {
        ("Ed25519", _) => &["EDDSA"],
        (rsa, "digest") if rsa.starts_with("RSA") => &RSA,
        (rsa, "tls") if rsa.starts_with("RSA") => &[RSA_HASHING, PSS_HASHING].concat(),
        (rsa, _) if rsa.starts_with("RSA") => PSS_HASHING,
        (_, "digest") => &ECDSA,
        _ => &ECDSA[1..],
    };
    names.iter().copied().collect()
}

fn one_slot_with_a_token_that_asks_for_no_login(lab: &Lab) -> Result<()> {
    let printed = succeed(pkcs11_tool(lab).arg("-L"))?;
    ensure!(
        printed.lines().filter(|line| line.starts_with("Slot ")).count() == 1,
        "not one slot: {printed}"
    );
    ensure!(field(&printed, "token label") == Some(&lab.token), "{printed}");
    ensure!(
        field(&printed, "token manufacturer") == Some("enclave-tls"),
        "{printed}"
    );
    let flags = field(&printed, "token flags").context("no flags")?;
    ensure!(flags.contains("token initialized") && flags.contains("rng"), "{flags}");
    ensure!(
        !flags.contains("login required") && !flags.contains("PIN pad"),
        "{flags}"
    );
    Ok(())
}

fn three_kinds_of_objects_for_every_key(lab: &Lab) -> Result<()> {
    let objects = objects(lab)?;
    for key in &lab.keys {
        let own: Vec<_> = objects
            .iter()
            .filter(|object| object.field("label") == Some(&key.label))
            .collect();
        for kind in ["Private Key Object", "Public Key Object", "Certificate Object"] {
            let found = own
                .iter()
                .find(|object| object.kind.starts_with(kind) && object.field("ID") == Some(&key.id));
            found.with_context(|| format!("no {kind} of {} with its id", key.label))?;
        }
        let private = of_kind(&own, "Private").context("no private key")?;
        ensure!(
            private.field("Usage") == Some("sign"),
            "{} is for {:?}",
            key.label,
            private.field("Usage")
        );
        ensure!(
            private.field("Access") == Some("sensitive"),
            "{}: {:?}",
            key.label,
            private.field("Access")
        );
        let public = of_kind(&own, "Public").context("no public key")?;
        ensure!(
            public.kind.contains(described(key)),
            "{} is called {}",
            key.label,
            public.kind
        );
    }
    let private = objects
        .iter()
        .filter(|object| object.kind.starts_with("Private"))
        .filter(|object| !object.field("label").is_some_and(acme::is_of_ca))
        .count();
    ensure!(
        private == lab.keys.len(),
        "{private} private keys, but the lab made {}",
        lab.keys.len()
    );
    Ok(())
}

fn allowed_mechanisms_are_those_of_the_usage(lab: &Lab) -> Result<()> {
    let objects = objects(lab)?;
    for key in &lab.keys {
        let private = objects
            .iter()
            .find(|object| object.kind.starts_with("Private") && object.field("ID") == Some(&key.id));
        let listed = private
            .with_context(|| format!("no key {}", key.label))?
            .field("Allowed mechanisms");
        let listed: BTreeSet<&str> = listed
            .into_iter()
            .flat_map(|names| names.split(','))
            .map(str::trim)
            .collect();
        let wanted = match (key.kind.as_str(), key.usage.as_str()) {
            // A list of PSS alone would make pkcs11-provider take it for a key of another type (RSA-PSS), so there is none.
            ("RSA-2048", "tls-client") => BTreeSet::new(),
            (kind, usage) => mechanisms(kind, usage),
        };
        ensure!(
            listed == wanted,
            "{} ({}, {}) lists {listed:?}",
            key.label,
            key.kind,
            key.usage
        );
    }
    Ok(())
}

fn public_keys_and_certificates_are_the_real_ones(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    for key in &lab.keys {
        let spki = std::fs::read_to_string(&key.public_key)?;
        let read = |kind: &str| -> Result<_> {
            let file = scratch.file(&format!("{}.{kind}", key.label));
            let mut tool = pkcs11_tool(lab);
            succeed(
                tool.args(["--read-object", "--type", kind, "--id", &key.id, "-o"])
                    .arg(&file),
            )?;
            Ok(file)
        };
        let public = succeed(
            openssl()
                .args(["pkey", "-pubin", "-inform", "DER", "-in"])
                .arg(read("pubkey")?),
        )?;
        ensure!(public == spki, "another public key for {}:\n{public}", key.label);
        let certificate = succeed(
            openssl()
                .args(["x509", "-noout", "-pubkey", "-inform", "DER", "-in"])
                .arg(read("cert")?),
        )?;
        ensure!(
            certificate == spki,
            "a certificate of another key for {}:\n{certificate}",
            key.label
        );
    }
    Ok(())
}

/// threat_41: no decryption, no raw RSA, nothing with MD5 or SHA-1.
fn mechanisms_sign_and_do_nothing_else(lab: &Lab) -> Result<()> {
    let printed = succeed(pkcs11_tool(lab).arg("-M"))?;
    let mut names = BTreeSet::new();
    for line in printed.lines().filter(|line| line.starts_with("  ")) {
        let words: Vec<&str> = line.trim().split(", ").collect();
        names.insert(*words.first().context("an empty line")?);
        for used in [
            "encrypt",
            "decrypt",
            "wrap",
            "unwrap",
            "derive",
            "generate",
            "generate_key_pair",
            "verify",
            "digest",
        ] {
            ensure!(!words.contains(&used), "{line}");
        }
        ensure!(words.contains(&"sign"), "{line}");
    }
    let wanted: BTreeSet<&str> = RSA.iter().chain(&ECDSA).chain(&["EDDSA"]).copied().collect();
    ensure!(names == wanted, "the token lists {names:?}");
    Ok(())
}

fn both_interfaces(lab: &Lab) -> Result<()> {
    let printed = succeed(pkcs11_tool(lab).arg("--list-interfaces"))?;
    for version in ["2.40", "3.0"] {
        ensure!(
            printed.contains(&format!("version: {version}")),
            "no interface {version}: {printed}"
        );
    }
    Ok(())
}

fn random_bytes(lab: &Lab) -> Result<()> {
    let scratch = Scratch::new()?;
    let draw = |name: &str| -> Result<Vec<u8>> {
        succeed(
            pkcs11_tool(lab)
                .args(["--generate-random", "64", "-o"])
                .arg(scratch.file(name)),
        )?;
        Ok(std::fs::read(scratch.file(name))?)
    };
    let (one, other) = (draw("one")?, draw("other")?);
    ensure!(
        one.len() == 64 && other.len() == 64 && one != other,
        "{one:?} {other:?}"
    );
    Ok(())
}

/// SoftHSM2 and kryoptic fail it.
fn a_forked_child_initializes_anew(lab: &Lab) -> Result<()> {
    let ran = run(pkcs11_tool(lab).arg("--test-fork"))?;
    ensure!(ran.status.success(), "{}", ran.printed());
    ensure!(
        ran.printed().contains("C_Initialize in forked child process"),
        "no child ran: {}",
        ran.printed()
    );
    Ok(())
}

/// An object, as `-O` prints it: a line for its kind, indented lines for the rest.
struct Object {
    kind: String,
    fields: BTreeMap<String, String>,
}

impl Object {
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

fn objects(lab: &Lab) -> Result<Vec<Object>> {
    let printed = succeed(pkcs11_tool(lab).arg("-O"))?;
    let mut objects: Vec<Object> = Vec::new();
    for line in printed.lines() {
        match (line.strip_prefix("  "), objects.last_mut()) {
            (Some(field), Some(object)) => {
                let (name, value) = field.split_once(':').unwrap_or((field, ""));
                object.fields.insert(name.trim().to_owned(), value.trim().to_owned());
            }
            _ => objects.push(Object {
                kind: line.trim().to_owned(),
                fields: BTreeMap::new(),
            }),
        }
    }
    Ok(objects)
}

fn of_kind<'a>(objects: &[&'a Object], kind: &str) -> Option<&'a Object> {
    objects.iter().find(|object| object.kind.starts_with(kind)).copied()
}

/// What pkcs11-tool calls the type of a public key.
fn described(key: &Key) -> &'static str {
    if key.kind == "RSA-2048" {
        "RSA 2048 bits"
    } else {
        "EC_POINT 256 bits"
    }
}

fn field<'a>(printed: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| {
        line.trim()
            .strip_prefix(name)?
            .trim_start()
            .strip_prefix(':')
            .map(str::trim)
    };
    printed.lines().find_map(value)
}

const RSA_HASHING: &[&str] = &["SHA256-RSA-PKCS", "SHA384-RSA-PKCS", "SHA512-RSA-PKCS"];
const PSS_HASHING: &[&str] = &["SHA256-RSA-PKCS-PSS", "SHA384-RSA-PKCS-PSS", "SHA512-RSA-PKCS-PSS"];
const RSA: [&str; 8] = [
    "RSA-PKCS",
    "RSA-PKCS-PSS",
    "SHA256-RSA-PKCS",
    "SHA384-RSA-PKCS",
    "SHA512-RSA-PKCS",
    "SHA256-RSA-PKCS-PSS",
    "SHA384-RSA-PKCS-PSS",
    "SHA512-RSA-PKCS-PSS",
];
const ECDSA: [&str; 4] = ["ECDSA", "ECDSA-SHA256", "ECDSA-SHA384", "ECDSA-SHA512"];
