//! Accounts at a real server.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use enclave_acme::{Binding, Cause, LocalRefusal, Registration};
use lab_pebble::Options;
use zeroize::Zeroizing;

use super::run::{Ca, order_of, registered};
use crate::key::Key;

#[tokio::test]
async fn an_account_is_found_again_by_its_key() {
    let Some(ca) = Ca::start("an_account_is_found_again_by_its_key", &Options::default()) else {
        return;
    };
    for key in [Key::p256(), Key::p384()] {
        let server = ca.server().await;
        assert!(server.find(&key).await.unwrap().is_none());
        let url = registered(&server, &key).await.url().clone();
        assert_eq!(registered(&server, &key).await.url(), &url, "it is registered once");
        let server = ca.server().await;
        assert_eq!(server.find(&key).await.unwrap().unwrap().url(), &url);
    }
}

#[tokio::test]
async fn contacts_are_changed_and_taken_away() {
    let Some(ca) = Ca::start("contacts_are_changed_and_taken_away", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    assert_eq!(account.contacts(), ["mailto:tls@a.example"]);
    for wanted in [
        &["mailto:new@a.example".to_owned(), "mailto:b@a.example".to_owned()][..],
        &[],
    ] {
        account.change_contacts(wanted).await.unwrap();
        let known = server.find(&key).await.unwrap().unwrap();
        assert_eq!((known.contacts(), known.url()), (wanted, account.url()));
    }
}

#[tokio::test]
async fn terms_are_agreed_to_by_people() {
    let Some(ca) = Ca::start("terms_are_agreed_to_by_people", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let error = server.register(&key, &Registration::default()).await.err().unwrap();
    assert!(matches!(error.cause, Cause::Local(LocalRefusal::Terms(_))), "{error}");
}

#[tokio::test]
async fn an_account_is_bound_where_the_server_wants_it() {
    let (kid, mac) = (
        "kid-1 \"quoted\"".to_owned(),
        "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
    );
    let options = Options {
        bindings: BTreeMap::from([(kid.clone(), mac.to_owned())]),
        ..Options::default()
    };
    let Some(ca) = Ca::start("an_account_is_bound_where_the_server_wants_it", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    assert!(server.meta().needs_binding);
    let registration = |binding| Registration {
        contacts: Vec::new(),
        terms_agreed: true,
        binding,
    };
    let error = server.register(&key, &registration(None)).await.err().unwrap();
    assert_eq!(error.cause, Cause::Local(LocalRefusal::Binding));
    let binding = |kid: &str, mac_key: Vec<u8>| Binding {
        kid: kid.to_owned(),
        mac_key: Zeroizing::new(mac_key),
    };
    let wrong = binding(&kid, vec![1; 48]);
    let error = server.register(&key, &registration(Some(&wrong))).await.err().unwrap();
    assert!(
        matches!(&error.cause, Cause::Refused(problem) if problem.name == "unauthorized"),
        "{error}"
    );
    let mac = Base64UrlUnpadded::decode_vec(mac).unwrap();
    let right = binding(&kid, mac);
    let account = server.register(&key, &registration(Some(&right))).await.unwrap();
    account.order(&order_of(&["a.example"])).await.unwrap();
    assert_eq!(server.find(&key).await.unwrap().unwrap().url(), account.url());
}
