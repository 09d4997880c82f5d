//! Runs the real `tlsload` against a rustls server in this process, with certificates made by `openssl`.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect, its helpers too"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, LazyLock};
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SignatureScheme, Stream};
use serde_json::Value;

#[test]
fn good_handshakes_are_counted_by_key_and_worker() {
    for version in ["1.2", "1.3"] {
        for (sig, spki) in [("ecdsa", &PKI.ecdsa.spki), ("rsa", &PKI.rsa.spki)] {
            let port = serve(Clients::Any).to_string();
            let other = "00".repeat(32);
            let arguments = [
                "--count", "20", "--tls", version, "--sig", sig, "--http", "/", "--spki", &other, spki,
            ];
            let report = tlsload(&[&format!("127.0.0.1:{port}")], "localhost", "ca", &arguments);
            assert_eq!(
                (&report["ok"], &report["failed"], &report["ended"]),
                (&20.into(), &0.into(), &"count".into())
            );
            let endpoint = &report["endpoints"][0];
            assert_eq!(endpoint["keys"][spki], 20, "{version} {sig}");
            assert_eq!(endpoint["workers"]["4711"], 20);
            assert!(endpoint["handshake_us"]["p50"].as_u64().unwrap() > 0);
            let sum: u64 = endpoint["ok_per_100ms"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap())
                .sum();
            assert_eq!(sum, 20);
        }
    }
}

#[test]
fn every_failure_has_its_kind() {
    let server = format!("127.0.0.1:{}", serve(Clients::Any));
    let dead = format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    );
    let closing = format!("127.0.0.1:{}", serve(Clients::None));
    let count = ["--count", "3"];
    let zeros = "00".repeat(32);
    let cases: [(&str, &str, &str, &[&str], &str); 6] = [
        (&server, "other.example", "ca", &[], "verify"),
        (&server, "localhost", "other", &[], "verify"),
        (&server, "localhost", "ca", &["--spki", &zeros], "wrong-key"),
        (&server, "localhost", "ca", &["--sig", "ed25519"], "alert"),
        (&dead, "localhost", "ca", &[], "refused"),
        (&closing, "localhost", "ca", &[], "closed"),
    ];
    for (address, name, ca, arguments, kind) in cases {
        let report = tlsload(&[address], name, ca, &[&count, arguments].concat());
        assert_eq!((&report["ok"], &report["failed"]), (&0.into(), &3.into()), "{kind}");
        let endpoint = &report["endpoints"][0];
        assert_eq!(endpoint["failed_by_kind"][kind], 3, "{endpoint}");
        assert_eq!(endpoint["failures"][2]["kind"], kind);
        assert!(!endpoint["failures"][2]["text"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_silent_server_is_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let report = tlsload(&[&address], "localhost", "ca", &["--count", "2", "--timeout", "0.2"]);
    assert_eq!(report["endpoints"][0]["failed_by_kind"]["timeout"], 2);
}

#[test]
fn the_rate_is_kept_over_several_endpoints() {
    let addresses = [(); 2].map(|()| format!("127.0.0.1:{}", serve(Clients::Any)));
    let arguments = ["--rate", "50", "--seconds", "2", "--concurrency", "4"];
    let report = tlsload(&[&addresses[0], &addresses[1]], "localhost", "ca", &arguments);
    assert_eq!((&report["failed"], &report["ended"]), (&0.into(), &"time".into()));
    // A busy machine may come too late for the last ones.
    for endpoint in report["endpoints"].as_array().unwrap() {
        assert!((40..=50).contains(&endpoint["ok"].as_u64().unwrap()), "{endpoint}");
    }
}

#[test]
fn sigterm_ends_it_with_its_counts() {
    let address = format!("127.0.0.1:{}", serve(Clients::Any));
    let arguments = ["--seconds", "600", "--progress", "--json"];
    let mut command = command(&[&address], "localhost", "ca", &arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut progress = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut progress).unwrap();
    assert!(progress.ends_with(" ok, 0 failed\n"), "{progress}");
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let report = parse(&child.wait_with_output().unwrap());
    assert_eq!((&report["ended"], &report["failed"]), (&"signal".into(), &0.into()));
    assert!(report["ok"].as_u64().unwrap() > 0);
}

#[test]
fn a_client_certificate_is_sent() {
    let address = format!("127.0.0.1:{}", serve(Clients::WithCertificate));
    let without = tlsload(&[&address], "localhost", "ca", &["--count", "2", "--http", "/"]);
    assert_eq!(without["endpoints"][0]["failed_by_kind"]["alert"], 2);
    let (cert, key) = (PKI.path("client.crt"), PKI.path("client.key"));
    let arguments = [
        "--count",
        "2",
        "--http",
        "/",
        "--client-cert",
        &cert,
        "--client-key",
        &key,
    ];
    assert_eq!(tlsload(&[&address], "localhost", "ca", &arguments)["ok"], 2);
}

/// Runs the tool to its end. `ca` names a certificate of the test's PKI.
fn tlsload(addresses: &[&str], name: &str, ca: &str, arguments: &[&str]) -> Value {
    parse(
        &command(addresses, name, ca, &[arguments, &["--json"]].concat())
            .output()
            .unwrap(),
    )
}

fn command(addresses: &[&str], name: &str, ca: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tlsload"));
    command.args(addresses.iter().flat_map(|address| ["--connect", address]));
    command
        .args(["--name", name, "--ca", &PKI.path(&format!("{ca}.crt"))])
        .args(arguments);
    command
}

fn parse(output: &Output) -> Value {
    assert!(!output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[derive(Clone, Copy)]
enum Clients {
    /// Closes each connection at once.
    None,
    Any,
    WithCertificate,
}

/// A server on a free port, which answers each request with a worker's name. It ends with the test.
fn serve(clients: Clients) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Arc::new(server_config(clients));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = config.clone();
            match clients {
                Clients::None => drop(stream),
                _ => drop(thread::spawn(move || answer(stream.unwrap(), config))),
            }
        }
    });
    port
}

fn answer(mut stream: TcpStream, config: Arc<ServerConfig>) {
    let mut tls = ServerConnection::new(config).unwrap();
    let mut tls = Stream::new(&mut tls, &mut stream);
    let mut request = [0; 1024];
    // A client that fails, or asks nothing, is the test's business.
    if matches!(tls.read(&mut request), Ok(1..)) {
        let _ = tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\nX-Worker: 4711\r\n\r\n0123456789abcdef");
        tls.conn.send_close_notify();
        let _ = tls.flush();
    }
}

fn server_config(clients: Clients) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Clients::WithCertificate => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(PKI.path("ca.crt")).unwrap())
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    builder.with_cert_resolver(Arc::new(BothKeys))
}

/// Serves the RSA key to a client that takes only RSA, and the other one to those that take ECDSA.
#[derive(Debug)]
struct BothKeys;

impl ResolvesServerCert for BothKeys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let takes = |scheme| hello.signature_schemes().contains(&scheme);
        match takes(SignatureScheme::ECDSA_NISTP256_SHA256) {
            true => Some(PKI.ecdsa.certified.clone()),
            false => takes(SignatureScheme::RSA_PSS_SHA256).then(|| PKI.rsa.certified.clone()),
        }
    }
}

static PKI: LazyLock<Pki> = LazyLock::new(Pki::new);

/// A CA (`ca`), another one (`other`), two server keys for `localhost` and a client key.
struct Pki {
    directory: PathBuf,
    rsa: Served,
    ecdsa: Served,
}

struct Served {
    certified: Arc<CertifiedKey>,
    spki: String,
}

impl Pki {
    fn new() -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tlsload-pki");
        fs::create_dir_all(&directory).unwrap();
        let ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        for ca in ["ca", "other"] {
            request(&directory, ca, &ec, &["-addext", "keyUsage=critical,keyCertSign"]);
        }
        let signed = [
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ];
        let server = [&signed[..], &["-addext", "subjectAltName=DNS:localhost"]].concat();
        request(&directory, "ecdsa", &ec, &server);
        request(&directory, "rsa", &["-newkey", "rsa:2048"], &server);
        request(
            &directory,
            "client",
            &ec,
            &[&signed[..], &["-addext", "extendedKeyUsage=clientAuth"]].concat(),
        );
        Self {
            rsa: served(&directory, "rsa"),
            ecdsa: served(&directory, "ecdsa"),
            directory,
        }
    }

    fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }
}

fn request(directory: &Path, name: &str, key: &[&str], arguments: &[&str]) {
    let (subject, key_file, certificate) = (format!("/CN={name}"), format!("{name}.key"), format!("{name}.crt"));
    let fixed = [
        "req",
        "-x509",
        "-nodes",
        "-subj",
        &subject,
        "-keyout",
        &key_file,
        "-out",
        &certificate,
    ];
    openssl(directory, &[&fixed, key, arguments].concat());
}

fn served(directory: &Path, name: &str) -> Served {
    let certificate = CertificateDer::from_pem_file(directory.join(format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join(format!("{name}.key"))).unwrap();
    let key = aws_lc_rs::sign::any_supported_type(&key).unwrap();
    openssl(
        directory,
        &[
            "pkey",
            "-in",
            &format!("{name}.key"),
            "-pubout",
            "-outform",
            "DER",
            "-out",
            "spki.der",
        ],
    );
    let digest = openssl(directory, &["dgst", "-sha256", "-r", "spki.der"]);
    let spki = String::from_utf8(digest.stdout).unwrap()[..64].to_owned();
    Served {
        certified: Arc::new(CertifiedKey::new(vec![certificate], key)),
        spki,
    }
}

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
