//! The configuration of the TLS client.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, VerifierBuilderError, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::Options;

/// A version of TLS.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Version {
    /// TLS 1.2.
    #[value(name = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[value(name = "1.3")]
    Tls13,
}

/// The signatures that the client offers to verify in a handshake. Those of certificates are all accepted.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Signature {
    /// RSA with PSS, in TLS 1.2 also with PKCS#1.
    Rsa,
    /// ECDSA with the NIST curves.
    Ecdsa,
    /// Ed25519.
    Ed25519,
    /// All of them.
    Any,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A file that cannot be read or is not PEM.
    #[error("{0}: {1}")]
    File(PathBuf, pem::Error),
    /// A certificate of the CA file that cannot be trusted.
    #[error("{0}: {1}")]
    Root(PathBuf, Error),
    /// The CA file has no certificate.
    #[error("no trusted certificate: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// The client's chain and key, or the versions.
    #[error(transparent)]
    Tls(#[from] Error),
}

pub(super) fn config(options: &Options) -> Result<ClientConfig, ClientError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let roots = Arc::new(read_roots(&options.ca)?);
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(options.tls))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier {
            chain,
            signature: options.sig,
        }));
    let mut config = match (&options.client_cert, &options.client_key) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(read_chain(cert)?, read_key(key)?)?,
        _ => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions(only: Option<Version>) -> Vec<&'static SupportedProtocolVersion> {
    match only {
        Some(Version::Tls12) => vec![&rustls::version::TLS12],
        Some(Version::Tls13) => vec![&rustls::version::TLS13],
        None => rustls::ALL_VERSIONS.to_vec(),
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots
            .add(certificate)
            .map_err(|error| ClientError::Root(path.to_owned(), error))?;
    }
    Ok(roots)
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates.map_err(|error| ClientError::File(path.to_owned(), error))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, ClientError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| ClientError::File(path.to_owned(), error))
}

/// The usual verification of chain and name, with fewer signature schemes offered.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    signature: Signature,
}

impl Verifier {
    fn check_scheme(&self, signed: &DigitallySignedStruct) -> Result<(), Error> {
        if self.supported_verify_schemes().contains(&signed.scheme) {
            return Ok(());
        }
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(signed)?;
        self.chain.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_scheme(signed)?;
        self.chain.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let mut schemes = self.chain.supported_verify_schemes();
        schemes.retain(|scheme| self.signature.has(*scheme));
        schemes
    }
}

impl Signature {
    fn has(self, scheme: SignatureScheme) -> bool {
        use SignatureScheme as S;
        match self {
            Self::Any => true,
            Self::Ed25519 => scheme == S::ED25519,
            Self::Ecdsa => {
                matches!(
                    scheme,
                    S::ECDSA_NISTP256_SHA256 | S::ECDSA_NISTP384_SHA384 | S::ECDSA_NISTP521_SHA512
                )
            }
            Self::Rsa => matches!(
                scheme,
                S::RSA_PSS_SHA256
                    | S::RSA_PSS_SHA384
                    | S::RSA_PSS_SHA512
                    | S::RSA_PKCS1_SHA256
                    | S::RSA_PKCS1_SHA384
                    | S::RSA_PKCS1_SHA512
            ),
        }
    }
}
