//! A CA, for AWS's hosts and for the certificates in bundles.

use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A root and its key.
#[derive(Clone)]
pub(crate) struct Ca {
    root: Arc<Issuer<'static, KeyPair>>,
    der: Vec<u8>,
}

/// A certificate with its key.
pub(crate) struct Certified {
    pub(crate) leaf: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) key: KeyPair,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named("a root", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            der: params.self_signed(&key).unwrap().der().to_vec(),
            root: Arc::new(Issuer::new(params, key)),
        }
    }

    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// A certificate of a server with these names.
    pub(crate) fn certify(&self, names: &[&str]) -> Certified {
        self.certify_key(names, KeyPair::generate().unwrap())
    }

    pub(crate) fn certify_key(&self, names: &[&str], key: KeyPair) -> Certified {
        self.certify_from(1975, names, key)
    }

    /// A certificate that is valid from this year on.
    pub(crate) fn certify_from(&self, year: i32, names: &[&str], key: KeyPair) -> Certified {
        let mut params = named("a leaf", names);
        params.not_before = date_time_ymd(year, 1, 1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Certified {
            leaf: params.signed_by(&key, &self.root).unwrap().der().to_vec(),
            issuer: self.der.clone(),
            key,
        }
    }
}

impl Certified {
    pub(crate) fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key.serialize_der())
    }

    /// As a server sends it.
    pub(crate) fn chain_pem(&self) -> String {
        pem("CERTIFICATE", &self.leaf)
    }
}

fn named(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// RFC 7468: lines of 64.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = Base64::encode_string(der);
    let lines = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap());
    let body: String = lines.map(|line| format!("{line}\n")).collect();
    format!("-----BEGIN {label}-----\n{body}-----END {label}-----\n")
}
