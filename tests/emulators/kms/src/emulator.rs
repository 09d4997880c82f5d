//! A running emulator.

use std::net::SocketAddr;
use std::sync::Arc;

use emulator_aws::{ListenError, Listener, Listening};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::config::{Config, ConfigError, Tls};
use crate::counters::Counters;
use crate::faults::FaultSwitches;
use crate::http::{serve_admin, serve_kms};
use crate::kms::Kms;

/// An emulator on threads of its own. Ends when it is dropped.
pub struct Emulator {
    kms: Arc<Kms>,
    address: SocketAddr,
    admin: SocketAddr,
    _listening: Listening,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it was to be started with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its certificate or key.
    #[error("the certificate or its key: {0}")]
    Tls(String),
    /// Its threads or its listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Emulator {
    /// Starts one. When this returns it accepts connections.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if config.allow_unsigned_documents {
            eprintln!("emulator-kms: WARNING: UNSIGNED attestation documents are believed. This KMS protects nothing.");
        }
        let kms = Arc::new(config.build()?);
        let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
        let (service, admin) = (Listener::bind(&config.listen)?, Listener::bind("127.0.0.1:0")?);
        let (address, admin_address) = (service.address(), admin.address());
        let mut listening = Listening::new()?;
        let (switched, served) = (Arc::clone(&kms), Arc::clone(&kms));
        listening.serve(admin, move |connection| serve_admin(Arc::clone(&switched), connection));
        listening.serve(service, move |connection| {
            serve(Arc::clone(&served), connection, acceptor.clone())
        });
        listening.start();
        Ok(Self {
            kms,
            address,
            admin: admin_address,
            _listening: listening,
        })
    }

    /// Where KMS is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where switches and counters are, over plain HTTP.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Whether KMS speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.kms.tls
    }

    /// What was asked so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.kms.counters().clone()
    }

    /// Makes it misbehave.
    #[must_use]
    pub fn faults(&self) -> &FaultSwitches {
        &self.kms.faults
    }
}

async fn serve(kms: Arc<Kms>, connection: TcpStream, acceptor: Option<TlsAcceptor>) {
    match acceptor {
        None => serve_kms(kms, connection).await,
        Some(acceptor) => {
            if let Ok(connection) = acceptor.accept(connection).await {
                serve_kms(kms, connection).await;
            }
        }
    }
}

fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let wrong = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let certificates: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_slice_iter(tls.certificates.as_bytes()).collect();
    let certificates = certificates.map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes()).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
