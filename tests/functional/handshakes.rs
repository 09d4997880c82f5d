//! HTTPS as an independent client sees it: `openssl s_client`, which verifies chain and name.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::lab::program::{openssl, succeed};
use e2e::lab::server::{Server, Tls, get};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    every_endpoint_serves_its_key_in_both_versions,
    every_signature_algorithm_that_a_client_may_ask_for,
    a_server_behind_a_proxy_sees_the_client_certificate,
];

fn every_endpoint_serves_its_key_in_both_versions(lab: &Lab) -> Result<()> {
    for endpoint in lab.served() {
        for tls in Tls::ALL {
            let what = || format!("{endpoint}, TLS {}", tls.name());
            let session = get(lab, endpoint, tls, &[])?;
            let key = lab.key(&endpoint.key)?;
            ensure!(
                session.spki == fs::read_to_string(&key.public_key)?,
                "{}: another key was served",
                what()
            );
            let wanted = if key.kind.starts_with("RSA") {
                "RSA-PSS"
            } else {
                "ECDSA"
            };
            ensure!(
                session.signature == wanted,
                "{}: signed by {}",
                what(),
                session.signature
            );
            let workers = Server::of(lab, &endpoint.via).workers()?;
            ensure!(
                workers.contains(&session.worker),
                "{}: {} is no worker of it",
                what(),
                session.worker
            );
        }
    }
    Ok(())
}

/// `tls` keys hash inside the service: SHA-384 and SHA-512 too, and PKCS#1 v1.5 in TLS 1.2.
fn every_signature_algorithm_that_a_client_may_ask_for(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine"] {
        let rsa = lab.lasting_endpoint(via, "RSA-2048")?;
        for hash in ["SHA256", "SHA384", "SHA512"] {
            for (tls, scheme, wanted) in [
                (Tls::V12, format!("RSA+{hash}"), "RSA"),
                (Tls::V12, format!("RSA-PSS+{hash}"), "RSA-PSS"),
                (Tls::V13, format!("RSA-PSS+{hash}"), "RSA-PSS"),
            ] {
                signed_by(lab, rsa, tls, &scheme, wanted)?;
            }
            signed_by(
                lab,
                lab.lasting_endpoint(via, "P-256")?,
                Tls::V12,
                &format!("ECDSA+{hash}"),
                "ECDSA",
            )?;
        }
    }
    Ok(())
}

fn signed_by(lab: &Lab, endpoint: &Endpoint, tls: Tls, scheme: &str, wanted: &str) -> Result<()> {
    // The certificates of the lab's CA are signed by ECDSA.
    let certificates = "ECDSA+SHA256";
    let offered = if scheme == certificates {
        scheme.to_owned()
    } else {
        format!("{scheme}:{certificates}")
    };
    let session =
        get(lab, endpoint, tls, &["-sigalgs", &offered]).with_context(|| format!("{scheme}, TLS {}", tls.name()))?;
    ensure!(
        session.signature == wanted,
        "{endpoint}: {scheme} was offered, {} came",
        session.signature
    );
    Ok(())
}

/// The proxy's own key is a `tls-client` one.
fn a_server_behind_a_proxy_sees_the_client_certificate(lab: &Lab) -> Result<()> {
    for endpoint in lab.endpoints.iter().filter(|endpoint| endpoint.via == "proxy") {
        let client = lab.key(endpoint.client_key.as_deref().context("a proxy without a client key")?)?;
        let serial = succeed(openssl().args(["x509", "-noout", "-serial", "-in"]).arg(&client.chain))?;
        let session = get(lab, endpoint, Tls::V13, &[])?;
        let wanted = format!("upstream SUCCESS TLSv1.3 {}", serial.trim());
        ensure!(
            session.body == wanted,
            "{endpoint}: the server behind it says {:?}, not {wanted:?}",
            session.body
        );
    }
    Ok(())
}
