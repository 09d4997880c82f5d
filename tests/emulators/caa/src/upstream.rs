//! The ACME server behind.

use std::net::SocketAddr;
use std::sync::Arc;

use emulator_aws::Stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where it is, and whom to believe that it is it.
pub(crate) struct Upstream {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Upstream {
    pub(crate) fn new(address: SocketAddr, name: &str, root: &str) -> Result<Self, Failure> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(root.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            address,
            name: ServerName::try_from(name.to_owned())?,
            connector: TlsConnector::from(Arc::new(config)),
        })
    }

    /// Passes a request on as it is: with the host that the client named, of which the server makes its URLs.
    pub(crate) async fn ask(&self, head: Parts, body: Bytes) -> Result<Response<Bytes>, Failure> {
        let connection = TcpStream::connect(self.address).await?;
        let connection = self.connector.connect(self.name.clone(), connection).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(Stream::new(connection)).await?;
        let driven = tokio::spawn(connection);
        let reply = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = reply.into_parts();
        let body = Limited::new(body, MAX_REPLY).collect().await?.to_bytes();
        driven.abort();
        Ok(Response::from_parts(head, body))
    }
}

/// Chains are the longest that an ACME server sends.
const MAX_REPLY: usize = 1_024 * 1_024;
