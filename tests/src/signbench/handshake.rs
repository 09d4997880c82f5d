//! Full TLS handshakes, each on a new connection, none resumed.
//!
//! The server's certificate is compared byte by byte and its signature is verified; the chain is not, so that the client
//! needs less CPU than the server that it measures.

use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, version,
};

use super::plan::TlsVersion;
use super::subject::{SubjectError, Worker};

/// One connection after the other to one server.
pub(super) struct Client {
    address: String,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Client {
    pub(super) fn open(address: &str, name: &str, chain: &Path, tls: TlsVersion) -> Result<Self, SubjectError> {
        let leaf = CertificateDer::from_pem_file(chain)
            .map_err(|error| SubjectError::Certificate(format!("{}: {error}", chain.display())))?;
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| SubjectError::Certificate(format!("{name}: {error}")))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = match tls {
            TlsVersion::V1_2 => [&version::TLS12],
            TlsVersion::V1_3 => [&version::TLS13],
        };
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(SameLeaf { leaf, provider }))
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self {
            address: address.to_owned(),
            name,
            config: Arc::new(config),
        })
    }

    fn handshake(&self) -> io::Result<()> {
        let mut socket = TcpStream::connect(&self.address)?;
        socket.set_nodelay(true)?;
        let connection = ClientConnection::new(Arc::clone(&self.config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        connection.send_close_notify();
        while connection.wants_write() {
            connection.write_tls(&mut socket)?;
        }
        // To the server's own end of the connection, so that each handshake's cost is whole, and no server writes into a
        // closed socket, which few of its clients have it do.
        io::copy(&mut socket, &mut io::sink()).map(drop)
    }
}

impl Worker for Client {
    fn once(&mut self) -> Result<(), SubjectError> {
        self.handshake()
            .map_err(|error| SubjectError::Io(self.address.clone(), error))
    }
}

/// Accepts one certificate, from a server that has its key.
#[derive(Debug)]
struct SameLeaf {
    leaf: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for SameLeaf {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity != self.leaf {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
