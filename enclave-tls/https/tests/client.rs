//! The client against a server in memory, on a clock that stands still. What a host must prove is tested by `enclave-kms`.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enclave_https::{
    BoxFuture, BoxIo, Egress, HttpError, Https, Limits, Method, Reply, Request, RootsError, Session, Url,
};
use enclave_wire::DnsName;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_rustls::TlsAcceptor;

/// 2026-01-01.
const NOW: i64 = 1_767_225_600;
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\nok";
const LAST: &[u8] = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";

/// A server under a root of its own. It gives one answer after the other, whatever it is asked, over connections that it keeps.
struct Server {
    root: Vec<u8>,
    tls: TlsAcceptor,
    answers: Mutex<Vec<&'static [u8]>>,
    /// Of each request: which connection it came over, and its head.
    seen: Mutex<Vec<(usize, String)>>,
    dialled: Mutex<Vec<(DnsName, u16)>>,
    /// Connections end after an answer, though it does not say so.
    drops: bool,
}

impl Server {
    fn answering(answers: &[&'static [u8]], drops: bool) -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Arc::new(Self {
            root: issuer.der().to_vec(),
            tls: TlsAcceptor::from(Arc::new(config)),
            answers: Mutex::new(answers.iter().rev().copied().collect()),
            seen: Mutex::default(),
            dialled: Mutex::default(),
            drops,
        })
    }

    fn client(self: &Arc<Self>) -> Arc<Https> {
        let limits = Limits {
            connect: Duration::from_secs(5),
            exchange: Duration::from_secs(10),
        };
        let egress = Arc::new(ToServer(Arc::clone(self)));
        Arc::new(Https::new(egress, std::slice::from_ref(&self.root), Arc::new(|| NOW), limits).unwrap())
    }

    /// Which connection each request came over.
    fn connections(&self) -> Vec<usize> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .map(|(connection, _)| *connection)
            .collect()
    }

    async fn serve(self: Arc<Self>, stream: DuplexStream, connection: usize) -> io::Result<()> {
        let mut stream = self.tls.accept(stream).await?;
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await?);
            }
            self.seen
                .lock()
                .unwrap()
                .push((connection, String::from_utf8(head).unwrap()));
            let answer = self.answers.lock().unwrap().pop();
            let Some(answer) = answer else {
                return std::future::pending().await;
            };
            stream.write_all(answer).await?;
            stream.flush().await?;
            if self.drops || answer == LAST {
                return stream.shutdown().await;
            }
        }
    }
}

struct ToServer(Arc<Server>);

impl Egress for ToServer {
    fn connect(&self, host: &DnsName, port: u16) -> BoxFuture<io::Result<BoxIo>> {
        let mut dialled = self.0.dialled.lock().unwrap();
        dialled.push((host.clone(), port));
        let (ours, theirs) = tokio::io::duplex(65_536);
        tokio::spawn(Arc::clone(&self.0).serve(theirs, dialled.len()));
        Box::pin(async move { Ok(Box::new(ours) as BoxIo) })
    }
}

fn get(url: &Url) -> Request<'_> {
    Request {
        method: Method::GET,
        url,
        headers: vec![("accept", "text/plain".to_owned())],
        body: Vec::new(),
        max_reply: 2,
    }
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

async fn ask(session: &Session, address: &str) -> Result<Reply, HttpError> {
    session.send(get(&url(address))).await
}

#[tokio::test(start_paused = true)]
async fn a_request_names_its_host_as_its_url_does() {
    let server = Server::answering(&[OK, OK], false);
    let client = server.client();
    for (address, host, port, authority) in [
        ("https://a.example/x?y=z", "a.example", 443, "a.example"),
        ("https://b.example:14000/", "b.example", 14_000, "b.example:14000"),
    ] {
        let address = url(address);
        let reply = client.send(get(&address)).await.unwrap();
        assert_eq!((reply.status.as_u16(), &reply.body[..]), (200, &b"ok"[..]));
        assert_eq!(reply.headers["x"], "y");
        let (_, head) = server.seen.lock().unwrap().pop().unwrap();
        let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), format!("GET {} HTTP/1.1", address.path()));
        lines.sort_unstable();
        assert_eq!(lines, ["accept: text/plain", &format!("host: {authority}")]);
        let dialled = server.dialled.lock().unwrap().pop().unwrap();
        assert_eq!((dialled.0.as_str(), dialled.1), (host, port));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_alone_have_a_connection_each() {
    let server = Server::answering(&[OK, OK], false);
    let client = server.client();
    for _ in 0..2 {
        client.send(get(&url("https://a.example/"))).await.unwrap();
    }
    assert_eq!(server.connections(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_its_connection() {
    let server = Server::answering(&[OK; 5], false);
    let session = server.client().session();
    for path in ["x", "y", "z"] {
        ask(&session, &format!("https://a.example/{path}")).await.unwrap();
    }
    // Another port is another server, and a connection that rested is not trusted to be there still.
    ask(&session, "https://a.example:444/").await.unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    ask(&session, "https://a.example:444/").await.unwrap();
    assert_eq!(server.connections(), [1, 1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_session_sees_that_the_server_has_hung_up() {
    for (answer, drops) in [(LAST, false), (OK, true)] {
        let server = Server::answering(&[answer; 3], drops);
        let session = server.client().session();
        for _ in 0..3 {
            ask(&session, "https://a.example/").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await; // the server ends its side
        }
        assert_eq!(server.connections(), [1, 2, 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_a_session_begins_anew() {
    for (answer, error) in [
        (
            &b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"[..],
            HttpError::TooLong,
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            HttpError::TooLong,
        ),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na", HttpError::Timeout),
        (b"SSH-2.0-x\r\n\r\n", HttpError::Malformed),
    ] {
        let server = Server::answering(&[OK, answer, OK], false);
        let session = server.client().session();
        ask(&session, "https://a.example/").await.unwrap();
        assert_eq!(ask(&session, "https://a.example/").await, Err(error));
        ask(&session, "https://a.example/").await.unwrap();
        assert_eq!(server.connections(), [1, 1, 2]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_in_an_answer_says_so() {
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na";
    let server = Server::answering(&[half], true);
    let session = server.client().session();
    assert_eq!(ask(&session, "https://a.example/").await, Err(HttpError::Interrupted));
}

#[tokio::test(start_paused = true)]
async fn another_root_is_not_trusted() {
    let (server, other) = (Server::answering(&[OK], false), Server::answering(&[], false));
    let egress = Arc::new(ToServer(Arc::clone(&server)));
    let limits = Limits {
        connect: Duration::from_secs(1),
        exchange: Duration::from_secs(1),
    };
    let roots = [other.root.clone()];
    let client = Https::new(Arc::clone(&egress) as Arc<dyn Egress>, &roots, Arc::new(|| NOW), limits).unwrap();
    let reply = client.send(get(&url("https://a.example/"))).await;
    assert_eq!(reply, Err(HttpError::Untrusted));
    let server = Server::answering(&[OK], false);
    let reply = server.client().send(get(&url("https://c.example/"))).await;
    assert_eq!(reply, Err(HttpError::Untrusted));
    for roots in [Vec::new(), vec![b"no certificate".to_vec()]] {
        let client = Https::new(Arc::clone(&egress) as Arc<dyn Egress>, &roots, Arc::new(|| NOW), limits);
        assert_eq!(client.err(), Some(RootsError));
    }
}
