//! The independent client: `openssl s_client`, without any configuration of ours.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::lab::Endpoint;
use crate::process::{self, text};

/// A version of TLS.
#[derive(Clone, Copy)]
pub(super) enum Tls {
    V12,
    V13,
}

impl Tls {
    pub(super) const ALL: [Self; 2] = [Self::V12, Self::V13];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }

    fn option(self) -> &'static str {
        match self {
            Self::V12 => "-tls1_2",
            Self::V13 => "-tls1_3",
        }
    }
}

/// What a client of an endpoint saw; chain and name are verified.
pub(super) struct Session {
    pub(super) cipher: String,
    /// Of the server's signature: `RSA-PSS` or `ECDSA`.
    pub(super) signature: String,
    /// The leaf's SPKI, PEM.
    pub(super) spki: String,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Session {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.headers.lines().filter_map(|line| line.split_once(": "));
        // HAProxy writes names of fields in small letters.
        let mut named = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value)
    }
}

/// One full handshake and one request, by a client that can verify signatures of this kind of key alone: a server with keys of
/// both kinds shows this one.
pub(super) fn get(endpoint: &Endpoint, ca: &Path, tls: Tls, kind: &str) -> Result<Session> {
    let mut client = s_client(endpoint, tls);
    let signatures = if kind.starts_with("RSA") { RSA } else { ECDSA };
    client
        .args(["-sigalgs", signatures])
        .args(["-verify_return_error", "-verify_hostname", &endpoint.name])
        .arg("-CAfile")
        .arg(ca);
    let request = format!("GET / HTTP/1.0\r\nHost: {}\r\n\r\n", endpoint.name);
    let (printed, complaint) = talk(client.arg("-ign_eof"), &request)?;
    ensure!(printed.contains("Verification: OK"), "not verified: {complaint}");
    ensure!(printed.contains("Verified peername: "), "the name was not verified");
    let cipher = printed
        .lines()
        .find_map(|line| line.strip_prefix("New, ")?.split_once(", Cipher is "))
        .context("no cipher")?;
    ensure!(
        cipher.0.ends_with(tls.name()),
        "TLS {} was wanted, not {}",
        tls.name(),
        cipher.0
    );
    let signature = after(&printed, "Peer signature type: ").context("the server did not sign")?;
    let (_, response) = printed.split_once("\nHTTP/1.").context("no response")?;
    let (headers, body) = response.split_once("\r\n\r\n").context("no whole response")?;
    Ok(Session {
        cipher: cipher.1.to_owned(),
        signature,
        spki: spki_of(&printed)?,
        headers: headers.replace('\r', ""),
        body: body.lines().next().unwrap_or_default().to_owned(),
    })
}

/// A client that offers RSA key exchange and nothing else: returns the alert that it got.
pub(super) fn rsa_key_exchange_only(endpoint: &Endpoint) -> Result<String> {
    let (printed, complaint) = talk(s_client(endpoint, Tls::V12).args(["-cipher", "kRSA"]), "")?;
    ensure!(printed.contains("Cipher is (NONE)"), "RSA key exchange was accepted");
    match after(&complaint, "SSL alert number ") {
        Some(number) => Ok(format!("alert {number}")),
        None => bail!("no alert: {complaint}"),
    }
}

/// The serial number of a chain's leaf.
pub(super) fn serial_of(chain: &Path) -> Result<String> {
    let line = process::capture(openssl("x509").args(["-noout", "-serial"]).arg("-in").arg(chain))?;
    Ok(line.trim().trim_start_matches("serial=").to_owned())
}

fn s_client(endpoint: &Endpoint, tls: Tls) -> Command {
    let mut command = Command::new("timeout");
    command.args(["10", "openssl", "s_client", tls.option(), "-servername", &endpoint.name]);
    command
        .args(["-connect", &format!("{}:{}", endpoint.host, endpoint.port)])
        .env_remove("OPENSSL_CONF");
    command
}

/// The leaf is the first certificate that s_client prints.
fn spki_of(printed: &str) -> Result<String> {
    let begin = printed.find("-----BEGIN CERTIFICATE-----").context("no certificate")?;
    let (spki, complaint) = talk(
        openssl("x509").args(["-noout", "-pubkey"]),
        printed.get(begin..).unwrap_or_default(),
    )?;
    ensure!(!spki.is_empty(), "no public key: {complaint}");
    Ok(spki)
}

fn openssl(command: &str) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.env_remove("OPENSSL_CONF").arg(command);
    openssl
}

/// Runs with this input; returns standard output and standard error.
fn talk(command: &mut Command, input: &str) -> Result<(String, String)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that has ended wants no more; its output says why.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output()?;
    Ok((text(&output.stdout), text(&output.stderr)))
}

/// With one of PKCS#1, as every client has: HAProxy 2.6 shows its RSA certificate to nobody who offers PSS alone.
const RSA: &str = "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256";
const ECDSA: &str = "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512";

fn after(text: &str, mark: &str) -> Option<String> {
    let (_, rest) = text.split_once(mark)?;
    Some(rest.lines().next().unwrap_or_default().trim().to_owned())
}
