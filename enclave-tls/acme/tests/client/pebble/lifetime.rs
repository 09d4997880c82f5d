//! After a certificate was issued: when to renew it, what replaces it, and its end.

use std::time::Duration;

use enclave_acme::{Account, Cause, CertId, NewOrder, Reason, Revoked};
use lab_pebble::Options;
use pem_rfc7468::{LineEnding, encode_string};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::run::{Ca, now, order_of, registered};
use crate::key::Key;

#[tokio::test]
async fn the_server_says_when_to_renew_and_takes_what_replaces() {
    let Some(ca) = Ca::start(
        "the_server_says_when_to_renew_and_takes_what_replaces",
        &Options::default(),
    ) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let leaf = leaf_with_plain_serial(&ca, &account).await;
    let id = CertId::of(&leaf).unwrap();
    let info = server.renewal_info(&id).await.unwrap().unwrap();
    assert!(
        now() < info.start && info.start < info.end && info.end < now() + 90 * 86_400,
        "{info:?}"
    );
    assert_eq!(info.ask_again, Duration::from_secs(6 * 3_600));

    let answer = r#"{"suggestedWindow":{"start":"2021-01-03T00:00:00Z","end":"2021-01-07T00:00:00Z"},"explanationURL":"https://a.example/why"}"#;
    ca.pebble.set_renewal_info(&pem(&leaf), answer).unwrap();
    let info = server.renewal_info(&id).await.unwrap().unwrap();
    assert_eq!((info.start, info.end), (1_609_632_000, 1_609_977_600));
    assert_eq!(info.explanation.as_deref(), Some("https://a.example/why"));

    let replacing = NewOrder {
        replaces: Some(id),
        ..order_of(&["a.example"])
    };
    ca.issued(&account, &replacing).await.unwrap();
    // The second one is refused as such, and comes all the same.
    ca.issued(&account, &replacing).await.unwrap();
}

#[tokio::test]
async fn a_revoked_certificate_is_revoked() {
    let Some(ca) = Ca::start("a_revoked_certificate_is_revoked", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let leaf = leaf_with_plain_serial(&ca, &account).await;
    assert_eq!(
        ca.pebble.certificate_status(&serial(&leaf)).unwrap(),
        ("Valid".to_owned(), None)
    );
    let stranger = Key::p256();
    let other = registered(&server, &stranger).await;
    let error = other.revoke(&leaf, Reason::KeyCompromise).await.unwrap_err();
    assert!(
        matches!(&error.cause, Cause::Refused(problem) if problem.name == "unauthorized"),
        "{error}"
    );
    assert_eq!(account.revoke(&leaf, Reason::KeyCompromise).await, Ok(Revoked::Now));
    let status = ca.pebble.certificate_status(&serial(&leaf)).unwrap();
    assert_eq!(status, ("Revoked".to_owned(), Some(1)));
    assert_eq!(account.revoke(&leaf, Reason::Superseded).await, Ok(Revoked::Before));
}

/// A leaf whose serial number begins with no zero byte: pebble finds others by their identifier of RFC 9773 not at all, though that
/// has the byte.
async fn leaf_with_plain_serial(ca: &Ca, account: &Account<'_>) -> Vec<u8> {
    loop {
        let order = ca.issued(account, &order_of(&["a.example"])).await.unwrap();
        let chain = account.certificate(&order, None).await.unwrap();
        if !serial(&chain.certificates[0]).starts_with("00") {
            return chain.certificates[0].clone();
        }
    }
}

/// In hexadecimal.
fn serial(leaf: &[u8]) -> String {
    let leaf = Certificate::from_der(leaf).unwrap();
    let serial = leaf.tbs_certificate().serial_number();
    serial.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pem(der: &[u8]) -> String {
    encode_string("CERTIFICATE", LineEnding::LF, der).unwrap()
}
