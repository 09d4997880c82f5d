//! As much HTTP as the management interfaces need: one request a connection, of version 1.0, whose replies come in one piece.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) struct Client {
    port: u16,
    /// A name and a root.
    tls: Option<(String, Vec<u8>)>,
}

impl Client {
    pub(crate) fn plain(port: u16) -> Self {
        Self { port, tls: None }
    }

    pub(crate) fn tls(port: u16, name: &str, root: &[u8]) -> Self {
        let tls = Some((name.to_owned(), root.to_vec()));
        Self { port, tls }
    }

    /// The body of a reply, whatever its status.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        let (_, body) = self.exchange("GET", path, "")?;
        Ok(body)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Result<Vec<u8>> {
        let (status, reply) = self.exchange("POST", path, body)?;
        ensure!(
            status == "200",
            "{path} answers {status}: {}",
            String::from_utf8_lossy(&reply)
        );
        Ok(reply)
    }

    /// Passes a request on as it is, but for its version. The reply's head and body.
    pub(crate) fn pass(&self, request: &[u8]) -> Result<(String, Vec<u8>)> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        let line = request.windows(VERSION.len()).position(|version| version == VERSION);
        let (before, after) = request.split_at(line.context("no request of HTTP/1.1")?);
        let request = [before, b"HTTP/1.0", &after[VERSION.len()..]].concat();
        let mut reply = Vec::new();
        match &self.tls {
            None => ask(tcp, &request, &mut reply)?,
            Some((name, root)) => {
                let name = ServerName::try_from(name.clone())?;
                let connection = ClientConnection::new(config(root)?, name)?;
                ask(StreamOwned::new(connection, tcp), &request, &mut reply)?;
            }
        }
        let end = end_of_head(&reply).context("the reply has no head")?;
        let body = reply.split_off(end);
        Ok((String::from_utf8(reply)?, body))
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Result<(String, Vec<u8>)> {
        let length = body.len();
        let request =
            format!("{method} {path} HTTP/1.1\r\nuser-agent: lab-pebble\r\ncontent-length: {length}\r\n\r\n{body}");
        let (head, body) = self.pass(request.as_bytes())?;
        let status = head.split(' ').nth(1).map(str::to_owned);
        Ok((status.context("the reply has no status")?, body))
    }
}

/// Where the head of a message ends, once all of it is there.
pub(crate) fn end_of_head(message: &[u8]) -> Option<usize> {
    let end = message.windows(4).position(|end| end == b"\r\n\r\n")?;
    Some(end + 4)
}

/// What a head says that its body has.
pub(crate) fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)
}

fn ask(mut stream: impl Read + Write, request: &[u8], reply: &mut Vec<u8>) -> Result<()> {
    stream.write_all(request)?;
    stream.read_to_end(reply)?;
    Ok(())
}

fn config(root: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_slice(root))?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

const VERSION: &[u8] = b"HTTP/1.1";
const TIMEOUT: Duration = Duration::from_secs(30);
