//! A running emulator.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
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
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
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
    #[error("cannot listen on {0}: {1}")]
    Listen(String, #[source] std::io::Error),
}

impl Emulator {
    /// Starts one. When this returns it accepts connections.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        if config.allow_unsigned_documents {
            eprintln!("emulator-kms: WARNING: UNSIGNED attestation documents are believed. This KMS protects nothing.");
        }
        let kms = Arc::new(config.build()?);
        let acceptor = config.tls.as_ref().map(acceptor).transpose()?;
        let (service, address) = bind(&config.listen)?;
        let (admin_service, admin) = bind("127.0.0.1:0")?;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| StartError::Listen(config.listen.clone(), error))?;
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&kms);
        // A thread of its own drives it, so that whoever starts an emulator may be in a runtime already.
        let thread = std::thread::spawn(move || {
            let switched = Arc::clone(&served);
            runtime.spawn(accept(admin_service, move |connection| {
                serve_admin(Arc::clone(&switched), connection)
            }));
            runtime.spawn(accept(service, move |connection| {
                serve(Arc::clone(&served), connection, acceptor.clone())
            }));
            // An error is the sender's end, which is as good.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        });
        Ok(Self {
            kms,
            address,
            admin,
            stop: Some(stop),
            thread: Some(thread),
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

impl Drop for Emulator {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

fn bind(address: &str) -> Result<(std::net::TcpListener, SocketAddr), StartError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| StartError::Listen(address.to_owned(), error))
}

/// Hands every connection to `serve`, as a task of its own.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: std::net::TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        match listener.accept().await {
            Ok((connection, _)) => drop(tokio::spawn(serve(connection))),
            // Out of descriptors, perhaps: that passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn serve(kms: Arc<Kms>, connection: TcpStream, acceptor: Option<TlsAcceptor>) {
    // Only slower without.
    let _ = connection.set_nodelay(true);
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
