//! The same certificates with keys in files: with what servers' starts are compared.

use std::fs;

use anyhow::{Context, Result};
use enclave_wire::identity::CertificateRequest;
use pem_rfc7468::{LineEnding, encode_string};
use rcgen::{CertificateParams, KeyPair};

use super::plan::FilesPlan;
use crate::machinebench::authority::Authority;
use crate::machinebench::plan::Kind;

/// Makes a P-256 key and a chain for each name, and the two lines of NGINX's configuration that name them.
pub fn files(plan: &FilesPlan) -> Result<()> {
    let authority = Authority::new()?;
    for name in &plan.names {
        let dir = plan.dir.join(name);
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let host = format!("{name}.example");
        let key = KeyPair::generate()?;
        let request = CertificateParams::new(vec![host.clone()])?.serialize_request(&key)?;
        let request = CertificateRequest::try_from(request.der().to_vec())
            .ok()
            .context("a request that is too long")?;
        let mut chain = String::new();
        for certificate in authority.issue(&request, Kind::P256, &host)?.certificates() {
            chain += &pem("CERTIFICATE", certificate.as_bytes())?;
        }
        fs::write(dir.join("chain.pem"), chain)?;
        fs::write(dir.join("key.pem"), pem("PRIVATE KEY", &key.serialize_der())?)?;
        let at = dir.display();
        fs::write(
            dir.join("nginx.conf"),
            format!("ssl_certificate {at}/chain.pem;\nssl_certificate_key {at}/key.pem;\n"),
        )?;
    }
    Ok(())
}

fn pem(label: &str, der: &[u8]) -> Result<String> {
    encode_string(label, LineEnding::LF, der)
        .ok()
        .with_context(|| format!("no PEM of {label}"))
}
