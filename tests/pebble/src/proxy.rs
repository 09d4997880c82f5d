//! A proxy in front of the server that makes it slow: orders that are done are shown at `processing` for a while. Pebble itself
//! finishes at once.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, ensure};
use pem_rfc7468::decode_vec;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::Pebble;
use crate::http::{Client, body_length, end_of_head};

/// The server by another address, at which it is slow. It has the server's own certificate.
pub struct Proxy {
    directory: String,
    port: u16,
    state: Arc<State>,
}

struct State {
    server: Client,
    tls: Arc<ServerConfig>,
    /// How many looks at orders still find them at work.
    looks: AtomicU32,
    ended: std::sync::atomic::AtomicBool,
}

impl Pebble {
    /// Another address of the server's, at which the next `looks` at orders that are done find them at work.
    pub fn held(&self, looks: u32) -> Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            server: self.acme(),
            tls: self.tls()?,
            looks: AtomicU32::new(looks),
            ended: false.into(),
        });
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.ended.load(Ordering::SeqCst) {
                    break;
                }
                let state = Arc::clone(&serving);
                thread::spawn(move || state.serve(stream));
            }
        });
        let directory = format!("https://{}:{port}/dir", self.name);
        Ok(Proxy { directory, port, state })
    }

    fn tls(&self) -> Result<Arc<ServerConfig>> {
        let der = |name: &str| -> Result<Vec<u8>> {
            let (_, der) = decode_vec(&fs::read(self.dir.join(name))?).ok().context("no PEM")?;
            Ok(der)
        };
        let key = PrivateKeyDer::try_from(der("server.key")?).ok().context("no key")?;
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(der("server.pem")?)], key)?;
        Ok(Arc::new(config))
    }
}

impl Proxy {
    /// The directory's URL, at this address. So are those that it names: the server makes them of what it is asked by.
    #[must_use]
    pub fn directory(&self) -> String {
        self.directory.clone()
    }

    /// From now on, so many looks find orders at work; 0 ends it.
    pub fn hold(&self, looks: u32) {
        self.state.looks.store(looks, Ordering::SeqCst);
    }

    /// How many looks are left that find orders at work.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.state.looks.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port))); // which the listener waits for
    }
}

impl State {
    /// One request after the other, until the client has no more.
    fn serve(&self, tcp: TcpStream) -> Result<()> {
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&self.tls))?, tcp);
        loop {
            let mut request = Vec::new();
            let end = loop {
                if let Some(end) = end_of_head(&request) {
                    break end;
                }
                let mut piece = [0; 4_096];
                let length = stream.read(&mut piece)?;
                ensure!(length > 0, "the client has ended");
                request.extend_from_slice(&piece[..length]);
            };
            let missing = (end + body_length(&request[..end])).saturating_sub(request.len());
            let mut rest = vec![0; missing];
            stream.read_exact(&mut rest)?;
            request.extend(rest);
            let (head, body) = self.server.pass(&request)?;
            stream.write_all(&self.shown(&head, body))?;
        }
    }

    /// The reply with the order as it is shown, and its new length. The head is of HTTP/1.0, whose server would have closed.
    fn shown(&self, head: &str, body: Vec<u8>) -> Vec<u8> {
        let body = self.held(&body).unwrap_or(body);
        let lines = head.lines().filter(|line| {
            let line = line.to_ascii_lowercase();
            !line.is_empty() && !line.starts_with("content-length:") && !line.starts_with("connection:")
        });
        let head: String = lines.map(|line| format!("{line}\r\n")).collect();
        let head = head.replacen("HTTP/1.0", "HTTP/1.1", 1);
        let head = format!("{head}content-length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body].concat()
    }

    /// None: it is no order that is done, or none is held any more.
    fn held(&self, body: &[u8]) -> Option<Vec<u8>> {
        let mut order: Value = serde_json::from_slice(body).ok()?;
        if order["status"] != "valid" || !order["finalize"].is_string() {
            return None;
        }
        let one_less = |looks: u32| looks.checked_sub(1);
        self.looks
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less)
            .ok()?;
        order["status"] = "processing".into();
        order.as_object_mut()?.remove("certificate");
        Some(order.to_string().into_bytes())
    }
}
