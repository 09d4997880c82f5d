//! A signature of every mechanism by every type of key, made through `pkcs11-tool` and verified by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::program::{openssl, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};
use enclave_wire::Hash;

use crate::pkcs11_tool::{mechanisms, pkcs11_tool};

pub(super) const TESTS: &[Test] = e2e::tests![
    rsa_2048,
    rsa_3072,
    rsa_4096,
    p_256,
    p_384,
    p_521,
    ed25519,
    tls_keys_sign_handshakes,
    tls_client_keys_sign_handshakes,
];

fn rsa_2048(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "RSA-2048")
}

fn rsa_3072(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "RSA-3072")
}

fn rsa_4096(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "RSA-4096")
}

fn p_256(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "P-256")
}

fn p_384(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "P-384")
}

fn p_521(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "P-521")
}

fn ed25519(lab: &Lab) -> Result<()> {
    every_mechanism(lab, "Ed25519")
}

/// The enclave hashes, and takes the message only as a whole handshake message.
fn tls_keys_sign_handshakes(lab: &Lab) -> Result<()> {
    let message = certificate_verify("TLS 1.3, server CertificateVerify", 32);
    for (kind, names) in HANDSHAKE_MECHANISMS {
        let key = lab.key_of(kind, "tls", "born")?;
        names.iter().try_for_each(|name| check(lab, key, name, &message))?;
    }
    Ok(())
}

fn tls_client_keys_sign_handshakes(lab: &Lab) -> Result<()> {
    let message = certificate_verify("TLS 1.3, client CertificateVerify", 48);
    for (kind, names) in HANDSHAKE_MECHANISMS {
        let key = lab.key_of(kind, "tls-client", "born")?;
        names.iter().try_for_each(|name| check(lab, key, name, &message))?;
    }
    Ok(())
}

fn every_mechanism(lab: &Lab, kind: &str) -> Result<()> {
    let label = format!("lab-e2e-{}", kind.to_ascii_lowercase());
    let made = TestKey::create(lab, &label, kind, "digest", WEB_SERVERS)?;
    for mechanism in mechanisms(kind, "digest") {
        for message in [&b"short"[..], &[b'm'; ONE_PART], &[b'l'; LONGEST]] {
            check(lab, &made.key, mechanism, message)?;
        }
    }
    Ok(())
}

/// Signs a message by one mechanism, in each form in which it takes one, and verifies.
fn check(lab: &Lab, key: &Key, mechanism: &str, message: &[u8]) -> Result<()> {
    let hashed: Vec<Option<Hash>> = match mechanism {
        "RSA-PKCS" | "RSA-PKCS-PSS" | "ECDSA" => Hash::ALL.iter().copied().map(Some).collect(),
        _ => vec![None],
    };
    for by in hashed {
        let files = Files::of(message)?;
        sign(lab, key, mechanism, by, &files)
            .and_then(|()| verify(key, mechanism, by, &files))
            .with_context(|| {
                format!(
                    "{} by {mechanism} over {} bytes, hashed by the caller: {by:?}",
                    key.label,
                    message.len()
                )
            })?;
    }
    Ok(())
}

struct Files {
    scratch: Scratch,
    message: PathBuf,
    signature: PathBuf,
}

impl Files {
    fn of(message: &[u8]) -> Result<Self> {
        let scratch = Scratch::new()?;
        Ok(Self {
            message: scratch.write("message", message)?,
            signature: scratch.file("signature"),
            scratch,
        })
    }
}

fn sign(lab: &Lab, key: &Key, mechanism: &str, by: Option<Hash>, files: &Files) -> Result<()> {
    let mut tool = pkcs11_tool(lab);
    tool.args(["--sign", "--id", &key.id, "--mechanism", mechanism]);
    let mut input = files.message.clone();
    if let Some(hash) = by {
        let digest = digest_of(hash, &files.message, &files.scratch)?;
        input = match mechanism {
            "RSA-PKCS" => files.scratch.write(
                "info",
                [&hash.digest_info_prefix()[..], &std::fs::read(&digest)?].concat(),
            )?,
            _ => digest,
        };
        if mechanism == "RSA-PKCS-PSS" {
            tool.args(["--hash-algorithm", name_of(hash)]);
        }
    }
    if mechanism.starts_with("ECDSA") {
        tool.args(["--signature-format", "openssl"]);
    }
    succeed(
        tool.arg("--input-file")
            .arg(input)
            .arg("--output-file")
            .arg(&files.signature),
    )
    .map(drop)
}

fn verify(key: &Key, mechanism: &str, by: Option<Hash>, files: &Files) -> Result<()> {
    let printed = if mechanism == "EDDSA" {
        let mut check = openssl();
        check
            .args(["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey"])
            .arg(&key.public_key);
        succeed(
            check
                .arg("-in")
                .arg(&files.message)
                .arg("-sigfile")
                .arg(&files.signature),
        )?
    } else {
        let hash = by.or_else(|| {
            Hash::ALL
                .iter()
                .copied()
                .find(|hash| mechanism.contains(name_of(*hash)))
        });
        let option = format!("-{}", name_of(hash.context("no hash")?).to_ascii_lowercase());
        let mut check = openssl();
        check.args(["dgst", &option]).arg("-verify").arg(&key.public_key);
        if mechanism.ends_with("PSS") {
            check.args(["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"]);
        }
        succeed(check.arg("-signature").arg(&files.signature).arg(&files.message))?
    };
    ensure!(printed.contains("Verified"), "{printed}");
    Ok(())
}

fn digest_of(hash: Hash, message: &Path, scratch: &Scratch) -> Result<PathBuf> {
    let out = scratch.file("digest");
    let option = format!("-{}", name_of(hash).to_ascii_lowercase());
    let mut digest: Command = openssl();
    succeed(digest.args(["dgst", "-binary", &option, "-out"]).arg(&out).arg(message))?;
    Ok(out)
}

fn name_of(hash: Hash) -> &'static str {
    match hash {
        Hash::Sha256 => "SHA256",
        Hash::Sha384 => "SHA384",
        Hash::Sha512 => "SHA512",
    }
}

/// RFC 8446, section 4.4.3.
fn certificate_verify(context: &str, hash_len: usize) -> Vec<u8> {
    [&[0x20; 64], context.as_bytes(), &[0], &vec![0x5a; hash_len]].concat()
}

/// What a TLS 1.3 handshake may ask of each type.
const HANDSHAKE_MECHANISMS: [(&str, &[&str]); 2] = [
    (
        "RSA-2048",
        &["SHA256-RSA-PKCS-PSS", "SHA384-RSA-PKCS-PSS", "SHA512-RSA-PKCS-PSS"],
    ),
    ("P-256", &["ECDSA-SHA256"]),
];

/// pkcs11-tool signs this much by one `C_Sign`, and more by `C_SignUpdate`.
const ONE_PART: usize = 512;
/// The most that any mechanism takes.
const LONGEST: usize = 16_384;
