//! One handshake, as a client makes it that can verify one type of key. Whether the certificate is good is for the enclave, which took
//! it; here it matters which one comes, and that the server has its key.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use enclave_tls_config::Proxy;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, SupportedCipherSuite};

use super::{Leaf, Outside, Sort, Unseen, View};

/// Looks by the network.
pub(crate) struct Network;

impl Outside for Network {
    fn look(&self, view: &View) -> Result<Leaf, Unseen> {
        shake(view).map_err(|error| Unseen(error.to_string()))
    }
}

/// Why nothing was seen.
#[derive(Debug)]
enum ShakeError {
    Connect(io::Error),
    Socket(io::Error),
    Tls(Error),
    Closed,
    TooSlow,
    Nothing,
}

impl std::fmt::Display for ShakeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(f, "nobody can connect: {error}"),
            Self::Socket(error) => write!(f, "the connection ended: {error}"),
            Self::Tls(error) => write!(f, "no handshake: {error}"),
            Self::Closed => f.write_str("the server closed the connection before the handshake was done"),
            Self::TooSlow => write!(f, "no handshake within {} s", WITHIN.as_secs()),
            Self::Nothing => f.write_str("the server showed no certificate"),
        }
    }
}

impl From<io::Error> for ShakeError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TooSlow,
            // Ours inside theirs, where the connection is well and the handshake is not.
            io::ErrorKind::InvalidData => match error.downcast::<Error>() {
                Ok(tls) => Self::Tls(tls),
                Err(error) => Self::Socket(error),
            },
            _ => Self::Socket(error),
        }
    }
}

fn shake(view: &View) -> Result<Leaf, ShakeError> {
    let deadline = Instant::now().checked_add(WITHIN);
    let left = || {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.filter(|left| !left.is_zero()).ok_or(ShakeError::TooSlow)
    };
    let witness = Arc::new(Witness {
        schemes: schemes(view.sort),
        provider: provider(view.sort),
        seen: Mutex::default(),
    });
    let mut config = ClientConfig::builder_with_provider(Arc::new(witness.provider.clone()))
        .with_safe_default_protocol_versions()
        .map_err(ShakeError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::<Witness>::clone(&witness))
        .with_no_client_auth();
    // Who resumes is shown no certificate.
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(view.name.clone()).map_err(|_| ShakeError::Tls(Error::UnsupportedNameType))?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(ShakeError::Tls)?;
    let mut stream = TcpStream::connect_timeout(&view.listener.dial(), CONNECT).map_err(ShakeError::Connect)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(WITHIN))?;
    if let Some(version) = view.listener.proxy {
        stream.write_all(&header(version, stream.local_addr()?, stream.peer_addr()?))?;
    }
    while tls.is_handshaking() {
        stream.set_read_timeout(Some(left()?))?;
        if let (0, 0) = tls.complete_io(&mut stream)? {
            return Err(ShakeError::Closed);
        }
    }
    tls.send_close_notify();
    drop(tls.complete_io(&mut stream)); // Only politeness.
    let seen = *witness.seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.ok_or(ShakeError::Nothing)
}

/// Takes any certificate, remembers it, and has the server show that it has the key.
#[derive(Debug)]
struct Witness {
    schemes: &'static [SignatureScheme],
    provider: CryptoProvider,
    seen: Mutex<Option<Leaf>>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Leaf::of_der(leaf));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.to_vec()
    }
}

/// A server that is offered suites of another type of key might choose one and fail.
fn provider(sort: Sort) -> CryptoProvider {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|suite| match suite {
        SupportedCipherSuite::Tls12(suite) => suite.sign.iter().any(|scheme| schemes(sort).contains(scheme)),
        SupportedCipherSuite::Tls13(_) => true,
    });
    provider
}

fn schemes(sort: Sort) -> &'static [SignatureScheme] {
    match sort {
        Sort::Rsa => &[
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
        ],
        Sort::Ecdsa => &[
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
        ],
        Sort::Ed25519 => &[SignatureScheme::ED25519],
    }
}

/// What a proxy says of the connection: that it is from here.
fn header(version: Proxy, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    match version {
        Proxy::V1 => {
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (source, destination) = (from.ip(), to.ip());
            format!(
                "PROXY {family} {source} {destination} {} {}\r\n",
                from.port(),
                to.port()
            )
            .into_bytes()
        }
        Proxy::V2 => {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
            match (from, to) {
                (SocketAddr::V4(from), SocketAddr::V4(to)) => {
                    header.extend([0x11, 0, 12]);
                    header.extend(from.ip().octets());
                    header.extend(to.ip().octets());
                }
                (SocketAddr::V6(_) | SocketAddr::V4(_), SocketAddr::V6(_) | SocketAddr::V4(_)) => {
                    header.extend([0x21, 0, 36]);
                    for ip in [from.ip(), to.ip()] {
                        header.extend(match ip {
                            std::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                            std::net::IpAddr::V6(ip) => ip.octets(),
                        });
                    }
                }
            }
            header.extend(from.port().to_be_bytes());
            header.extend(to.port().to_be_bytes());
            header
        }
    }
}

/// To this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// A whole handshake: far longer than a server takes, and than the module waits for the enclave.
const WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// From "The PROXY protocol", versions 1 and 2.
    #[test]
    fn a_header_is_as_the_protocol_has_it() {
        let [from, to]: [SocketAddr; 2] = ["127.0.0.1:4660", "127.0.0.1:443"].map(|address| address.parse().unwrap());
        assert_eq!(
            header(Proxy::V1, from, to),
            b"PROXY TCP4 127.0.0.1 127.0.0.1 4660 443\r\n"
        );
        let mut expected = b"\x0d\x0a\x0d\x0a\x00\x0d\x0a\x51\x55\x49\x54\x0a\x21\x11\x00\x0c".to_vec();
        expected.extend([127, 0, 0, 1, 127, 0, 0, 1, 0x12, 0x34, 0x01, 0xbb]);
        assert_eq!(header(Proxy::V2, from, to), expected);
        let [from, to]: [SocketAddr; 2] = ["[::1]:4660", "[::1]:443"].map(|address| address.parse().unwrap());
        assert_eq!(header(Proxy::V1, from, to), b"PROXY TCP6 ::1 ::1 4660 443\r\n");
        let six = header(Proxy::V2, from, to);
        assert_eq!((six.len(), six.get(12..16)), (16 + 36, Some(&[0x21, 0x21, 0, 36][..])));
    }

    /// For each type of key there is a suite of TLS 1.2, and none of another type.
    #[test]
    fn each_type_of_key_has_suites_of_its_own() {
        for sort in [Sort::Rsa, Sort::Ecdsa, Sort::Ed25519] {
            let suites = provider(sort).cipher_suites;
            let twelve: Vec<_> = suites
                .iter()
                .filter_map(|suite| match suite {
                    SupportedCipherSuite::Tls12(suite) => Some(format!("{:?}", suite.common.suite)),
                    SupportedCipherSuite::Tls13(_) => None,
                })
                .collect();
            let word = if sort == Sort::Rsa { "ECDHE_RSA" } else { "ECDHE_ECDSA" };
            assert!(
                !twelve.is_empty() && twelve.iter().all(|suite| suite.contains(word)),
                "{twelve:?}"
            );
            assert!(suites.len() > twelve.len(), "and of TLS 1.3");
        }
    }

    #[test]
    fn who_does_not_answer_is_not_waited_for() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let view = View {
            listener: enclave_tls_config::Listener { address, proxy: None },
            name: "a.example".to_owned(),
            sort: Sort::Ecdsa,
        };
        // It closes at once.
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(Network.look(&view).is_err());
        server.join().unwrap();
        let Unseen(why) = Network.look(&view).unwrap_err();
        assert!(why.contains("nobody can connect"), "{why}");
    }
}
