//! An image that somebody signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha384};

use super::{PORT, Place, Stage};
use crate::image::{Image, Inputs, Signer};
use crate::machine::Document;
use crate::process;

/// The builder, the booted machine and the certificate itself say the same; and of what is in the image nothing else is said.
pub(super) fn pcr8(stage: &Stage<'_>) -> Result<()> {
    let (certificate, key) = new_signer(&stage.place, "signer")?;
    let signed = Inputs {
        signer: Some(Signer::new(&certificate, &key)?),
        ..stage.probe.clone()
    };
    let (plain_file, plain) = &stage.probed;
    let (signed_file, signed) = stage.write("signed", &signed)?;
    let wanted = of_certificate(&certificate)?;
    ensure!(
        signed.measurements.pcr8.as_ref() == Some(&wanted),
        "the builder says {:?}, the certificate {wanted}",
        signed.measurements.pcr8
    );
    ensure!(
        signed.measurements.pcrs == plain.measurements.pcrs,
        "a signature changes another register"
    );
    ensure!(json_of(&signed_file)? == signed, "the JSON beside it says otherwise");
    let text = fs::read_to_string(plain_file.with_extension("json"))?;
    ensure!(!text.contains("PCR8"), "nobody signed, and the JSON has {text}");
    for (name, image, wanted) in [
        ("signed", &signed_file, wanted),
        ("not-signed", plain_file, "00".repeat(48)),
    ] {
        let document = Document::read(&stage.boot_probe(name, image)?.ask(PORT, "document")?)?;
        let found = document.pcr(8)?;
        ensure!(found == wanted, "PCR8 of the {name} image is {found}, not {wanted}");
        ensure!(
            document.pcr(0)? == plain.measurements.pcrs.pcr0,
            "the {name} image has another PCR0 where it runs"
        );
    }
    Ok(())
}

pub(super) fn another_key(stage: &Stage<'_>) -> Result<()> {
    let (certificate, key) = new_signer(&stage.place, "one")?;
    let (_, another) = new_signer(&stage.place, "another")?;
    Signer::new(&certificate, &key).context("the control: its own key")?;
    let Err(refused) = Signer::new(&certificate, &another) else {
        anyhow::bail!("another's key was taken");
    };
    ensure!(format!("{refused:#}").contains("is not the key of"), "{refused:#}");
    Ok(())
}

/// As AWS's builder does it: the register, all zero, is extended once by the certificate's hash.
fn of_certificate(pem: &Path) -> Result<String> {
    let der = pem.with_extension("der");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-outform", "DER", "-in"]).arg(pem);
    process::run(openssl.arg("-out").arg(&der))?;
    let hash = Sha384::digest(fs::read(der)?);
    Ok(hex::encode(Sha384::digest([&[0_u8; 48][..], &hash[..]].concat())))
}

/// A certificate of its own and its key.
fn new_signer(place: &Place, name: &str) -> Result<(PathBuf, PathBuf)> {
    let [certificate, key] = ["pem", "key"].map(|ending| place.file(&format!("{name}.{ending}")));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-384",
        "-nodes",
        "-days",
        "30",
    ]);
    openssl.args(["-subj", &format!("/CN={name}"), "-keyout"]).arg(&key);
    process::run(openssl.arg("-out").arg(&certificate))?;
    Ok((certificate, key))
}

fn json_of(image: &Path) -> Result<Image> {
    Ok(serde_json::from_slice(&fs::read(image.with_extension("json"))?)?)
}
