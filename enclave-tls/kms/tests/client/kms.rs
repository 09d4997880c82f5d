//! What is asked of KMS, and which of its answers are taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64ct::{Base64, Encoding as _};
use enclave_attestation::NsmError;
use enclave_kms::cms::{CmsError, ContentForm, seal};
use enclave_kms::{Attester, KmsError, ReplyError};
use serde_json::{Value, json};

use crate::fake::{Answer, CIPHERTEXT, Enclave, Fake, KEY, NOW, Seen, credentials, error, in_a_minute, key, ok};

/// The error of a reply that differs from a good one by `change`.
async fn taken(change: impl Fn(&Seen, &mut Value) + Send + Sync + 'static) -> Result<Vec<u8>, KmsError> {
    let enclave = Enclave::asking(Fake::new(move |seen| {
        let mut reply = seen.decrypted(b"secret");
        change(seen, &mut reply);
        ok(&reply)
    }));
    let taken = enclave.decrypt().await;
    // Whatever is wrong with a reply, it is not asked for again.
    assert_eq!(enclave.fake.seen().len(), 1);
    taken
}

fn invalid(why: ReplyError) -> Result<Vec<u8>, KmsError> {
    Err(KmsError::ReplyInvalid(why))
}

#[tokio::test(start_paused = true)]
async fn a_ciphertext_is_decrypted() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    assert_eq!(enclave.decrypt().await.unwrap(), b"secret");
    let [seen] = &enclave.fake.seen()[..] else {
        unreachable!("one request was made");
    };
    assert_eq!(seen.line, "POST / HTTP/1.1");
    assert_eq!(seen.connected_to.as_str(), "kms.us-east-1.amazonaws.com");
    assert_eq!(seen.headers["x-amz-target"], "TrentService.Decrypt");
    assert_eq!(seen.headers["content-type"], "application/x-amz-json-1.1");
    assert_eq!(seen.headers["x-amz-security-token"], "token");
    assert_eq!(seen.headers["x-amz-date"], "20270115T080000Z");
    let signed = "Credential=AKIDEXAMPLE/20270115/us-east-1/kms/aws4_request, \
                  SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, ";
    assert!(seen.headers["authorization"].contains(signed));
    let expected = json!({
        "KeyId": KEY,
        "CiphertextBlob": Base64::encode_string(CIPHERTEXT),
        "Recipient": {
            "AttestationDocument": Base64::encode_string(&seen.recipient()),
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
        },
    });
    assert_eq!(seen.json(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_data_key_is_generated() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(&[7; 32]))));
    let context = [("purpose".to_owned(), "sealed".to_owned())];
    let made = enclave.client.generate_data_key(&key(), &context, in_a_minute()).await;
    let made = made.map(|made| (*made.plaintext, made.wrapped));
    assert_eq!(made, Ok(([7; 32], CIPHERTEXT.to_vec())));
    let seen = enclave.fake.seen().pop().unwrap();
    assert_eq!(seen.headers["x-amz-target"], "TrentService.GenerateDataKey");
    let request = seen.json();
    assert_eq!(request["KeyId"], KEY);
    assert_eq!(request["KeySpec"], "AES_256");
    assert_eq!(request["EncryptionContext"], json!({"purpose": "sealed"}));
    assert!(request.get("CiphertextBlob").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_data_key_of_31_bytes_is_refused() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(&[7; 31]))));
    let made = enclave.client.generate_data_key(&key(), &[], in_a_minute()).await;
    assert_eq!(made.map(|_| ()), Err(KmsError::ReplyInvalid(ReplyError::DataKey)));
}

#[tokio::test(start_paused = true)]
async fn threat_32_a_plaintext_is_refused() {
    // Beside a good ciphertext, and alone as KMS answers where it does not know a recipient.
    let beside = taken(|_, reply| reply["Plaintext"] = json!("c2VjcmV0")).await;
    assert_eq!(beside, invalid(ReplyError::Plaintext));
    let alone = taken(|_, reply| *reply = json!({"KeyId": KEY, "Plaintext": "c2VjcmV0"})).await;
    assert_eq!(alone, invalid(ReplyError::Plaintext));
}

#[tokio::test(start_paused = true)]
async fn threat_33_another_key_id_is_refused() {
    let other = KEY.replace("1234abcd", "1234abce");
    let answer = taken(move |_, reply| reply["KeyId"] = json!(other)).await;
    assert_eq!(answer, invalid(ReplyError::OtherKey));
}

#[tokio::test(start_paused = true)]
async fn threat_34_the_encryption_context_is_part_of_what_is_asked() {
    let enclave = Enclave::asking(Fake::new(|seen| {
        if seen.json()["EncryptionContext"] == json!({"purpose": "bundle", "name": "lab-a \"é"}) {
            ok(&seen.decrypted(b"secret"))
        } else {
            error(400, "InvalidCiphertextException")
        }
    }));
    let context = |name: &str| {
        [
            ("purpose".to_owned(), "bundle".to_owned()),
            ("name".to_owned(), name.to_owned()),
        ]
    };
    for (context, expected) in [
        (context("lab-a \"é").as_slice(), Ok(b"secret".to_vec())),
        (&context("lab-b"), Err(KmsError::CiphertextInvalid)),
        (&[], Err(KmsError::CiphertextInvalid)),
    ] {
        let answer = enclave.client.decrypt(&key(), CIPHERTEXT, context, in_a_minute()).await;
        assert_eq!(answer.map(|plaintext| plaintext.to_vec()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn threat_36_what_was_not_encrypted_to_this_request_is_refused() {
    let first: Arc<std::sync::OnceLock<Vec<u8>>> = Arc::default();
    let kept = Arc::clone(&first);
    let enclave = Enclave::asking(Fake::new(move |seen| {
        let to = kept.get_or_init(|| seen.recipient());
        let sealed = seal(to, b"secret", ContentForm::Primitive).unwrap();
        ok(&json!({"KeyId": KEY, "CiphertextForRecipient": Base64::encode_string(&sealed)}))
    }));
    assert_eq!(enclave.decrypt().await.unwrap(), b"secret");
    // An answer to the recipient of an earlier request.
    assert_eq!(enclave.decrypt().await, invalid(ReplyError::Cms(CmsError::Decrypt)));
}

#[tokio::test(start_paused = true)]
async fn threat_36_what_is_no_cms_is_refused() {
    for (sealed, why) in [
        (json!("YQ=="), CmsError::Form),
        (json!(Base64::encode_string(&[0x30; 16_385])), CmsError::TooLong),
    ] {
        let answer = taken(move |_, reply| reply["CiphertextForRecipient"] = sealed.clone()).await;
        assert_eq!(answer, invalid(ReplyError::Cms(why)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_is_bounded() {
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 131073\r\n\r\n";
    let long = [announced.as_bytes(), &[b' '; 131_073]].concat();
    let endless: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let cases: [Box<dyn Fn() -> Answer + Send + Sync>; 4] = [
        Box::new(move || Answer::Hang(announced.into())),
        Box::new(move || Answer::Bytes(long.clone())),
        Box::new(move || Answer::Flood(endless, b"10\r\n0123456789abcdef\r\n")),
        Box::new(move || Answer::Flood(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", &[b' '; 1_000])),
    ];
    for case in cases {
        let enclave = Enclave::asking(Fake::new(move |_| case()));
        assert_eq!(enclave.decrypt().await, invalid(ReplyError::TooLong));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_http_is_refused() {
    let long_header: &[u8] = &[b'x'; 10_000];
    for (start, rest) in [
        (b"SSH-2.0-x\r\n".as_slice(), b"x\r\n".as_slice()),
        (b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\na: ", long_header),
        (b"HTTP/2 200\r\n\r\n", b"\0"),
    ] {
        let enclave = Enclave::asking(Fake::new(move |_| Answer::Flood(start, rest)));
        assert_eq!(enclave.decrypt().await, invalid(ReplyError::Http));
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_are_there_and_current_or_nothing_is_asked() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    enclave.client.set_credentials(credentials(NOW));
    assert_eq!(enclave.decrypt().await, Err(KmsError::CredentialsExpired));
    enclave.client.set_credentials(credentials(NOW + 1));
    assert!(enclave.decrypt().await.is_ok());
    enclave.clock.store(NOW + 1, Ordering::SeqCst);
    assert_eq!(enclave.decrypt().await, Err(KmsError::CredentialsExpired));
    assert_eq!(enclave.fake.dialled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_kms_denies_is_not_asked_again() {
    let enclave = Enclave::asking(Fake::new(|_| error(400, "AccessDeniedException")));
    assert_eq!(enclave.decrypt().await, Err(KmsError::Denied));
    assert_eq!(enclave.fake.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_kms_cannot_have_made_is_not_sent() {
    let enclave = Enclave::asking(Fake::new(|_| Answer::Cut(Vec::new())));
    for length in [0, 6_145] {
        let ciphertext = vec![1; length];
        let answer = enclave.client.decrypt(&key(), &ciphertext, &[], in_a_minute()).await;
        assert_eq!(answer.map(|_| ()), Err(KmsError::CiphertextInvalid));
    }
    assert!(enclave.fake.dialled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn without_a_document_nothing_is_asked() {
    struct Broken;
    impl Attester for Broken {
        fn document(&self, _: &[u8]) -> Result<Vec<u8>, NsmError> {
            Err(NsmError::Device)
        }
    }
    let enclave = Enclave::attesting(Fake::new(|_| Answer::Cut(Vec::new())), Arc::new(Broken));
    assert_eq!(enclave.decrypt().await, Err(KmsError::Attestation(NsmError::Device)));
    assert!(enclave.fake.dialled().is_empty());
}

#[tokio::test(start_paused = true)]
async fn every_request_has_a_recipient_of_its_own() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    for _ in 0..3 {
        enclave.decrypt().await.unwrap();
    }
    let recipients: BTreeSet<Vec<u8>> = enclave.fake.seen().iter().map(Seen::recipient).collect();
    assert_eq!(recipients.len(), 3);
}
