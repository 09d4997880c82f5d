//! The `openssl` program with the module, through libp11's engine and through pkcs11-provider.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::lab::keys::{TestKey, WEB_SERVERS};
use e2e::lab::program::{openssl, run_with_input, succeed};
use e2e::lab::scratch::Scratch;
use e2e::lab::suite::Test;
use e2e::lab::{Key, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    pkeyutl_through_the_provider,
    pkeyutl_through_the_engine,
    both_ends_of_a_handshake_through_the_provider,
    both_ends_of_a_handshake_through_the_engine,
    a_tls_client_key_in_s_client,
];

fn pkeyutl_through_the_provider(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "P-256", "P-384", "P-521"] {
        pkeyutl(lab, "provider", kind)?;
    }
    // Ed25519 takes the message itself; libp11's engine has none.
    let made = TestKey::create(lab, "lab-e2e-pkeyutl-ed25519", "Ed25519", "digest", WEB_SERVERS)?;
    let scratch = Scratch::new()?;
    let message = scratch.write("message", [b'm'; 1000])?;
    sign_and_verify(
        lab,
        "provider",
        &made.key,
        &["-rawin", "-in", &message.display().to_string()],
    )
}

fn pkeyutl_through_the_engine(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "P-256", "P-384", "P-521"] {
        pkeyutl(lab, "engine", kind)?;
    }
    Ok(())
}

fn pkeyutl(lab: &Lab, via: &str, kind: &str) -> Result<()> {
    let made = TestKey::create(
        lab,
        &format!("lab-e2e-pkeyutl-{}", kind.to_ascii_lowercase()),
        kind,
        "digest",
        WEB_SERVERS,
    )?;
    let scratch = Scratch::new()?;
    for (hash, length) in [("sha256", 32), ("sha384", 48), ("sha512", 64)] {
        let digest = scratch.write(hash, vec![0xd1; length])?.display().to_string();
        let option = format!("digest:{hash}");
        let plain = ["-in", &digest, "-pkeyopt", &option];
        sign_and_verify(lab, via, &made.key, &plain)?;
        if kind.starts_with("RSA") {
            let pss = ["-pkeyopt", "rsa_padding_mode:pss", "-pkeyopt", "rsa_pss_saltlen:digest"];
            sign_and_verify(lab, via, &made.key, &[&plain[..], &pss].concat())?;
        }
    }
    Ok(())
}

/// Signs through the module and verifies without it.
fn sign_and_verify(lab: &Lab, via: &str, key: &Key, options: &[&str]) -> Result<()> {
    let scratch = Scratch::new()?;
    let signature = scratch.file("signature");
    let mut sign = lab.openssl(via)?;
    sign.args(["pkeyutl", "-sign", "-out"]).arg(&signature).args(options);
    succeed(with_key(&mut sign, lab, via, key)).with_context(|| format!("{} by {via}, {options:?}", key.kind))?;
    let mut verify = openssl();
    verify
        .args(["pkeyutl", "-verify", "-pubin", "-inkey"])
        .arg(&key.public_key)
        .arg("-sigfile")
        .arg(&signature)
        .args(options);
    let printed = succeed(&mut verify).with_context(|| format!("{} by {via}, {options:?}", key.kind))?;
    ensure!(printed.contains("Signature Verified Successfully"), "{printed}");
    Ok(())
}

fn both_ends_of_a_handshake_through_the_provider(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "P-256", "P-384", "P-521", "Ed25519"] {
        both_ends(lab, "provider", kind)?;
    }
    Ok(())
}

fn both_ends_of_a_handshake_through_the_engine(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "P-256", "P-384", "P-521"] {
        both_ends(lab, "engine", kind)?;
    }
    Ok(())
}

/// The key signs its own certificate; then `s_server` and `s_client` show it, each to an openssl that knows no module.
fn both_ends(lab: &Lab, via: &str, kind: &str) -> Result<()> {
    let label = format!("lab-e2e-s-client-{}", kind.to_ascii_lowercase());
    let made = TestKey::create(lab, &label, kind, "digest", WEB_SERVERS)?;
    let own = Identity::self_signed(lab, via, &made.key)?;
    let plain = Identity::in_a_file()?;
    for tls in ["-tls1_2", "-tls1_3"] {
        let what = || format!("{kind} by {via}, {tls}");
        let mut server = lab.openssl(via)?;
        server.args(["s_server", "-cert"]).arg(&own.certificate);
        let server = Server::start(own.key_of(lab, &mut server)?).with_context(what)?;
        let mut client = openssl();
        server
            .get(client.arg("s_client").arg(tls).arg("-CAfile").arg(&own.certificate))
            .with_context(what)?;

        let mut server = openssl();
        server
            .args(["s_server", "-Verify", "1", "-verify_return_error", "-CAfile"])
            .arg(&own.certificate);
        let server =
            Server::start(plain.key_of(lab, server.arg("-cert").arg(&plain.certificate))?).with_context(what)?;
        let mut client = lab.openssl(via)?;
        client
            .arg("s_client")
            .arg(tls)
            .arg("-CAfile")
            .arg(&plain.certificate)
            .arg("-cert")
            .arg(&own.certificate);
        let page = server.get(own.key_of(lab, &mut client)?).with_context(what)?;
        ensure!(
            page.contains("Client certificate"),
            "{}: no client certificate: {page}",
            what()
        );
    }
    Ok(())
}

fn a_tls_client_key_in_s_client(lab: &Lab) -> Result<()> {
    for kind in ["RSA-2048", "P-256"] {
        let key = lab.key_of(kind, "tls-client", "born")?;
        let plain = Identity::in_a_file()?;
        let mut server = openssl();
        server
            .args(["s_server", "-Verify", "3", "-verify_return_error", "-CAfile"])
            .arg(&lab.ca);
        let server = Server::start(plain.key_of(lab, server.arg("-cert").arg(&plain.certificate))?)?;
        let mut client = lab.openssl("provider")?;
        client
            .args(["s_client", "-tls1_3", "-cert"])
            .arg(&key.chain)
            .arg("-cert_chain")
            .arg(&key.chain);
        client.arg("-CAfile").arg(&plain.certificate);
        let page = server.get(with_uri(&mut client, "-key", lab, key))?;
        ensure!(
            page.contains("Client certificate"),
            "{kind}: no client certificate: {page}"
        );
    }
    Ok(())
}

/// A certificate with its key, which is the module's or lies in a file.
pub(super) struct Identity<'a> {
    scratch: Scratch,
    pub(super) certificate: PathBuf,
    key: Option<(&'a str, &'a Key)>,
}

impl<'a> Identity<'a> {
    pub(super) fn self_signed(lab: &Lab, via: &'a str, key: &'a Key) -> Result<Self> {
        let scratch = Scratch::new()?;
        let identity = Self {
            certificate: scratch.file("certificate.pem"),
            scratch,
            key: Some((via, key)),
        };
        let mut request = lab.openssl(via)?;
        request
            .args(["req", "-x509", "-new", "-days", "2", "-out"])
            .arg(&identity.certificate)
            .args(SUBJECT);
        request.arg("-config").arg(identity.scratch.write("req.cnf", REQUEST)?);
        succeed(identity.key_of(lab, &mut request)?)?;
        Ok(identity)
    }

    fn in_a_file() -> Result<Self> {
        let scratch = Scratch::new()?;
        let identity = Self {
            certificate: scratch.file("certificate.pem"),
            scratch,
            key: None,
        };
        let mut request = openssl();
        request.args([
            "req",
            "-x509",
            "-noenc",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-keyout",
        ]);
        request
            .arg(identity.scratch.file("key.pem"))
            .arg("-out")
            .arg(&identity.certificate)
            .args(SUBJECT);
        succeed(&mut request)?;
        Ok(identity)
    }

    /// Names the key on the command line of `req`, `s_server` or `s_client`.
    pub(super) fn key_of<'c>(&self, lab: &Lab, command: &'c mut Command) -> Result<&'c mut Command> {
        Ok(match self.key {
            None => command.arg("-key").arg(self.scratch.file("key.pem")),
            Some(("engine", key)) => with_uri(
                command.args(["-engine", "pkcs11", "-keyform", "engine"]),
                "-key",
                lab,
                key,
            ),
            Some((_, key)) => with_uri(command, "-key", lab, key),
        })
    }
}

/// An `s_server` that answers each request with what it knows of the handshake.
pub(super) struct Server {
    process: Child,
    pub(super) address: String,
}

impl Server {
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command
            .args(["-accept", "127.0.0.1:0", "-www"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().context("no output")?;
        let mut server = Self {
            process,
            address: String::new(),
        };
        for line in BufReader::new(stdout).lines() {
            if let Some(address) = line?.strip_prefix("ACCEPT ") {
                address.clone_into(&mut server.address);
                return Ok(server);
            }
        }
        let status = server.process.wait()?;
        anyhow::bail!("s_server does not start: {status}")
    }

    /// One handshake, verified, and the page that comes over it.
    pub(super) fn get(&self, client: &mut Command) -> Result<String> {
        client.args(["-connect", &self.address, "-verify_return_error", "-ign_eof"]);
        let ran = run_with_input(client, b"GET / HTTP/1.0\r\n\r\n")?;
        ensure!(
            ran.stdout.contains("Verification: OK"),
            "not verified: {}",
            ran.printed()
        );
        ensure!(ran.stdout.contains("HTTP/1.0 200"), "no page: {}", ran.printed());
        Ok(ran.stdout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill()); // it may have ended
        drop(self.process.wait());
    }
}

fn with_key<'c>(command: &'c mut Command, lab: &Lab, via: &str, key: &Key) -> &'c mut Command {
    if via == "engine" {
        command.args(["-engine", "pkcs11", "-keyform", "engine"]);
    }
    with_uri(command, "-inkey", lab, key)
}

fn with_uri<'c>(command: &'c mut Command, option: &str, lab: &Lab, key: &Key) -> &'c mut Command {
    command.arg(option).arg(key.uri(&lab.token))
}

const SUBJECT: [&str; 2] = ["-subj", "/CN=e2e.lab.test"];
/// `req` reads a configuration of its own, and OPENSSL_CONF names one that has no section for it.
const REQUEST: &str = "[req]\ndistinguished_name = name\nx509_extensions = extensions\n[name]\n[extensions]\n\
                       basicConstraints = critical, CA:TRUE\n";
