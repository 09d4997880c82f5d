//! The lab's certificate authority, for certificates that a test has made.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Lab;
use super::program::{openssl, succeed};
use super::scratch::Scratch;

/// Signs a request: the leaf, then its issuer.
pub fn issue(lab: &Lab, request: &Path, hosts: &[&str], chain: &Path) -> Result<()> {
    let ca = lab.dir()?.join("ca");
    let extensions = chain.with_extension("ext");
    let names: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    fs::write(
        &extensions,
        format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n\
             subjectAltName={}\n",
            names.join(",")
        ),
    )?;
    let since = succeed(Command::new("date").args(["-u", "-d", "1 hour ago", "+%Y%m%d%H%M%SZ"]))?;
    let mut sign = openssl();
    sign.args([
        "ca",
        "-batch",
        "-notext",
        "-md",
        "sha256",
        "-days",
        // As long as the lab's own: the agent says what ends soon.
        "30",
        "-startdate",
        since.trim(),
    ]);
    for (option, file) in [
        ("-config", ca.join("ca.cnf")),
        ("-in", request.to_owned()),
        ("-cert", ca.join("issuer.pem")),
        ("-keyfile", ca.join("issuer.key")),
        ("-extfile", extensions),
        ("-out", chain.to_owned()),
    ] {
        sign.arg(option).arg(file);
    }
    succeed(&mut sign)?;
    let issuer = fs::read_to_string(ca.join("issuer.pem"))?;
    Ok(fs::write(chain, fs::read_to_string(chain)? + &issuer)?)
}

/// The names of a certificate of the lab's: its own, and the one that it shares with the key of the other kind.
pub fn hosts_of(lab: &Lab, label: &str) -> Result<[String; 2]> {
    let name = label.strip_prefix("lab-").context("not a key of the lab's")?;
    let (shared, _kind) = name.rsplit_once('-').context("no kind")?;
    lab.key(label)?;
    Ok([name, shared].map(|name| format!("{name}.lab.test")))
}

/// Has a key get another certificate, of the same names.
pub fn renew(lab: &Lab, label: &str) -> Result<()> {
    let scratch = Scratch::new()?;
    let (request, chain) = (scratch.file("csr.pem"), scratch.file("chain.pem"));
    let id = &lab.key(label)?.id;
    lab.ctl(&["csr", id, "--out", &request.display().to_string()])?;
    issue(
        lab,
        &request,
        &hosts_of(lab, label)?.each_ref().map(String::as_str),
        &chain,
    )?;
    lab.ctl(&["install", id, &chain.display().to_string()]).map(drop)
}
