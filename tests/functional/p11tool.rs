//! GnuTLS's `p11tool`.

use anyhow::{Result, ensure};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::program::run;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![test_sign_with_every_type, lists_every_private_key];

fn test_sign_with_every_type(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "RSA-4096", "P-256", "P-384", "P-521"] {
        test_sign(lab, kind, &[])?;
    }
    test_sign(lab, "Ed25519", &["--hash", "SHA512"])
}

fn test_sign(lab: &Lab, kind: &str, arguments: &[&str]) -> Result<()> {
    let label = format!("lab-e2e-p11tool-{}", kind.to_ascii_lowercase());
    let made = TestKey::create(lab, &label, kind, "digest", WEB_SERVERS)?;
    let printed = p11tool(lab, arguments, &["--test-sign", &made.key.uri(&lab.token)])?;
    for line in [
        "Signing using ",
        "Verifying against private key parameters",
        "Verifying against public key in the token",
    ] {
        let passed = printed
            .lines()
            .any(|printed| printed.starts_with(line) && printed.ends_with("ok"));
        ensure!(passed, "{kind}: {line}: {printed}");
    }
    Ok(())
}

fn lists_every_private_key(lab: &Lab) -> Result<()> {
    let printed = p11tool(
        lab,
        &[],
        &["--list-all-privkeys", &format!("pkcs11:token={}", lab.token)],
    )?;
    let shown = |key: &&Key| printed.contains(&format!("Label: {}\n", key.label));
    if let Some(key) = lab.keys.iter().find(|key| !shown(key)) {
        anyhow::bail!("{} is not listed: {printed}", key.label);
    }
    Ok(())
}

fn p11tool(lab: &Lab, options: &[&str], command: &[&str]) -> Result<String> {
    let ran = run(lab
        .command("p11tool")
        .arg("--provider")
        .arg(&lab.module)
        .arg("--batch")
        .args(options)
        .args(command))?;
    ensure!(
        ran.status.success(),
        "p11tool {command:?}: {}\n{}",
        ran.status,
        ran.printed()
    );
    Ok(ran.printed())
}
