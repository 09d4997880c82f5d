//! Real chains: a root, an intermediate, and a leaf for each key. The service looks at every rule of them.

use anyhow::{Context, Result};
use der::Decode;
use enclave_wire::identity::{Certificate, CertificateRequest, Chain};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};
use x509_cert::request::CertReq;

use super::plan::Kind;

/// An intermediate, which issues. The root stays away, as it does in life.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let root_key = KeyPair::generate()?;
        let root = Issuer::new(ca("root"), root_key);
        let (params, key) = (ca("intermediate"), KeyPair::generate()?);
        let certificate = der(&params.signed_by(&key, &root)?)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The chain for a request: leaf and intermediate.
    pub(crate) fn issue(&self, request: &CertificateRequest, kind: Kind, host: &str) -> Result<Chain> {
        let request = CertReq::from_der(request.as_bytes())?;
        let key = Requested {
            key: request.info.public_key.subject_public_key.raw_bytes(),
            kind,
        };
        let mut params = CertificateParams::new(vec![host.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, host);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.custom_extensions = vec![filling()];
        let leaf = der(&params.signed_by(&key, &self.issuer)?)?;
        Chain::try_from(vec![leaf, self.certificate.clone()])
            .ok()
            .context("a chain that is too long")
    }
}

/// A public key whose private key is elsewhere.
struct Requested<'a> {
    key: &'a [u8],
    kind: Kind,
}

impl PublicKeyData for Requested<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.kind {
            Kind::P256 => &PKCS_ECDSA_P256_SHA256,
            Kind::Rsa2048 => &PKCS_RSA_SHA256,
        }
    }
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.custom_extensions = vec![filling()];
    params
}

/// Bytes that nobody reads: with them a certificate has the size of a public authority's, which carries proofs of its logging, addresses and
/// policies.
fn filling() -> CustomExtension {
    let mut octets = vec![0x04, 0x82];
    octets.extend(FILLING.to_be_bytes());
    octets.resize(octets.len() + usize::from(FILLING), 0x5a);
    CustomExtension::from_oid_content(OID, octets)
}

fn der(certificate: &rcgen::Certificate) -> Result<Certificate> {
    Certificate::try_from(certificate.der().to_vec())
        .ok()
        .context("a certificate that is too long")
}

/// A P-256 leaf comes to some 1,100 bytes, as Let's Encrypt's did in 2026.
const FILLING: u16 = 650;
/// Below the arc for examples (RFC 5612).
const OID: &[u64] = &[1, 3, 6, 1, 4, 1, 32_473, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_has_the_requests_key_and_the_size_of_a_public_one() {
        let key = KeyPair::generate().unwrap();
        let host = vec!["a.example".to_owned()];
        let request = CertificateParams::new(host).unwrap().serialize_request(&key).unwrap();
        let request = CertificateRequest::try_from(request.der().to_vec()).unwrap();
        let chain = Authority::new()
            .unwrap()
            .issue(&request, Kind::P256, "a.example")
            .unwrap();
        let [leaf, issuer] = chain.certificates() else {
            panic!("leaf and issuer")
        };
        let parsed = x509_cert::Certificate::from_der(leaf.as_bytes()).unwrap();
        let point = parsed.tbs_certificate().subject_public_key_info();
        assert_eq!(point.subject_public_key.raw_bytes(), key.der_bytes());
        for certificate in [leaf, issuer] {
            let length = certificate.as_bytes().len();
            assert!((950..1_250).contains(&length), "{length} bytes");
        }
    }
}
