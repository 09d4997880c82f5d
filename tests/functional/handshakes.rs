//! HTTPS as an independent client sees it: `openssl s_client`, which verifies chain and name.

use std::fs;

use anyhow::{Context, Result, ensure};
use e2e::lab::program::run;
use e2e::lab::server::{Server, Tls, get, s_client};
use e2e::lab::suite::Test;
use e2e::lab::{Endpoint, Lab};

pub(super) const TESTS: &[Test] = e2e::tests![
    every_endpoint_serves_its_key_in_both_versions,
    every_signature_algorithm_that_a_client_may_ask_for,
    threat_41_a_client_of_rsa_key_exchange_gets_an_alert,
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

/// Such a client would need the key to decrypt. It gets an alert, and the workers serve on.
fn threat_41_a_client_of_rsa_key_exchange_gets_an_alert(lab: &Lab) -> Result<()> {
    for via in ["provider", "engine"] {
        let endpoint = lab.lasting_endpoint(via, "RSA-2048")?;
        let workers = Server::of(lab, via).workers()?;
        // As often as it takes to meet each worker.
        for _ in 0..8 {
            let ran = run(s_client(endpoint, Tls::V12).args(["-cipher", "kRSA:@SECLEVEL=0"]))?;
            ensure!(
                !ran.status.success() && ran.stdout.contains("New, (NONE)"),
                "it was served: {}",
                ran.printed()
            );
            ensure!(
                ran.stderr.contains("alert handshake failure"),
                "{endpoint}: no alert: {}",
                ran.stderr
            );
        }
        ensure!(Server::of(lab, via).workers()? == workers, "{via}: a worker died");
        Server::of(lab, via).wake_every_worker(endpoint, Tls::V12)?;
    }
    Ok(())
}
