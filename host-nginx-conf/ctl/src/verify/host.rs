//! Which keys a server presents and has. Whether its certificates are good is for browsers to say: here the key is the proof.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use super::options::Host;

/// One handshake, and what came of it.
pub(crate) struct Handshake {
    pub(crate) offer: &'static str,
    pub(crate) outcome: Outcome,
}

/// What a server answers to an offer.
pub(crate) enum Outcome {
    /// It presented a certificate with this key, and signed the handshake with it.
    Proven { spki_sha256: [u8; 32] },
    /// It has no certificate for the offer.
    Refused(String),
    /// It presented a certificate and has not its key, or broke the protocol, or cannot be reached.
    Failed(String),
}

impl Handshake {
    pub(crate) fn refusal(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Refused(why) => Some(format!("{}: {why}", self.offer)),
            Outcome::Proven { .. } | Outcome::Failed(_) => None,
        }
    }
}

/// Shakes hands once for each kind of key in each version, since a server may have another certificate for each.
pub(crate) fn handshakes(host: &Host, connect: Option<SocketAddr>) -> Vec<Handshake> {
    OFFERS
        .iter()
        .map(|offer| Handshake {
            offer: offer.text,
            outcome: offer.make(host, connect),
        })
        .collect()
}

struct Offer {
    text: &'static str,
    version: &'static SupportedProtocolVersion,
    schemes: &'static [SignatureScheme],
}

impl Offer {
    fn make(&self, host: &Host, connect: Option<SocketAddr>) -> Outcome {
        let witness = Arc::new(Witness {
            schemes: self.schemes,
            provider: self.provider(),
            seen: Mutex::default(),
        });
        let result = self.shake(host, connect, &witness);
        let seen = std::mem::take(&mut *witness.seen.lock().unwrap_or_else(PoisonError::into_inner));
        match (seen, result) {
            (Seen::Signed(spki_sha256), _) => Outcome::Proven { spki_sha256 },
            (Seen::Presented, Err(error)) => Outcome::Failed(format!(
                "presents a certificate, and does not show that it has the key: {error}"
            )),
            (Seen::Nothing, Err(ShakeError::Tls(error))) if is_refusal(&error) => Outcome::Refused(error.to_string()),
            (Seen::Nothing, Err(ShakeError::Closed)) => Outcome::Refused(ShakeError::Closed.to_string()),
            (Seen::Nothing, Err(error)) => Outcome::Failed(error.to_string()),
            (Seen::Nothing | Seen::Presented, Ok(())) => Outcome::Failed("nothing was signed".to_owned()),
        }
    }

    fn shake(&self, host: &Host, connect: Option<SocketAddr>, witness: &Arc<Witness>) -> Result<(), ShakeError> {
        let provider = Arc::new(witness.provider.clone());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[self.version])
            .map_err(ShakeError::Tls)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<Witness>::clone(witness))
            .with_no_client_auth();
        let mut tls = ClientConnection::new(Arc::new(config), host.name.clone()).map_err(ShakeError::Tls)?;
        let mut stream = dial(host, connect).map_err(ShakeError::Connect)?;
        while tls.is_handshaking() {
            match tls.complete_io(&mut stream) {
                Ok((0, 0)) => return Err(ShakeError::Closed),
                Ok(_) => {}
                Err(error) => return Err(ShakeError::from(error)),
            }
        }
        Ok(())
    }

    /// A server that is offered suites of another version or kind of key might choose one and fail.
    fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|suite| match suite {
            _ if suite.version() != self.version => false,
            SupportedCipherSuite::Tls12(suite) => suite.sign.iter().any(|scheme| self.schemes.contains(scheme)),
            SupportedCipherSuite::Tls13(_) => true,
        });
        provider
    }
}

/// Why a handshake ended early.
#[derive(Debug)]
enum ShakeError {
    Connect(io::Error),
    Closed,
    Tls(Error),
    Io(io::Error),
}

impl From<io::Error> for ShakeError {
    fn from(error: io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
        match (tls, error.kind()) {
            (Some(tls), _) => Self::Tls(tls),
            (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => Self::Closed,
            (None, _) => Self::Io(error),
        }
    }
}

impl std::fmt::Display for ShakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "cannot be reached: {error}"),
            Self::Closed => f.write_str("closes the connection"),
            Self::Tls(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// No such version, or no certificate for these schemes.
fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::AlertReceived(_) | Error::PeerIncompatible(_))
}

fn dial(host: &Host, connect: Option<SocketAddr>) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match connect {
        Some(address) => vec![address],
        None => (&*host.name.to_str(), host.port).to_socket_addrs()?.collect(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sees what the server presents, and verifies that it has the key: nothing else.
#[derive(Debug)]
struct Witness {
    schemes: &'static [SignatureScheme],
    provider: CryptoProvider,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
enum Seen {
    #[default]
    Nothing,
    Presented,
    /// By the key of this SPKI.
    Signed([u8; 32]),
}

impl Witness {
    fn saw(&self, seen: Seen) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
    }

    fn signed(
        &self,
        certificate: &CertificateDer<'_>,
        verified: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        let valid = verified?;
        let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
        let mut spki_sha256 = [0; 32];
        spki_sha256.copy_from_slice(digest(&SHA256, &spki).as_ref());
        self.saw(Seen::Signed(spki_sha256));
        Ok(valid)
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.saw(Seen::Presented);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signed(
            certificate,
            verify_tls12_signature(message, certificate, signature, algorithms),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.signed(
            certificate,
            verify_tls13_signature(message, certificate, signature, algorithms),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.to_vec()
    }
}

/// For a connection, a read and a write each.
const PATIENCE: Duration = Duration::from_secs(10);
const OFFERS: &[Offer] = &[
    Offer {
        text: "TLS 1.3 with ECDSA or Ed25519",
        version: &TLS13,
        schemes: ELLIPTIC,
    },
    Offer {
        text: "TLS 1.3 with RSA",
        version: &TLS13,
        schemes: RSA,
    },
    Offer {
        text: "TLS 1.2 with ECDSA or Ed25519",
        version: &TLS12,
        schemes: ELLIPTIC,
    },
    Offer {
        text: "TLS 1.2 with RSA",
        version: &TLS12,
        schemes: RSA,
    },
];
const ELLIPTIC: &[SignatureScheme] = &[
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ECDSA_NISTP521_SHA512,
    SignatureScheme::ED25519,
];
const RSA: &[SignatureScheme] = &[
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
];
