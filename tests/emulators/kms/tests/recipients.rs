//! Recipients: a document is believed for what it is, and each rule alone refuses.

mod support;

use emulator_kms::{Emulator, Faults};
use serde_json::{Value, json};
use support::client::{Ask, Reply};
use support::enclave::{Enclave, IMAGE};
use support::{ADMIN, KEY_ARN, PARENT, base64, bytes, encrypt, recipient, start};

fn decrypt(kms: &Emulator, blob: &str, recipient: &Value) -> Reply {
    let body = json!({ "CiphertextBlob": blob, "KeyId": KEY_ARN, "Recipient": recipient });
    Ask::new(PARENT, "Decrypt", &body).send(kms.address())
}

#[test]
fn the_plaintext_goes_to_the_recipient_and_nowhere_else() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let secret = b"-----BEGIN PRIVATE KEY-----".repeat(7);
    let blob = encrypt(&kms, &secret, &json!({}));
    let mut nulls = 0;
    for _ in 0..4 {
        let reply = decrypt(&kms, &blob, &recipient(&enclave.document())).json();
        assert_eq!(reply["KeyId"], KEY_ARN);
        nulls += usize::from(reply.as_object().unwrap().contains_key("Plaintext"));
        assert!(reply["Plaintext"].is_null());
        assert_eq!(enclave.open(&bytes(&reply["CiphertextForRecipient"])).unwrap(), secret);
    }
    assert_eq!(nulls, 2, "null and absent in turn");
    assert_eq!(kms.counters().operation("Decrypt").attested, 4);
    assert_eq!(kms.counters().operation("Decrypt").succeeded, 4);
}

#[test]
fn every_operation_that_takes_a_recipient_delivers_to_it() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let recipient = recipient(&enclave.document());
    for (login, operation, body, member, length) in [
        (
            PARENT,
            "GenerateDataKey",
            json!({ "KeyId": KEY_ARN, "KeySpec": "AES_256" }),
            "Plaintext",
            32..33,
        ),
        (
            PARENT,
            "GenerateDataKey",
            json!({ "KeyId": KEY_ARN, "NumberOfBytes": 64 }),
            "Plaintext",
            64..65,
        ),
        (
            PARENT,
            "GenerateDataKeyPair",
            json!({ "KeyId": KEY_ARN, "KeyPairSpec": "ECC_NIST_P256" }),
            "PrivateKeyPlaintext",
            130..160,
        ),
        (
            ADMIN,
            "GenerateRandom",
            json!({ "NumberOfBytes": 20 }),
            "Plaintext",
            20..21,
        ),
    ] {
        let mut body = body;
        body["Recipient"] = recipient.clone();
        let reply = Ask::new(login, operation, &body).send(kms.address());
        assert_eq!(reply.status, 200, "{operation}: {}", reply.words());
        let reply = reply.json();
        assert!(reply[member].is_null());
        let opened = enclave.open(&bytes(&reply["CiphertextForRecipient"])).unwrap();
        assert!(length.contains(&opened.len()), "{operation}: {}", opened.len());
    }
}

#[test]
fn a_data_key_is_the_same_in_its_blob() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let context = json!({ "purpose": "sealed", "group": "web" });
    let recipient = recipient(&enclave.document());
    let ask = json!({ "KeyId": KEY_ARN, "KeySpec": "AES_256", "EncryptionContext": context, "Recipient": recipient });
    let made = Ask::new(PARENT, "GenerateDataKey", &ask).send(kms.address()).json();
    let ask = json!({ "CiphertextBlob": made["CiphertextBlob"], "EncryptionContext": context, "Recipient": recipient });
    let opened = Ask::new(PARENT, "Decrypt", &ask).send(kms.address()).json();
    let [made, opened] = [made, opened].map(|reply| enclave.open(&bytes(&reply["CiphertextForRecipient"])).unwrap());
    assert_eq!(made, opened);
}

#[test]
fn without_a_recipient_the_policy_refuses() {
    let kms = start([0; 32]);
    let blob = encrypt(&kms, b"secret", &json!({}));
    for login in [PARENT, ADMIN] {
        let reply = Ask::new(login, "Decrypt", &json!({ "CiphertextBlob": blob })).send(kms.address());
        assert_eq!(reply.refusal(), "AccessDeniedException");
        let arn = login.arn;
        let words = format!(
            "User: {arn} is not authorized to perform: kms:Decrypt on resource: {KEY_ARN} with an explicit deny in a resource-based policy"
        );
        assert_eq!(reply.words(), words);
    }
    assert_eq!(kms.counters().operation("Decrypt").denied, 2);
}

#[test]
fn threat_26_another_image_is_refused_by_the_policy() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let blob = encrypt(&kms, b"secret", &json!({}));
    let mut other = IMAGE;
    other[47] ^= 1;
    let document = enclave.document_of(other, 0, Some(&enclave.spki()));
    assert_eq!(
        decrypt(&kms, &blob, &recipient(&document)).refusal(),
        "AccessDeniedException"
    );
    assert_eq!(kms.counters().operation("Decrypt").attested, 1);
}

#[test]
fn threat_25_a_debug_enclave_is_refused_by_the_policy() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let blob = encrypt(&kms, b"secret", &json!({}));
    let document = enclave.document_of([0; 48], 0, Some(&enclave.spki()));
    assert_eq!(
        decrypt(&kms, &blob, &recipient(&document)).refusal(),
        "AccessDeniedException"
    );
}

#[test]
fn a_document_is_refused_for_each_rule_alone() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let blob = encrypt(&kms, b"secret", &json!({}));
    let made = |offset_ms, key: Option<&[u8]>| enclave.document_of(IMAGE, offset_ms, key);
    let mut forged = enclave.document();
    *forged.last_mut().unwrap() ^= 1;
    let spki = enclave.spki();
    let trailing = [&spki[..], &[0]].concat();
    for (document, words) in [
        (
            Enclave::new().document(),
            "the certificate chain was refused: the root is not the pinned one",
        ),
        (forged, "the signature is not that of the document's certificate"),
        (enclave.unsigned(), "the header is not that of ES384 alone"),
        (made(-5 * 60_000 - 5_000, Some(&spki)), "older than five minutes"),
        (made(120_000, Some(&spki)), "not valid yet"),
        (enclave.document_from_the_future(), "from the future"),
        (made(0, None), "has no public key"),
        (made(0, Some(&[4; 65])), "public key is not RSA"),
        (made(0, Some(&trailing)), "public key is not RSA"),
        (b"document".to_vec(), "not a COSE_Sign1"),
    ] {
        let reply = decrypt(&kms, &blob, &recipient(&document));
        assert_eq!(reply.refusal(), "ValidationException", "{words}");
        assert!(reply.words().contains(words), "{words}: {}", reply.words());
    }
    let mut algorithm = recipient(&enclave.document());
    algorithm["KeyEncryptionAlgorithm"] = "RSAES_OAEP_SHA_1".into();
    assert_eq!(decrypt(&kms, &blob, &algorithm).refusal(), "ValidationException");
    assert_eq!(kms.counters().operation("Decrypt").attested, 0);
}

#[test]
fn a_document_that_is_nearly_five_minutes_old_is_taken() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let blob = encrypt(&kms, b"secret", &json!({}));
    let document = enclave.document_of(IMAGE, -4 * 60_000, Some(&enclave.spki()));
    assert_eq!(decrypt(&kms, &blob, &recipient(&document)).status, 200);
}

#[test]
fn without_a_root_no_document_is_believed() {
    let enclave = Enclave::new();
    let mut config = support::config([0; 32]);
    config.attestation_root_sha256 = None;
    let kms = Emulator::start(&config).unwrap();
    let blob = encrypt(&kms, b"secret", &json!({}));
    let reply = decrypt(&kms, &blob, &recipient(&enclave.document()));
    assert_eq!(reply.words(), "Recipient: the emulator was given no attestation root.");
}

#[test]
fn unsigned_documents_are_believed_only_where_it_is_asked_for() {
    let enclave = Enclave::new();
    let mut config = support::config(enclave.root_sha256());
    config.allow_unsigned_documents = true;
    let kms = Emulator::start(&config).unwrap();
    let blob = encrypt(&kms, b"secret", &json!({}));
    let reply = decrypt(&kms, &blob, &recipient(&enclave.unsigned()));
    assert_eq!(
        enclave.open(&bytes(&reply.json()["CiphertextForRecipient"])).unwrap(),
        b"secret"
    );
    // A signed one is still verified.
    assert_eq!(decrypt(&kms, &blob, &recipient(&enclave.document())).status, 200);
    assert_eq!(
        decrypt(&kms, &blob, &recipient(&Enclave::new().document())).refusal(),
        "ValidationException"
    );
    let mut signature = enclave.unsigned();
    *signature.last_mut().unwrap() = 1;
    assert_eq!(
        decrypt(&kms, &blob, &recipient(&signature)).refusal(),
        "ValidationException"
    );
}

#[test]
fn threat_36_each_form_is_opened_by_openssl() {
    use emulator_kms::CmsForm::{Alternating, Chunked, Constructed, Primitive};
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let recipient = recipient(&enclave.document());
    for length in [1, 15, 16, 17, 32, 4_096] {
        let secret: Vec<u8> = (0..length).map(|at: usize| at.to_le_bytes()[0]).collect();
        let blob = encrypt(&kms, &secret, &json!({}));
        for cms_form in [Alternating, Primitive, Constructed, Chunked] {
            let faults = Faults {
                cms_form,
                ..Faults::default()
            };
            kms.faults().set(faults);
            let reply = decrypt(&kms, &blob, &recipient).json();
            let opened = enclave.open(&bytes(&reply["CiphertextForRecipient"]));
            assert_eq!(opened.as_deref(), Some(&secret[..]), "{length} {cms_form:?}");
        }
    }
}

#[test]
fn recipients_are_members_of_those_operations_only() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    for (operation, body) in [
        ("Encrypt", json!({ "KeyId": KEY_ARN, "Plaintext": base64(b"x") })),
        ("DescribeKey", json!({ "KeyId": KEY_ARN })),
        (
            "GenerateDataKeyWithoutPlaintext",
            json!({ "KeyId": KEY_ARN, "KeySpec": "AES_256" }),
        ),
    ] {
        let mut body = body;
        body["Recipient"] = recipient(&enclave.document());
        let reply = Ask::new(ADMIN, operation, &body).send(kms.address());
        if !matches!(
            reply.refusal().as_str(),
            "SerializationException" | "ValidationException"
        ) {
            panic!("{operation}: {}", reply.refusal());
        }
    }
}
