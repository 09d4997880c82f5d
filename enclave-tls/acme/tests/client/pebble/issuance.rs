//! Certificates of a real server.

use std::collections::BTreeMap;

use enclave_acme::{Cause, ChallengeKind, LocalRefusal, NewOrder, OrderState, Preferred};
use lab_pebble::Options;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use super::run::{Ca, csr, order_of, registered};
use crate::key::Key;

#[tokio::test]
async fn threat_52_a_server_that_refuses_nine_of_ten_nonces_issues() {
    let options = Options {
        bad_nonces: 90,
        ..Options::default()
    };
    let Some(ca) = Ca::start("threat_52_a_server_that_refuses_nine_of_ten_nonces_issues", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let order = ca
        .issued(&account, &order_of(&["a.example", "b.a.example"]))
        .await
        .unwrap();
    let chain = account.certificate(&order, None).await.unwrap();
    assert_eq!((chain.certificates.len(), chain.preferred), (2, Preferred::NotAsked));
}

#[tokio::test]
async fn dns_proves_names_and_wildcards() {
    let Some(ca) = Ca::start("dns_proves_names_and_wildcards", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p384());
    let account = registered(&server, &key).await;
    let new = order_of(&["a.example", "*.a.example", "b.example"]);
    let order = account.order(&new).await.unwrap();
    let error = ca.prove(&account, &order, ChallengeKind::Http01).await;
    let cause = error.err().map(|error| error.cause);
    assert_eq!(
        cause,
        Some(Cause::Local(LocalRefusal::NoChallenge("a.example".to_owned()))),
        "a wildcard needs DNS-01"
    );
    let order = account.order(&new).await.unwrap();
    assert_eq!(ca.prove(&account, &order, ChallengeKind::Dns01).await, Ok(3));
    let order = account.finalize(&order, &csr(&new.names)).await.unwrap();
    account.certificate(&order, None).await.unwrap();
}

#[tokio::test]
async fn a_hundred_names_in_one_certificate() {
    let options = Options {
        always_valid: true,
        ..Options::default()
    };
    let Some(ca) = Ca::start("a_hundred_names_in_one_certificate", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let names: Vec<String> = (0..101)
        .map(|n| format!("n{n}.a-name-of-some-length.example"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let error = account.order(&order_of(&names)).await.unwrap_err();
    assert_eq!(error.cause, Cause::Local(LocalRefusal::Names));
    let order = ca.issued(&account, &order_of(&names[..100])).await.unwrap();
    account.certificate(&order, None).await.unwrap();
}

#[tokio::test]
async fn what_was_proven_before_wants_no_proof() {
    let options = Options {
        reused_authorizations: 100,
        ..Options::default()
    };
    let Some(ca) = Ca::start("what_was_proven_before_wants_no_proof", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    ca.issued(&account, &order_of(&["a.example"])).await.unwrap();
    let order = account.order(&order_of(&["a.example"])).await.unwrap();
    assert_eq!(ca.prove(&account, &order, ChallengeKind::Dns01).await, Ok(0));
    let order = account
        .finalize(&order, &csr(&["a.example".parse().unwrap()]))
        .await
        .unwrap();
    account.certificate(&order, None).await.unwrap();
}

#[tokio::test]
async fn a_profile_says_how_long() {
    let options = Options {
        profiles: BTreeMap::from([("default".to_owned(), 7_776_000), ("shortlived".to_owned(), 518_400)]),
        ..Options::default()
    };
    let Some(ca) = Ca::start("a_profile_says_how_long", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let order = |profile: &str| NewOrder {
        profile: Some(profile.to_owned()),
        ..order_of(&["a.example"])
    };
    for (profile, seconds) in [("default", 7_776_000), ("shortlived", 518_400)] {
        let order = ca.issued(&account, &order(profile)).await.unwrap();
        let chain = account.certificate(&order, None).await.unwrap();
        let leaf = Certificate::from_der(&chain.certificates[0]).unwrap();
        let validity = leaf.tbs_certificate().validity();
        let valid = validity.not_after.to_unix_duration() - validity.not_before.to_unix_duration();
        assert!(valid.as_secs().abs_diff(seconds) <= 1, "{profile}: {valid:?}");
    }
    let error = account.order(&order("tlsserver")).await.unwrap_err();
    let offered = vec!["default".to_owned(), "shortlived".to_owned()];
    assert_eq!(error.cause, Cause::Local(LocalRefusal::Profile(offered)));
}

#[tokio::test]
async fn the_chain_ends_in_the_preferred_issuer() {
    let options = Options {
        alternate_roots: 2,
        ..Options::default()
    };
    let Some(ca) = Ca::start("the_chain_ends_in_the_preferred_issuer", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let order = ca.issued(&account, &order_of(&["a.example"])).await.unwrap();
    assert!(matches!(order.state, OrderState::Valid { .. }));
    let default = account.certificate(&order, None).await.unwrap();
    let mut ends = Vec::new();
    for number in 0..3 {
        let root = subject_of(&ca.pebble.issuing_root(number).unwrap());
        let chain = account.certificate(&order, Some(&root)).await.unwrap();
        assert_eq!((&chain.issuer, chain.preferred), (&root, Preferred::Found));
        assert_eq!(
            chain.certificates[0], default.certificates[0],
            "one leaf has several chains"
        );
        ends.push(chain.certificates.last().unwrap().clone());
    }
    assert_eq!(ends[0], *default.certificates.last().unwrap());
    assert!(ends[0] != ends[1] && ends[1] != ends[2]);
    let chain = account.certificate(&order, Some("ISRG Root X1")).await.unwrap();
    assert_eq!(chain.preferred, Preferred::NotOffered);
    assert_eq!(chain.certificates, default.certificates);
}

/// The common name of a root.
fn subject_of(pem: &str) -> String {
    let (_, der) = pem_rfc7468::decode_vec(pem.as_bytes()).unwrap();
    let root = Certificate::from_der(&der).unwrap();
    assert!(root.to_der().is_ok());
    let subject = root.tbs_certificate().subject().to_string();
    subject.strip_prefix("CN=").unwrap().to_owned()
}
