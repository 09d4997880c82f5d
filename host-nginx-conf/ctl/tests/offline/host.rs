//! A proof of a live server: every key that it presents is attested, and it has each.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rcgen::{PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use rustls::sign::CertifiedKey;

use crate::enclave::{Enclave, attested};
use crate::server::{Identity, Presents, serve};

/// An enclave that attests these keys.
fn attesting(name: &str, identities: &[&Identity]) -> Enclave {
    let mut enclave = Enclave::new(name);
    enclave.statement.keys = identities
        .iter()
        .map(|identity| attested(identity.spki_sha256(), "born", "tls"))
        .collect();
    enclave.attest();
    enclave
}

fn in_both(keys: &[Arc<CertifiedKey>]) -> Presents {
    Presents {
        tls13: keys.to_vec(),
        tls12: keys.to_vec(),
    }
}

fn options(enclave: &Enclave, address: SocketAddr, rest: &[&str]) -> Vec<String> {
    let mut options = enclave.options();
    options.extend(["https://www.example", "--connect"].map(str::to_owned));
    options.push(address.to_string());
    options.extend(rest.iter().map(|word| (*word).to_owned()));
    options
}

#[test]
fn a_server_with_attested_keys_is_proven() {
    let elliptic = [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519].map(Identity::new);
    for (place, identity) in elliptic.iter().chain([Identity::rsa()]).enumerate() {
        let enclave = attesting(&format!("one-{place}"), &[identity]);
        let address = serve(in_both(&[identity.certified()]));
        assert_eq!(
            enclave.failed(&options(&enclave, address, &["--require-usage", "tls"])),
            [""; 0]
        );
    }
}

#[test]
fn both_certificates_of_a_server_are_looked_at() {
    let (elliptic, rsa) = (Identity::new(&PKCS_ECDSA_P256_SHA256), Identity::rsa());
    let address = serve(in_both(&[elliptic.certified(), rsa.certified()]));
    let enclave = attesting("both", &[&elliptic, rsa]);
    assert_eq!(enclave.failed(&options(&enclave, address, &[])), [""; 0]);
    let report = {
        let args = options(&enclave, address, &[]);
        enclave
            .directory
            .json(&args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert_eq!(report["host"]["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn threat_28_a_key_that_is_not_attested_is_found_in_whichever_handshake_it_shows() {
    let (elliptic, rsa) = (Identity::new(&PKCS_ECDSA_P256_SHA256), Identity::rsa());
    let other = Identity::new(&PKCS_ECDSA_P256_SHA256);
    let enclave = attesting("splice", &[&elliptic]);
    let judge = |presents: Presents| enclave.failed(&options(&enclave, serve(presents), &[]));
    assert_eq!(
        judge(in_both(&[other.certified()])),
        [
            "host, TLS 1.3 with ECDSA or Ed25519",
            "host, TLS 1.2 with ECDSA or Ed25519"
        ]
    );
    assert_eq!(
        judge(in_both(&[elliptic.certified(), rsa.certified()])),
        ["host, TLS 1.3 with RSA", "host, TLS 1.2 with RSA"]
    );
    assert_eq!(
        judge(Presents {
            tls13: vec![elliptic.certified()],
            tls12: vec![other.certified()],
        }),
        ["host, TLS 1.2 with ECDSA or Ed25519"]
    );
    assert_eq!(
        judge(Presents {
            tls13: vec![elliptic.certified()],
            tls12: vec![elliptic.certified(), rsa.certified()],
        }),
        ["host, TLS 1.2 with RSA"]
    );
}

#[test]
fn threat_28_a_certificate_without_its_key_proves_nothing() {
    let (attested, thief) = (
        Identity::new(&PKCS_ECDSA_P256_SHA256),
        Identity::new(&PKCS_ECDSA_P256_SHA256),
    );
    let enclave = attesting("thief", &[&attested]);
    let args = options(&enclave, serve(in_both(&[attested.with_key_of(&thief)])), &[]);
    assert_eq!(
        enclave.failed(&args),
        [
            "host, TLS 1.3 with ECDSA or Ed25519",
            "host, TLS 1.2 with ECDSA or Ed25519",
            "host"
        ]
    );
    let output = enclave
        .directory
        .run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("does not show that it has the key"), "{said}");
}

#[test]
fn a_server_that_presents_nothing_or_is_not_there_is_not_proven() {
    let identity = Identity::new(&PKCS_ECDSA_P256_SHA256);
    let enclave = attesting("nothing", &[&identity]);
    let address = serve(Presents::default());
    assert_eq!(enclave.failed(&options(&enclave, address, &[])), ["host"]);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(enclave.failed(&options(&enclave, closed, &[])).len(), 5);
}

#[test]
fn threat_40_the_usage_of_the_key_that_a_server_presents_is_what_counts() {
    let (tls, digest) = (Identity::new(&PKCS_ECDSA_P256_SHA256), Identity::rsa());
    let mut enclave = attesting("usages", &[&tls]);
    enclave
        .statement
        .keys
        .push(attested(digest.spki_sha256(), "born", "digest"));
    enclave.attest();
    let judge = |keys: &[Arc<CertifiedKey>]| {
        let address = serve(in_both(keys));
        enclave.failed(&options(&enclave, address, &["--require-usage", "tls"]))
    };
    assert_eq!(judge(&[tls.certified()]), [""; 0]);
    assert_eq!(judge(&[tls.certified(), digest.certified()]), ["usage"]);
}
