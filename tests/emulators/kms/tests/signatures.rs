//! SigV4: what is signed well is taken, and each rule alone refuses.

mod support;

use serde_json::json;
use support::client::{Ask, date, exchange, sha256};
use support::{ADMIN, KEY_ARN, Login, PARENT, start};

/// Breaks one rule.
type Spoil = fn(&mut Ask);

fn ask() -> Ask {
    Ask::new(ADMIN, "DescribeKey", &json!({ "KeyId": KEY_ARN }))
}

#[test]
fn a_good_signature_is_taken() {
    let kms = start([0; 32]);
    let reply = ask().send(kms.address());
    assert_eq!(reply.status, 200, "{}", reply.words());
    assert_eq!(reply.json()["KeyMetadata"]["Arn"], KEY_ARN);
    assert!(reply.head.contains("x-amzn-requestid: "));
    assert!(reply.head.contains("date: "));
    assert_eq!(kms.counters().principals[ADMIN.arn].succeeded, 1);
}

#[test]
fn each_rule_refuses_alone() {
    let kms = start([0; 32]);
    let cases: [(Spoil, &str, &str); 12] = [
        (
            |ask| ask.login.secret = "another",
            INVALID,
            "The request signature we calculated does not match",
        ),
        (
            |ask| ask.login.access_key_id = "AKIANOBODY",
            UNRECOGNIZED,
            "The security token included",
        ),
        (
            |ask| ask.login.token = Some("token"),
            UNRECOGNIZED,
            "The security token included",
        ),
        (
            |ask| "eu-west-1".clone_into(&mut ask.region),
            INVALID,
            "Credential should be scoped to a valid region",
        ),
        (
            |ask| "s3".clone_into(&mut ask.service),
            INVALID,
            "Credential should be scoped to correct service",
        ),
        (|ask| ask.date = date(-301 - 5), INVALID, "Signature expired: "),
        (|ask| ask.date = date(301 + 5), INVALID, "Signature not yet current: "),
        (
            |ask| "20150830T123600".clone_into(&mut ask.date),
            INCOMPLETE,
            "Date must be in ISO-8601",
        ),
        (
            |ask| ask.leave_out = Some("host"),
            INVALID,
            "'Host' or ':authority' must be",
        ),
        (
            |ask| ask.leave_out = Some("x-amz-date"),
            INVALID,
            "'x-amz-date' must be",
        ),
        (
            |ask| ask.leave_out = Some("x-amz-target"),
            INVALID,
            "'x-amz-target' must be",
        ),
        (
            |ask| ask.leave_out = Some("content-type"),
            INVALID,
            "'content-type' must be",
        ),
    ];
    for (spoil, refusal, words) in cases {
        let mut ask = ask();
        spoil(&mut ask);
        let reply = ask.send(kms.address());
        assert_eq!(
            (reply.status, reply.refusal().as_str()),
            (400, refusal),
            "{}",
            reply.words()
        );
        assert!(reply.words().starts_with(words), "{words}: {}", reply.words());
    }
    assert_eq!(kms.counters().unauthenticated, 12);
}

#[test]
fn what_is_changed_after_signing_is_refused() {
    let kms = start([0; 32]);
    let mut ask = ask();
    let authorization = ask.authorization(&kms.address().to_string());
    ask.body = json!({ "KeyId": support::OTHER_KEY_ARN }).to_string().into_bytes();
    let reply = ask.send_with(kms.address(), Some(&authorization)).unwrap();
    assert_eq!(reply.refusal(), "InvalidSignatureException");
}

#[test]
fn a_hash_of_the_body_must_be_its_hash() {
    let kms = start([0; 32]);
    let mut ask = ask();
    ask.content_sha256 = Some(sha256(&ask.body));
    assert_eq!(ask.send(kms.address()).status, 200);
    ask.content_sha256 = Some("00".repeat(32));
    assert_eq!(ask.send(kms.address()).refusal(), INVALID);
}

#[test]
fn a_request_without_authorization_is_refused() {
    let kms = start([0; 32]);
    let reply = ask().send_with(kms.address(), None).unwrap();
    assert_eq!(reply.refusal(), "MissingAuthenticationTokenException");
    for bad in [
        "Bearer x",
        "AWS4-HMAC-SHA256 Credential=a/b/c",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, Signature=0",
    ] {
        let reply = ask().send_with(kms.address(), Some(bad)).unwrap();
        assert_eq!(reply.refusal(), "IncompleteSignatureException", "{bad}");
    }
}

#[test]
fn a_session_must_show_its_token() {
    let kms = start([0; 32]);
    let with = |token| {
        let login = Login { token, ..PARENT };
        Ask::new(login, "ListKeys", &json!({})).send(kms.address()).refusal()
    };
    // Known, but not allowed: the signature held.
    assert_eq!(with(PARENT.token), "AccessDeniedException");
    assert_eq!(with(None), "UnrecognizedClientException");
    assert_eq!(with(Some("another")), "UnrecognizedClientException");
}

#[test]
fn expired_credentials_are_refused() {
    let mut config = support::config([0; 32]);
    config.principals[0].expires = Some(1);
    let kms = emulator_kms::Emulator::start(&config).unwrap();
    assert_eq!(ask().send(kms.address()).refusal(), "ExpiredTokenException");
}

#[test]
fn a_skewed_client_is_told_the_time() {
    let kms = start([0; 32]);
    let mut skewed = ask();
    skewed.date = date(-3_600);
    let reply = skewed.send(kms.address());
    assert!(
        reply
            .words()
            .starts_with(&format!("Signature expired: {} is now earlier than ", skewed.date))
    );
    // The emulator's own clock is off: the same refusal for a client that is right.
    let faults = emulator_kms::Faults {
        clock_offset_seconds: 3_600,
        ..Default::default()
    };
    kms.faults().set(faults);
    assert!(ask().send(kms.address()).words().starts_with("Signature expired: "));
    let mut right = ask();
    right.date = date(3_600);
    assert_eq!(right.send(kms.address()).status, 200);
}

#[test]
fn what_is_no_operation_is_unknown() {
    let kms = start([0; 32]);
    let reply = Ask::new(ADMIN, "Frobnicate", &json!({})).send(kms.address());
    assert_eq!(reply.json(), json!({ "__type": "UnknownOperationException" }));
    assert_eq!(kms.counters().operation("unknown").failed, 1);
}

#[test]
fn members_that_are_not_known_or_stand_twice_are_refused() {
    let kms = start([0; 32]);
    let reply = Ask::new(ADMIN, "DescribeKey", &json!({ "KeyId": KEY_ARN, "Keyid": "x" })).send(kms.address());
    assert_eq!(reply.refusal(), "SerializationException");
    let mut twice = ask();
    twice.body = format!(r#"{{"KeyId":"{KEY_ARN}","KeyId":"{KEY_ARN}"}}"#).into_bytes();
    assert_eq!(twice.send(kms.address()).refusal(), "SerializationException");
}

#[test]
fn the_port_of_the_switches_speaks_no_kms() {
    let kms = start([0; 32]);
    let reply = exchange(
        kms.admin_address(),
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .unwrap();
    assert_eq!(reply.status, 404);
}

const INVALID: &str = "InvalidSignatureException";
const INCOMPLETE: &str = "IncompleteSignatureException";
const UNRECOGNIZED: &str = "UnrecognizedClientException";
