//! One request over HTTPS. TLS ends here: under the roots of the policy, at the host's own name, by the enclave's own clock.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use enclave_wire::DnsName;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{DATE, HeaderMap, HeaderName, HeaderValue};
use hyper::rt::ReadBufCursor;
use hyper::{Method, Response, StatusCode, Uri};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Clock;
use crate::date::http_date;
use crate::egress::{BoxIo, Egress};

/// Sends requests, each over a connection of its own: calls are rare, and nothing of one reaches the next.
pub(crate) struct Https {
    egress: Arc<dyn Egress>,
    tls: TlsConnector,
}

/// A request.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) host: &'a DnsName,
    pub(crate) path: &'a str,
    /// Every header, `host` among them.
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: Vec<u8>,
    /// A longer reply is refused before it is kept.
    pub(crate) max_reply: usize,
}

/// A reply.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// What the service says the time is, in seconds since 1970, UTC.
    pub(crate) fn date(&self) -> Option<i64> {
        http_date(self.headers.get(DATE)?.to_str().ok()?)
    }
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HttpError {
    /// The parent's allow-list has not this host.
    EgressRefused,
    /// The host did not answer, or not TLS.
    Unreachable,
    /// Not the host, or not under the roots.
    Untrusted,
    /// The connection ended before the reply did.
    Interrupted,
    /// Not HTTP/1.1.
    Malformed,
    TooLong,
    Timeout,
    /// The request cannot be written as HTTP.
    Request,
}

impl From<hyper::Error> for HttpError {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() {
            Self::Malformed
        } else {
            Self::Interrupted
        }
    }
}

impl Https {
    /// Trusts these roots and no other, at the time of `clock`.
    pub(crate) fn new(egress: Arc<dyn Egress>, roots: &[Vec<u8>], clock: Clock) -> Result<Self, rustls::Error> {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(CertificateDer::from_slice(root))?;
        }
        let mut config = ClientConfig::builder_with_details(Arc::new(default_provider()), Arc::new(EnclaveTime(clock)))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { egress, tls })
    }

    /// Sends a request, and reads its reply to the end.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Reply, HttpError> {
        let stream = timeout(CONNECT, self.connect(request.host));
        let stream = stream.await.map_err(|_| HttpError::Timeout)??;
        let reply = timeout(EXCHANGE, exchange(stream, request));
        reply.await.map_err(|_| HttpError::Timeout)?
    }

    async fn connect(&self, host: &DnsName) -> Result<TlsStream<BoxIo>, HttpError> {
        let stream = self.egress.connect(host, PORT).await;
        let stream = stream.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                HttpError::EgressRefused
            } else {
                HttpError::Unreachable
            }
        })?;
        let name = ServerName::try_from(host.to_string()).map_err(|_| HttpError::Request)?;
        let connected = self.tls.connect(name, stream).await;
        connected.map_err(|error| {
            if is_untrusted(&error) {
                HttpError::Untrusted
            } else {
                HttpError::Unreachable
            }
        })
    }
}

/// A certificate that was refused is final. Whatever else fails in a handshake may be the network's doing.
fn is_untrusted(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(error, Some(rustls::Error::InvalidCertificate(_)))
}

async fn exchange(stream: TlsStream<BoxIo>, request: Request<'_>) -> Result<Reply, HttpError> {
    let max_reply = request.max_reply;
    let request = written(request)?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (mut sender, connection) = builder.handshake(HyperIo(stream)).await?;
    let reply = async { read(sender.send_request(request).await?, max_reply).await };
    tokio::pin!(reply, connection);
    tokio::select! {
        reply = &mut reply => reply,
        // Where it ended early, the reply says so itself; where it did not, the rest is here already.
        _ = &mut connection => reply.await,
    }
}

fn written(request: Request<'_>) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let uri: Uri = request.path.parse().map_err(|_| HttpError::Request)?;
    let mut written = hyper::Request::new(Full::new(Bytes::from(request.body)));
    *written.method_mut() = request.method;
    *written.uri_mut() = uri;
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

/// Tokio's streams as hyper reads them. Through a buffer of its own: hyper's may be uninitialised, which only unsafe code could pass
/// on.
struct HyperIo<T>(T);

impl<T: AsyncRead + Unpin> hyper::rt::Read for HyperIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut wanted: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut piece = [0; PIECE];
        let room = wanted.remaining().min(PIECE);
        let Some(room) = piece.get_mut(..room) else {
            return Poll::Ready(Ok(()));
        };
        let mut buffer = ReadBuf::new(room);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        wanted.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for HyperIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

const PORT: u16 = 443;
/// To the host and through its handshake: KMS answers in tens of milliseconds from the parent's region.
const CONNECT: Duration = Duration::from_secs(5);
/// From the request to the end of its reply.
const EXCHANGE: Duration = Duration::from_secs(10);
/// The headers of KMS and S3 are under 1 KiB.
const MAX_HEAD: usize = 16_384;
const MAX_HEADERS: usize = 64;
const PIECE: usize = 4_096;
