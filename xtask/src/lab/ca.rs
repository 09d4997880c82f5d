//! A throw-away certificate authority: a root, and an issuer below it, as in the real world.

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use anyhow::Result;

use super::place::Place;
use super::plan::Kind;
use crate::process;

/// Makes root and issuer.
pub(super) fn create(place: &Place) -> Result<()> {
    let extensions = place.ca("issuer.ext");
    fs::write(
        &extensions,
        "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n",
    )?;
    for name in ["root", "issuer"] {
        new_key(Kind::P256, &place.ca(&format!("{name}.key")))?;
    }
    let mut root = openssl(&[
        "req",
        "-x509",
        "-new",
        "-days",
        DAYS,
        "-subj",
        "/CN=enclave-tls lab root",
    ]);
    root.arg("-key")
        .arg(place.ca("root.key"))
        .arg("-out")
        .arg(place.ca_certificate());
    root.args([
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]);
    process::run(&mut root)?;
    let request = place.ca("issuer.csr");
    let mut ask = openssl(&["req", "-new", "-subj", "/CN=enclave-tls lab issuer"]);
    process::run(ask.arg("-key").arg(place.ca("issuer.key")).arg("-out").arg(&request))?;
    sign(place, "root", &request, &extensions, &place.ca("issuer.pem"))
}

/// Makes the root that stands for Amazon's, which the lab's policy names, and a certificate of it for each AWS host. With the
/// address too, for the administrator's tools, which are told an address.
pub(super) fn create_aws(place: &Place, hosts: &[&str]) -> Result<()> {
    new_key(Kind::P256, &place.ca("aws.key"))?;
    let mut root = openssl(&[
        "req",
        "-x509",
        "-new",
        "-days",
        DAYS,
        "-subj",
        "/CN=enclave-tls lab, not Amazon",
    ]);
    root.arg("-key")
        .arg(place.ca("aws.key"))
        .arg("-out")
        .arg(place.ca("aws.pem"));
    process::run(root.args([
        "-addext",
        "basicConstraints=critical,CA:TRUE",
        "-addext",
        "keyUsage=critical,keyCertSign,cRLSign",
    ]))?;
    for host in hosts {
        let [key, asked, extensions, leaf] = ["key", "csr", "ext", "pem"].map(|end| place.ca(&format!("{host}.{end}")));
        new_key(Kind::P256, &key)?;
        request(&key, host, &asked)?;
        fs::write(
            &extensions,
            format!(
                "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\nsubjectAltName=DNS:{host},IP:127.0.0.1\n"
            ),
        )?;
        sign(place, "aws", &asked, &extensions, &leaf)?;
    }
    Ok(())
}

/// Signs a request: the chain to serve is leaf and issuer.
pub(super) fn issue(place: &Place, request: &Path, hosts: &[String], purpose: &str, chain: &Path) -> Result<()> {
    let names: Vec<_> = hosts.iter().map(|host| format!("DNS:{host}")).collect();
    let extensions = chain.with_extension("ext");
    fs::write(
        &extensions,
        format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
             extendedKeyUsage={purpose}\nsubjectAltName={}\n",
            names.join(",")
        ),
    )?;
    sign(place, "issuer", request, &extensions, chain)?;
    let issuer = fs::read_to_string(place.ca("issuer.pem"))?;
    fs::write(chain, fs::read_to_string(chain)? + &issuer)?;
    Ok(fs::remove_file(&extensions)?)
}

/// A request for a key that lies in a file.
pub(super) fn request(key: &Path, host: &str, out: &Path) -> Result<()> {
    let mut ask = openssl(&["req", "-new", "-subj"]);
    process::run(ask.arg(format!("/CN={host}")).arg("-key").arg(key).arg("-out").arg(out))
}

/// A new key in a file, PKCS#8.
pub(super) fn new_key(kind: Kind, out: &Path) -> Result<()> {
    process::run(
        openssl(&["genpkey", "-quiet"])
            .args(kind.openssl())
            .arg("-out")
            .arg(out),
    )
}

/// The same key, PKCS#8 in DER.
pub(super) fn to_der(key: &Path, out: &Path) -> Result<()> {
    let mut convert = openssl(&["pkcs8", "-topk8", "-nocrypt", "-outform", "DER"]);
    process::run(convert.arg("-in").arg(key).arg("-out").arg(out))
}

/// Writes the public key of a chain's leaf, as SPKI in PEM.
pub(super) fn public_key(chain: &Path, out: &Path) -> Result<()> {
    let pem = process::capture(openssl(&["x509", "-noout", "-pubkey"]).arg("-in").arg(chain))?;
    Ok(fs::write(out, pem)?)
}

/// The id of a chain's key: SHA-256 of its SPKI, in hexadecimal.
pub(super) fn key_id(chain: &Path) -> Result<String> {
    let pem = chain.with_extension("spki");
    public_key(chain, &pem)?;
    let der = process::output(openssl(&["pkey", "-pubin", "-outform", "DER"]).arg("-in").arg(&pem))?;
    fs::remove_file(&pem)?;
    Ok(hex::encode(Sha256::digest(&der.stdout)))
}

/// Signs from an hour ago on, as CAs do: clocks differ, and an emulated machine's NSM counts whole seconds.
fn sign(place: &Place, by: &str, request: &Path, extensions: &Path, out: &Path) -> Result<()> {
    let config = place.ca("ca.cnf");
    if !config.exists() {
        fs::write(place.ca("index"), "")?;
        fs::write(&config, CONFIG.replace("DIR", &place.ca("").display().to_string()))?;
    }
    let since = process::capture(Command::new("date").args(["-u", "-d", "1 hour ago", "+%Y%m%d%H%M%SZ"]))?;
    let mut sign = openssl(&["ca", "-batch", "-notext", "-md", "sha256", "-days", DAYS]);
    sign.args(["-startdate", since.trim(), "-config"]).arg(&config);
    for (option, file) in [
        ("-in", request),
        ("-cert", &place.ca(&format!("{by}.pem"))),
        ("-keyfile", &place.ca(&format!("{by}.key"))),
        ("-extfile", extensions),
        ("-out", out),
    ] {
        sign.arg(option).arg(file);
    }
    process::run(&mut sign)
}

/// The system's openssl, untouched by any configuration that the caller has in its environment.
fn openssl(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.env_remove("OPENSSL_CONF").args(arguments);
    command
}

/// Longer than any lab lives.
const DAYS: &str = "30";

/// What `openssl ca` wants to have.
const CONFIG: &str = "\
[ca]
default_ca = lab
[lab]
database = DIR/index
new_certs_dir = DIR
rand_serial = yes
unique_subject = no
policy = any
[any]
commonName = supplied
";
