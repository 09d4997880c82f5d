//! Real TLS servers with the keys that a test gives them.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, LazyLock};
use std::thread;

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, SignatureScheme};

/// A self-signed certificate and its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: KeyPair,
}

impl Identity {
    pub(crate) fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = CertificateParams::new(vec!["www.example".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        Self {
            certificate: certificate.der().clone(),
            key,
        }
    }

    /// One for all tests, since making one takes long.
    pub(crate) fn rsa() -> &'static Self {
        static RSA: LazyLock<Identity> = LazyLock::new(|| Identity::new(&PKCS_RSA_SHA256));
        &RSA
    }

    pub(crate) fn spki_sha256(&self) -> [u8; 32] {
        digest(&SHA256, &self.key.subject_public_key_info())
            .as_ref()
            .try_into()
            .unwrap()
    }

    /// This certificate over that key: the identity itself, or a thief's.
    pub(crate) fn with_key_of(&self, other: &Self) -> Arc<CertifiedKey> {
        let key = PrivateKeyDer::Pkcs8(other.key.serialize_der().into());
        Arc::new(CertifiedKey::new(
            vec![self.certificate.clone()],
            any_supported_type(&key).unwrap(),
        ))
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        self.with_key_of(self)
    }
}

/// What a server presents: by version, then by the kind of key.
#[derive(Debug, Default, Clone)]
pub(crate) struct Presents {
    pub(crate) tls13: Vec<Arc<CertifiedKey>>,
    pub(crate) tls12: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Presents {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        assert_eq!(hello.server_name(), Some("www.example"));
        // An offer of one version has suites of that version alone; 0x13xx are those of TLS 1.3.
        let is_13 = hello.cipher_suites().iter().any(|suite| u16::from(*suite) >> 8 == 0x13);
        let keys = if is_13 { &self.tls13 } else { &self.tls12 };
        let schemes: &[SignatureScheme] = hello.signature_schemes();
        keys.iter()
            .find(|key| key.key.choose_scheme(schemes).is_some())
            .cloned()
    }
}

/// Serves until the test ends.
pub(crate) fn serve(presents: Presents) -> SocketAddr {
    let config = Arc::new(
        ServerConfig::builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(presents)),
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = stream;
            let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            while tls.is_handshaking() && tls.complete_io(&mut stream).is_ok_and(|moved| moved != (0, 0)) {}
        }
    });
    address
}
