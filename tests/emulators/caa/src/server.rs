//! A running proxy.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use emulator_aws::{ListenError, Listener, Listening};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::observed::Observed;
use crate::proxy::{Proxy, locked, serve};
use crate::upstream::Upstream;
use crate::zone::{Zone, ZoneError};

/// A CA that enforces CAA, on threads of its own. Ends when it is dropped.
pub struct CaaServer {
    proxy: Arc<Proxy>,
    address: SocketAddr,
    _listening: Listening,
}

/// What it stands in front of.
pub struct Options<'a> {
    /// Where it listens. Port 0 takes a free one.
    pub listen: &'a str,
    /// Its certificate and key, PEM.
    pub certificate: &'a str,
    /// The certificate's key, PEM.
    pub key: &'a str,
    /// The ACME server.
    pub upstream: SocketAddr,
    /// That server's name in its certificate.
    pub upstream_name: &'a str,
    /// The root of that certificate, PEM.
    pub upstream_root: &'a str,
    /// The domain by which CAA records name the CA.
    pub issuer: &'a str,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate, a key or a name.
    #[error("a certificate, a key or a name: {0}")]
    Tls(#[from] Box<dyn std::error::Error + Send + Sync>),
    /// Its listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl CaaServer {
    /// Starts one, with an empty zone: everybody may have everything.
    pub fn start(options: &Options<'_>) -> Result<Self, StartError> {
        let proxy = Arc::new(Proxy {
            upstream: Upstream::new(options.upstream, options.upstream_name, options.upstream_root)?,
            issuer: options.issuer.to_owned(),
            zone: Mutex::default(),
            observed: Mutex::new(Observed::default()),
            refusals: Mutex::default(),
        });
        let acceptor = acceptor(options.certificate, options.key)?;
        let listener = Listener::bind(options.listen)?;
        let address = listener.address();
        let mut listening = Listening::new()?;
        let served = Arc::clone(&proxy);
        listening.serve(listener, move |connection| {
            let (proxy, acceptor) = (Arc::clone(&served), acceptor.clone());
            async move {
                if let Ok(connection) = acceptor.accept(connection).await {
                    serve(proxy, connection).await;
                }
            }
        });
        listening.start();
        Ok(Self {
            proxy,
            address,
            _listening: listening,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on these records stand, and no others: lines of a zone file.
    pub fn set_zone(&self, text: &str) -> Result<(), ZoneError> {
        *locked(&self.proxy.zone) = Zone::parse(text)?;
        Ok(())
    }

    /// Why orders were refused so far, in turn.
    #[must_use]
    pub fn refusals(&self) -> Vec<String> {
        locked(&self.proxy.refusals).clone()
    }
}

fn acceptor(certificate: &str, key: &str) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let certificates: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates?, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
