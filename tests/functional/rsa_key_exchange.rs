//! threat_41: RSA key exchange needs a key that decrypts, and none in the service does. A client that offers only that
//! gets an alert, and the worker lives: with the snippets, which exclude it, and in an NGINX whose owner forgot them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::lab::process;
use e2e::lab::program::run;
use e2e::lab::scratch::Scratch;
use e2e::lab::server::{Server, Tls, get, s_client};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    threat_41_a_client_of_rsa_key_exchange_gets_an_alert,
    threat_41_so_it_does_where_the_ciphers_allow_it,
    threat_41_malformed_key_exchanges_get_one_alert,
];

fn threat_41_a_client_of_rsa_key_exchange_gets_an_alert(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine", "httpd-provider", "httpd-engine", "haproxy"] {
        let endpoint = lab.lasting_endpoint(via, "RSA-2048")?;
        let server = Server::of(lab, via);
        let workers = server.workers()?;
        for _ in 0..8 {
            let complaint = refused(endpoint)?;
            ensure!(complaint.contains("alert handshake failure"), "{endpoint}: {complaint}");
        }
        ensure!(server.workers()? == workers, "{via}: a worker died");
        server.wake_every_worker(endpoint, Tls::V12)?;
    }
    Ok(())
}

fn threat_41_so_it_does_where_the_ciphers_allow_it(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine"] {
        let careless = Careless::start(lab, via)?;
        let workers = careless.workers();
        for _ in 0..8 {
            let complaint = refused(&careless.endpoint)?;
            ensure!(complaint.contains("SSL alert number"), "{via}: no alert: {complaint}");
        }
        careless.serves_on(lab, &workers)?;
    }
    Ok(())
}

/// Nothing of what was sent may show in the answer, or the server is an oracle (Bleichenbacher, ROBOT).
fn threat_41_malformed_key_exchanges_get_one_alert(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine"] {
        let careless = Careless::start(lab, via)?;
        let workers = careless.workers();
        let mut alerts = BTreeSet::new();
        for premaster in [
            vec![0x5a; 256],
            vec![0; 256],
            vec![0xff; 256],
            vec![1; 48],
            vec![1; 257],
            vec![1],
        ] {
            let alert = key_exchange(&careless.endpoint, &premaster);
            alerts
                .insert(alert.with_context(|| format!("{via}: {} bytes of {:?}", premaster.len(), premaster.first()))?);
        }
        ensure!(alerts.len() == 1, "{via}: the alerts tell them apart: {alerts:?}");
        careless.serves_on(lab, &workers)?;
    }
    Ok(())
}

/// A client that offers nothing but RSA key exchange; returns what it complained of.
fn refused(endpoint: &Endpoint) -> Result<String> {
    let ran = run(s_client(endpoint, Tls::V12).args(["-cipher", "kRSA:@SECLEVEL=0"]))?;
    ensure!(!ran.status.success(), "it was served: {}", ran.printed());
    Ok(ran.stderr)
}

/// A handshake by hand up to the ClientKeyExchange, with these bytes where the encrypted secret should be; returns the alert.
fn key_exchange(endpoint: &Endpoint, premaster: &[u8]) -> Result<[u8; 2]> {
    let mut stream = TcpStream::connect(endpoint.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(&record(22, &message(1, &client_hello(&endpoint.name)?)?)?)?;
    // To the end of the ServerHelloDone, which is empty.
    let mut flight = Vec::new();
    while !flight.ends_with(&[14, 0, 0, 0]) {
        let (kind, body) = read_record(&mut stream)?;
        ensure!(kind == 22, "no handshake: record {kind}, {body:?}");
        flight.extend(body);
    }
    let exchange = [&u16::try_from(premaster.len())?.to_be_bytes()[..], premaster].concat();
    let finished = [record(20, &[1])?, record(22, &[0x77; 40])?].concat();
    stream.write_all(&record(22, &message(16, &exchange)?)?)?;
    drop(stream.write_all(&finished)); // it may have hung up already
    let (kind, body) = read_record(&mut stream).context("no alert")?;
    ensure!(kind == 21, "no alert: record {kind}");
    body.try_into().map_err(|body| anyhow::anyhow!("no alert: {body:?}"))
}

fn client_hello(name: &str) -> Result<Vec<u8>> {
    let host = u16::try_from(name.len())?;
    let server_name = [
        &(host + 3).to_be_bytes()[..],
        &[0],
        &host.to_be_bytes(),
        name.as_bytes(),
    ]
    .concat();
    let signatures = [0, 6, 4, 1, 8, 4, 5, 1]; // PKCS#1 and PSS with SHA-256, PKCS#1 with SHA-384
    let extensions = [
        &[0, 0][..],
        &u16::try_from(server_name.len())?.to_be_bytes(),
        &server_name,
        &[0, 13],
        &u16::try_from(signatures.len())?.to_be_bytes(),
        &signatures,
    ]
    .concat();
    // TLS 1.2; a random; no session; TLS_RSA_WITH_AES_128_GCM_SHA256; no compression.
    let hello = [&[3, 3][..], &[0x42; 32], &[0], &[0, 2, 0, 0x9c], &[1, 0]].concat();
    Ok([&hello[..], &u16::try_from(extensions.len())?.to_be_bytes(), &extensions].concat())
}

fn message(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    let [_, length @ ..] = u32::try_from(body.len())?.to_be_bytes();
    Ok([&[kind][..], &length, body].concat())
}

fn record(kind: u8, body: &[u8]) -> Result<Vec<u8>> {
    Ok([&[kind, 3, 3][..], &u16::try_from(body.len())?.to_be_bytes(), body].concat())
}

fn read_record(stream: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let [kind, _, _, high, low] = header;
    let mut body = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

/// An NGINX with the lab's keys that allows RSA key exchange.
struct Careless {
    master: Child,
    endpoint: Endpoint,
    _scratch: Scratch,
}

impl Careless {
    fn start(lab: &Lab, via: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let files = lab.files(via)?;
        let own = files.conf.parent().context("no directory")?;
        let mut endpoint = lab.lasting_endpoint(via, "RSA-2048")?.clone();
        let mut text = fs::read_to_string(&files.conf)?;
        text = text.replace(
            &format!("{}/", own.display()),
            &format!("{}/", scratch.path().display()),
        );
        text = text.replace(
            &files.error_log.display().to_string(),
            &scratch.file("error.log").display().to_string(),
        );
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for line in &mut lines {
            if line.trim_start().starts_with("include ") && line.ends_with("/tls.conf;") {
                *line = "ssl_ciphers ALL:@SECLEVEL=0; ssl_protocols TLSv1.2 TLSv1.3;".to_owned();
            } else if line.trim_start().starts_with("listen ") {
                let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
                if line.contains(&format!(":{} ", endpoint.port)) {
                    endpoint.port = port;
                }
                *line = format!("listen 127.0.0.1:{port} ssl;");
            }
        }
        ensure!(
            lines.iter().any(|line| line.contains("SECLEVEL=0")),
            "{} sets no ciphers",
            files.conf.display()
        );
        let conf = scratch.write("nginx.conf", lines.join("\n") + "\n")?;
        let master = Self::command(lab, via, scratch.path(), &conf)?.spawn()?;
        let careless = Self {
            master,
            endpoint,
            _scratch: scratch,
        };
        process::wait_until(Duration::from_secs(10), "an NGINX of the test's own", || {
            TcpStream::connect(careless.endpoint.address()).is_ok() && careless.workers().len() == 2
        })?;
        Ok(careless)
    }

    fn command(lab: &Lab, via: &str, prefix: &Path, conf: &Path) -> Result<Command> {
        let nginx = lab.program(&format!("nginx-{via}"))?;
        let mut command = lab.command(nginx);
        command.env(
            "OPENSSL_CONF",
            lab.openssl_conf.get(via).context("no configuration for OpenSSL")?,
        );
        command
            .args(["-g", "daemon off;", "-p"])
            .arg(prefix)
            .arg("-c")
            .arg(conf);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }

    fn workers(&self) -> Vec<u32> {
        process::children(self.master.id())
    }

    /// The same workers do what they should.
    fn serves_on(&self, lab: &Lab, workers: &[u32]) -> Result<()> {
        ensure!(
            self.workers() == workers,
            "a worker died: {workers:?} {:?}",
            self.workers()
        );
        for tls in Tls::ALL {
            let session = get(lab, &self.endpoint, tls, &[])?;
            ensure!(
                workers.contains(&session.worker),
                "{} is none of {workers:?}",
                session.worker
            );
        }
        Ok(())
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        // Its workers end with it; a kill would leave them behind.
        drop(process::signal(self.master.id(), process::Signal::TERM));
        drop(self.master.wait());
    }
}
