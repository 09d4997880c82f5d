//! Requests over HTTPS. TLS ends here: under the caller's roots, at the host's own name, by the enclave's own clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderName, HeaderValue};
use hyper::{Response, Uri};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::egress::{BoxIo, Egress};
use crate::io::HyperIo;
use crate::message::{HttpError, Reply, Request};
use crate::url::Url;

/// A client. Its futures need a Tokio runtime with time.
pub struct Https {
    egress: Arc<dyn Egress>,
    tls: TlsConnector,
    limits: Limits,
}

/// How long a server may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To the host and through its handshake.
    pub connect: Duration,
    /// From the request to the end of its reply.
    pub exchange: Duration,
}

/// The enclave's time in seconds since 1970, UTC; never the parent's.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// No root, or one that is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootsError;

impl fmt::Display for RootsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no root that a host could chain to")
    }
}

impl std::error::Error for RootsError {}

impl Https {
    /// Trusts these roots (DER) and no other, at the time of `clock`.
    pub fn new(egress: Arc<dyn Egress>, roots: &[Vec<u8>], clock: Clock, limits: Limits) -> Result<Self, RootsError> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from_slice(root)).map_err(|_| RootsError)?;
        }
        if store.is_empty() {
            return Err(RootsError);
        }
        let mut config = ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(EnclaveTime(clock)))
            .with_safe_default_protocol_versions()
            .map_err(|_| RootsError)?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { egress, tls, limits })
    }

    /// Sends a request over a connection of its own, and reads its reply to the end: nothing of one request reaches the next.
    pub async fn send(&self, request: Request<'_>) -> Result<Reply, HttpError> {
        let mut connection = self.connect(request.url).await?;
        connection.exchange(request, self.limits.exchange).await
    }

    /// Sends requests one after the other, over one connection where the server keeps it.
    pub fn session(self: &Arc<Self>) -> Session {
        Session {
            https: Arc::clone(self),
            kept: Mutex::new(None),
        }
    }

    async fn connect(&self, url: &Url) -> Result<Connection, HttpError> {
        let connected = timeout(self.limits.connect, self.handshake(url)).await;
        connected.map_err(|_| HttpError::Timeout)?
    }

    async fn handshake(&self, url: &Url) -> Result<Connection, HttpError> {
        let stream = self.egress.connect(url.host(), url.port()).await;
        let stream = stream.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                HttpError::EgressRefused
            } else {
                HttpError::Unreachable
            }
        })?;
        let name = ServerName::try_from(url.host().to_string()).map_err(|_| HttpError::Request)?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| {
            if is_untrusted(&error) {
                HttpError::Untrusted
            } else {
                HttpError::Unreachable
            }
        })?;
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        let (sender, driver) = builder.handshake(HyperIo(stream)).await?;
        Ok(Connection {
            url: url.clone(),
            sender,
            driver: Box::pin(driver),
            ended: false,
            used: Instant::now(),
        })
    }
}

/// Requests that share a connection while they go to the same server.
pub struct Session {
    https: Arc<Https>,
    kept: Mutex<Option<Connection>>,
}

impl Session {
    /// Sends a request, and reads its reply to the end. A request that fails is not sent again, and its connection is given up.
    pub async fn send(&self, request: Request<'_>) -> Result<Reply, HttpError> {
        let mut connection = match self.kept_for(request.url).await {
            Some(kept) => kept,
            None => self.https.connect(request.url).await?,
        };
        let reply = connection.exchange(request, self.https.limits.exchange).await?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(reply)
    }

    async fn kept_for(&self, url: &Url) -> Option<Connection> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut kept = kept?;
        kept.serves(url).await.then_some(kept)
    }
}

/// A certificate that was refused is final. Whatever else fails in a handshake may be the network's doing.
fn is_untrusted(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

/// A connection, which nothing drives but an exchange over it.
struct Connection {
    url: Url,
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    /// The driver is not asked again.
    ended: bool,
    used: Instant,
}

type Driver = http1::Connection<HyperIo<TlsStream<BoxIo>>, Full<Bytes>>;

impl Connection {
    /// Whether it can take another request for `url`: what the server said since the last one is looked at first.
    async fn serves(&mut self, url: &Url) -> bool {
        let is_fresh = self.url.same_server(url) && self.used.elapsed() < IDLE;
        if self.ended || !is_fresh {
            return false;
        }
        self.ended = poll_fn(|cx| Poll::Ready(self.driver.as_mut().poll(cx).is_ready())).await;
        !self.ended && self.sender.is_ready()
    }

    async fn exchange(&mut self, request: Request<'_>, within: Duration) -> Result<Reply, HttpError> {
        let max_reply = request.max_reply;
        let request = written(request)?;
        let (sender, driver, ended) = (&mut self.sender, &mut self.driver, &mut self.ended);
        let reply = async { read(sender.send_request(request).await?, max_reply).await };
        let reply = async {
            tokio::pin!(reply);
            tokio::select! {
                reply = &mut reply => reply,
                // Where it ended early, the reply says so itself; where it did not, the rest is here already.
                _ = driver => {
                    *ended = true;
                    reply.await
                }
            }
        };
        let reply = timeout(within, reply).await.map_err(|_| HttpError::Timeout)??;
        self.used = Instant::now();
        Ok(reply)
    }
}

fn written(request: Request<'_>) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let uri: Uri = request.url.path().parse().map_err(|_| HttpError::Request)?;
    let mut written = hyper::Request::new(Full::new(Bytes::from(request.body)));
    *written.method_mut() = request.method;
    *written.uri_mut() = uri;
    let host = HeaderValue::from_str(request.url.authority()).map_err(|_| HttpError::Request)?;
    written.headers_mut().insert(HOST, host);
    for (name, value) in request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HttpError::Request)?;
        let mut value = HeaderValue::from_str(&value).map_err(|_| HttpError::Request)?;
        value.set_sensitive(true);
        written.headers_mut().append(name, value);
    }
    Ok(written)
}

async fn read(reply: Response<Incoming>, max: usize) -> Result<Reply, HttpError> {
    let (head, mut incoming) = reply.into_parts();
    let mut body = Vec::new();
    // An announced length is refused before a byte of it is read.
    if usize::try_from(incoming.size_hint().lower()).is_ok_and(|announced| announced > max) {
        return Err(HttpError::TooLong);
    }
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > max.saturating_sub(body.len()) {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body,
    })
}

/// The enclave's clock, which the NSM's documents set.
struct EnclaveTime(Clock);

impl fmt::Debug for EnclaveTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnclaveTime")
    }
}

impl TimeProvider for EnclaveTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// The headers of KMS, S3 and ACME servers are under 2 KiB.
const MAX_HEAD: usize = 16_384;
const MAX_HEADERS: usize = 64;
/// Servers close a connection that rests for longer: NGINX after 75 s, Go's after 2 minutes, load balancers after 10 to 60 s.
const IDLE: Duration = Duration::from_secs(5);
