//! The certificate that the server's own interfaces show.

use std::fs;
use std::path::Path;

use anyhow::{Result, anyhow};
use pem_rfc7468::{LineEnding, encode_string};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

/// A root, and in the directory `root.pem`, `server.pem` and `server.key`.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) root: Vec<u8>,
}

impl Identity {
    pub(crate) fn make(dir: &Path, names: &[String]) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "root of a pebble's own interface");
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new(names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &root)?;
        fs::write(dir.join("root.pem"), pem("CERTIFICATE", root.der())?)?;
        fs::write(dir.join("server.pem"), pem("CERTIFICATE", leaf.der())?)?;
        fs::write(dir.join("server.key"), pem("PRIVATE KEY", &key.serialize_der())?)?;
        Ok(Self {
            root: root.der().to_vec(),
        })
    }
}

fn pem(label: &str, der: &[u8]) -> Result<String> {
    encode_string(label, LineEnding::LF, der).map_err(|_| anyhow!("{label} cannot be written as PEM"))
}
