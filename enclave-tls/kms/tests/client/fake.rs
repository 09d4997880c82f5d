//! A host that speaks TLS and HTTP/1.1 as a test says, and an enclave that asks it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64, Encoding as _};
use enclave_attestation::NsmError;
use enclave_kms::cms::{ContentForm, seal};
use enclave_kms::{Attester, BoxFuture, BoxIo, Client, Credentials, Egress};
use enclave_policy::aws::{KeyArn, Region};
use enclave_wire::DnsName;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

pub(crate) const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
pub(crate) const ROOT: &[u8] = include_bytes!("../vectors/tls/root.der");
pub(crate) const CIPHERTEXT: &[u8] = b"what KMS made";
/// 2027-01-15: the certificates of the tests are valid.
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) fn key() -> KeyArn {
    KEY.parse().unwrap()
}

pub(crate) fn region() -> Region {
    "us-east-1".parse().unwrap()
}

pub(crate) fn name(text: &str) -> DnsName {
    DnsName::try_from(text).unwrap()
}

pub(crate) fn in_a_minute() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A request as the host saw it.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) connected_to: DnsName,
    pub(crate) at: Instant,
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The SubjectPublicKeyInfo of the recipient: the attester here makes nothing else of it.
    pub(crate) fn recipient(&self) -> Vec<u8> {
        let document = self.json()["Recipient"]["AttestationDocument"].clone();
        Base64::decode_vec(document.as_str().unwrap()).unwrap()
    }

    /// What KMS answers to a good request.
    pub(crate) fn decrypted(&self, plaintext: &[u8]) -> Value {
        let sealed = seal(&self.recipient(), plaintext, ContentForm::Pieces(1_000)).unwrap();
        json!({
            "KeyId": KEY,
            "Plaintext": null,
            "CiphertextForRecipient": Base64::encode_string(&sealed),
            "CiphertextBlob": Base64::encode_string(CIPHERTEXT),
            "KeyMaterialId": "something new",
        })
    }
}

/// What the host does with a request.
pub(crate) enum Answer {
    /// Writes these bytes, and ends the connection as TLS has it.
    Bytes(Vec<u8>),
    /// Writes these bytes, and cuts the connection.
    Cut(Vec<u8>),
    /// Writes these bytes, and leaves the connection open.
    Hang(Vec<u8>),
    /// Writes the first bytes, and the second again and again: more than any reply may have.
    Flood(&'static [u8], &'static [u8]),
}

pub(crate) fn http(status: u16, headers: &str, body: &[u8]) -> Answer {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    Answer::Bytes([head.as_bytes(), body].concat())
}

pub(crate) fn ok(body: &Value) -> Answer {
    http(200, "", &serde_json::to_vec(body).unwrap())
}

pub(crate) fn error(status: u16, name: &str) -> Answer {
    http(
        status,
        "",
        json!({"__type": name, "message": "no"}).to_string().as_bytes(),
    )
}

type Behaviour = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The host.
pub(crate) struct Fake {
    tls: TlsAcceptor,
    answer: Behaviour,
    seen: Mutex<Vec<Seen>>,
    refused: Option<io::ErrorKind>,
    dialled: Mutex<Vec<(DnsName, u16)>>,
}

impl Fake {
    pub(crate) fn new(answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let certificate = include_bytes!("../vectors/tls/aws.der");
        Self::presenting(certificate, include_bytes!("../vectors/tls/aws.key"), answer)
    }

    pub(crate) fn presenting(
        certificate: &'static [u8],
        key: &'static [u8],
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth();
        let chain = vec![CertificateDer::from_slice(certificate)];
        let config = config
            .with_single_cert(chain, PrivateKeyDer::try_from(key).unwrap())
            .unwrap();
        Self {
            tls: TlsAcceptor::from(Arc::new(config)),
            answer: Box::new(answer),
            seen: Mutex::default(),
            refused: None,
            dialled: Mutex::default(),
        }
    }

    pub(crate) fn refusing(kind: io::ErrorKind) -> Self {
        Self {
            refused: Some(kind),
            ..Self::new(|_| Answer::Cut(Vec::new()))
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Where connections were asked for.
    pub(crate) fn dialled(&self) -> Vec<(DnsName, u16)> {
        self.dialled.lock().unwrap().clone()
    }

    async fn serve(self: Arc<Self>, stream: tokio::io::DuplexStream, host: DnsName) -> io::Result<()> {
        let mut stream = self.tls.accept(stream).await?;
        let seen = read(&mut stream, host).await?;
        self.seen.lock().unwrap().push(seen.clone());
        match (self.answer)(&seen) {
            Answer::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                stream.shutdown().await
            }
            Answer::Cut(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await
            }
            Answer::Hang(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                std::future::pending().await
            }
            Answer::Flood(head, piece) => {
                stream.write_all(head).await?;
                for _ in 0..10_000 {
                    stream.write_all(piece).await?;
                }
                std::future::pending().await
            }
        }
    }
}

/// The egress plane's end.
struct ToFake(Arc<Fake>);

impl Egress for ToFake {
    fn connect(&self, host: &DnsName, port: u16) -> BoxFuture<io::Result<BoxIo>> {
        self.0.dialled.lock().unwrap().push((host.clone(), port));
        if let Some(kind) = self.0.refused {
            return Box::pin(async move { Err(kind.into()) });
        }
        let (ours, theirs) = tokio::io::duplex(65_536);
        tokio::spawn(Arc::clone(&self.0).serve(theirs, host.clone()));
        Box::pin(async move { Ok(Box::new(ours) as BoxIo) })
    }
}

async fn read(stream: &mut (impl AsyncRead + Unpin), connected_to: DnsName) -> io::Result<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let line = lines.next().unwrap().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Seen {
        connected_to,
        at: Instant::now(),
        line,
        headers,
        body,
    })
}

/// The document is the key itself: what it attests is others' to test.
struct Unsigned;

impl Attester for Unsigned {
    fn document(&self, recipient_spki: &[u8]) -> Result<Vec<u8>, NsmError> {
        Ok(recipient_spki.to_vec())
    }
}

/// An enclave with credentials, and the host that it asks.
pub(crate) struct Enclave {
    pub(crate) client: Client,
    pub(crate) fake: Arc<Fake>,
    pub(crate) clock: Arc<AtomicI64>,
}

impl Enclave {
    pub(crate) fn asking(fake: Fake) -> Self {
        Self::attesting(fake, Arc::new(Unsigned))
    }

    pub(crate) fn attesting(fake: Fake, attester: Arc<dyn Attester>) -> Self {
        let (fake, clock) = (Arc::new(fake), Arc::new(AtomicI64::new(NOW)));
        let read = Arc::clone(&clock);
        let now = Arc::new(move || read.load(Ordering::SeqCst));
        let egress = Arc::new(ToFake(Arc::clone(&fake)));
        let client = Client::new(egress, attester, &[ROOT.to_vec()], now).unwrap();
        client.set_credentials(credentials(NOW + 3_600));
        Self { client, fake, clock }
    }

    /// Decrypts something, with a minute for it.
    pub(crate) async fn decrypt(&self) -> Result<Vec<u8>, enclave_kms::KmsError> {
        let key = key();
        let decrypted = self.client.decrypt(&key, CIPHERTEXT, &[], in_a_minute());
        decrypted.await.map(|plaintext| plaintext.to_vec())
    }
}

pub(crate) fn credentials(expires: i64) -> Credentials {
    let (secret, token) = ("secret".to_owned(), "token".to_owned());
    Credentials::new("AKIDEXAMPLE".to_owned(), secret.into(), Some(token.into()), expires).unwrap()
}
