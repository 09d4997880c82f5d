//! Each switch does what it says, so that a test that uses it tests something.

mod support;

use std::time::{Duration, Instant};

use emulator_kms::{Close, CmsFault, Emulator, ErrorFault, Faults, PlaintextFault};
use serde_json::{Value, json};
use support::client::{Ask, Reply, exchange};
use support::enclave::Enclave;
use support::{KEY_ARN, OTHER_KEY_ARN, PARENT, bytes, encrypt, recipient, start};

/// An emulator, an enclave that may decrypt, and a ciphertext.
struct Scene {
    kms: Emulator,
    enclave: Enclave,
    ask: Ask,
}

impl Scene {
    fn new() -> Self {
        let enclave = Enclave::new();
        let kms = start(enclave.root_sha256());
        let blob = encrypt(&kms, b"secret", &json!({}));
        let body = json!({ "CiphertextBlob": blob, "KeyId": KEY_ARN, "Recipient": recipient(&enclave.document()) });
        let ask = Ask::new(PARENT, "Decrypt", &body);
        Self { kms, enclave, ask }
    }

    fn with(&self, faults: Faults) -> Reply {
        self.kms.faults().set(faults);
        self.ask.send(self.kms.address())
    }

    fn cms(&self, fault: CmsFault) -> Vec<u8> {
        let faults = Faults {
            cms: Some(fault),
            ..Faults::default()
        };
        bytes(&self.with(faults).json()["CiphertextForRecipient"])
    }
}

#[test]
fn threat_32_the_plaintext_stands_in_the_reply() {
    let scene = Scene::new();
    let with = |plaintext| {
        let faults = Faults {
            plaintext: Some(plaintext),
            ..Faults::default()
        };
        scene.with(faults).json()
    };
    let beside = with(PlaintextFault::Beside);
    assert_eq!(bytes(&beside["Plaintext"]), b"secret");
    assert_eq!(
        scene.enclave.open(&bytes(&beside["CiphertextForRecipient"])).unwrap(),
        b"secret"
    );
    let instead = with(PlaintextFault::Instead);
    assert_eq!(bytes(&instead["Plaintext"]), b"secret");
    assert_eq!(instead.get("CiphertextForRecipient"), None);
}

#[test]
fn threat_33_another_key_stands_in_the_reply() {
    let scene = Scene::new();
    for arn in [
        OTHER_KEY_ARN.to_owned(),
        KEY_ARN.replace("us-east-1", "us-east-2"),
        KEY_ARN.replace("1111222", "9999000"),
    ] {
        let faults = Faults {
            reply_key_id: Some(arn.clone()),
            ..Faults::default()
        };
        assert_eq!(scene.with(faults).json()["KeyId"], arn);
    }
}

#[test]
fn threat_36_messages_that_no_reader_may_open() {
    let scene = Scene::new();
    for fault in [
        CmsFault::Garbage,
        CmsFault::Truncated,
        CmsFault::KeyAlgorithm,
        CmsFault::OaepDigest,
    ] {
        assert_eq!(scene.enclave.open(&scene.cms(fault)), None, "{fault:?}");
    }
    // OpenSSL invents a content key where it cannot unwrap one, so these come out as something, or as an error of the padding.
    for fault in [
        CmsFault::AnotherKey,
        CmsFault::AnotherPlaintext,
        CmsFault::Padding,
        CmsFault::ShortContentKey,
    ] {
        assert_ne!(
            scene.enclave.open(&scene.cms(fault)).as_deref(),
            Some(&b"secret"[..]),
            "{fault:?}"
        );
    }
}

/// What OpenSSL takes, and a strict reader must not.
#[test]
fn threat_36_messages_that_kms_does_not_send() {
    let scene = Scene::new();
    for fault in [
        CmsFault::DefiniteLengths,
        CmsFault::Version,
        CmsFault::Trailing,
        CmsFault::TwoRecipients,
    ] {
        assert_eq!(
            scene.enclave.open(&scene.cms(fault)).as_deref(),
            Some(&b"secret"[..]),
            "{fault:?}"
        );
    }
    assert_eq!(scene.cms(CmsFault::DefiniteLengths)[1], 0x82);
    let trailing = scene.cms(CmsFault::Trailing);
    assert_eq!(trailing[trailing.len() - 5..], [0; 5]);
}

#[test]
fn threat_37_errors_until_they_are_cleared_or_so_many_times() {
    let scene = Scene::new();
    for (error, status, name) in [
        (ErrorFault::Internal, 500, "KMSInternalException"),
        (ErrorFault::Unavailable, 503, "ServiceUnavailableException"),
        (ErrorFault::Throttling, 400, "ThrottlingException"),
        (ErrorFault::ExpiredToken, 400, "ExpiredTokenException"),
    ] {
        let faults = Faults {
            error: Some(error),
            times: Some(2),
            ..Faults::default()
        };
        let reply = scene.with(faults);
        assert_eq!((reply.status, reply.refusal().as_str()), (status, name));
        let replies = [(); 2].map(|()| scene.ask.send(scene.kms.address()).status);
        assert_eq!(replies, [status, 200]);
    }
    let faults = Faults {
        error: Some(ErrorFault::BadGateway),
        ..Faults::default()
    };
    let reply = scene.with(faults);
    assert_eq!((reply.status, reply.body.first()), (502, Some(&b'<')));
    scene.kms.faults().clear();
    assert_eq!(scene.ask.send(scene.kms.address()).status, 200);
}

#[test]
fn connections_break_before_and_in_a_reply() {
    let scene = Scene::new();
    let address = scene.kms.address();
    let authorization = scene.ask.authorization(&address.to_string());
    for close in [Close::BeforeReply, Close::MidReply] {
        let faults = Faults {
            close: Some(close),
            times: Some(1),
            ..Faults::default()
        };
        scene.kms.faults().set(faults);
        assert!(
            scene.ask.send_with(address, Some(&authorization)).is_none(),
            "{close:?}"
        );
        assert!(scene.ask.send_with(address, Some(&authorization)).is_some());
    }
    assert_eq!(
        scene.kms.counters().operation("Decrypt").succeeded,
        4,
        "the operation was done each time"
    );
}

#[test]
fn replies_are_delayed() {
    let scene = Scene::new();
    let before = Instant::now();
    let faults = Faults {
        delay_ms: 50,
        ..Faults::default()
    };
    assert_eq!(scene.with(faults).status, 200);
    assert!(before.elapsed() >= Duration::from_millis(50));
}

#[test]
fn switches_and_counters_are_there_for_other_processes() {
    let scene = Scene::new();
    let admin = |method: &str, path: &str, body: &str| -> (u16, Value) {
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        let reply = exchange(scene.kms.admin_address(), request.as_bytes()).unwrap();
        (reply.status, reply.json())
    };
    let (status, _) = admin(
        "PUT",
        "/_emulator/faults",
        r#"{"error":"throttling","operations":["Decrypt"],"times":1}"#,
    );
    assert_eq!(status, 200);
    assert_eq!(scene.ask.send(scene.kms.address()).refusal(), "ThrottlingException");
    assert_eq!(admin("PUT", "/_emulator/faults", r#"{"errors":"throttling"}"#).0, 400);
    let (_, counters) = admin("GET", "/_emulator/counters", "");
    assert_eq!(counters["operations"]["Decrypt"]["failed"], 1);
    admin("DELETE", "/_emulator/counters", "");
    assert_eq!(scene.kms.counters(), emulator_kms::Counters::default());
    admin("PUT", "/_emulator/faults", r#"{"close":"before_reply"}"#);
    assert_eq!(admin("GET", "/_emulator/faults", "").1["close"], "before_reply");
    admin("DELETE", "/_emulator/faults", "");
    assert_eq!(scene.kms.faults().current(), Faults::default());
}
