//! An emulator with two principals and one key, enclaves that attest to it, and a client that signs as it is told.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

pub(crate) mod client;
pub(crate) mod enclave;
pub(crate) mod program;
pub(crate) mod scratch;

use base64ct::{Base64, Encoding as _};
use emulator_kms::{Config, Emulator, Key, Principal};
use serde_json::{Value, json};

/// May do everything that the key policy leaves to identity policies.
pub(crate) const ADMIN: Login = Login {
    access_key_id: "AKIAADMIN",
    secret: "admin-secret",
    token: None,
    arn: "arn:aws:iam::111122223333:user/admin",
};
/// A session of the parent instance's role, which only the key policy speaks of.
pub(crate) const PARENT: Login = Login {
    access_key_id: "ASIAPARENT",
    secret: "parent-secret",
    token: Some("parent-token"),
    arn: "arn:aws:sts::111122223333:assumed-role/parent/i-0123456789abcdef0",
};
pub(crate) const PARENT_ROLE: &str = "arn:aws:iam::111122223333:role/parent";
pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const KEY_ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-1111-4222-8333-444455556666";
pub(crate) const OTHER_KEY_ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-1111-4222-8333-444455557777";

/// Credentials.
#[derive(Clone, Copy)]
pub(crate) struct Login {
    pub(crate) access_key_id: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) token: Option<&'static str>,
    pub(crate) arn: &'static str,
}

pub(crate) fn config(root_sha256: [u8; 32]) -> Config {
    let mut config = Config::new(REGION, ACCOUNT);
    config.principals = vec![
        principal(
            ADMIN,
            Some(statements(
                json!([{ "Effect": "Allow", "Action": "kms:*", "Resource": "*" }]),
            )),
        ),
        principal(PARENT, None),
    ];
    config.keys = vec![
        Key {
            arn: Some(KEY_ARN.to_owned()),
            policy: Some(key_policy()),
            ..Key::default()
        },
        Key {
            arn: Some(OTHER_KEY_ARN.to_owned()),
            ..Key::default()
        },
    ];
    config.attestation_root_sha256 = Some(hex(&root_sha256));
    config
}

/// The administrator's account rules; the parent's role decrypts and makes data keys in one image only, and the denies say so, too.
pub(crate) fn key_policy() -> String {
    let deny = |action: &[&str]| {
        json!({
            "Effect": "Deny", "Principal": "*", "Action": action, "Resource": "*",
            "Condition": { "StringNotEqualsIgnoreCase": { "kms:RecipientAttestation:PCR0": hex(&enclave::IMAGE) } },
        })
    };
    statements(json!([
        { "Effect": "Allow", "Principal": { "AWS": "arn:aws:iam::111122223333:root" }, "Action": "kms:*", "Resource": "*" },
        { "Effect": "Allow", "Principal": { "AWS": PARENT_ROLE }, "Action": ["kms:Decrypt", "kms:GenerateDataKey*"], "Resource": "*" },
        deny(&["kms:Decrypt", "kms:GenerateDataKey"]),
    ]))
}

pub(crate) fn statements(statements: Value) -> String {
    json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

pub(crate) fn start(root_sha256: [u8; 32]) -> Emulator {
    Emulator::start(&config(root_sha256)).unwrap()
}

pub(crate) fn principal(login: Login, iam: Option<String>) -> Principal {
    Principal {
        access_key_id: login.access_key_id.to_owned(),
        secret_access_key: login.secret.to_owned(),
        session_token: login.token.map(str::to_owned),
        expires: None,
        arn: login.arn.to_owned(),
        iam,
    }
}

/// Encrypts under [`KEY_ARN`], as the administrator.
pub(crate) fn encrypt(kms: &Emulator, plaintext: &[u8], context: &Value) -> String {
    let body = json!({ "KeyId": KEY_ARN, "Plaintext": base64(plaintext), "EncryptionContext": context });
    let reply = client::Ask::new(ADMIN, "Encrypt", &body).send(kms.address());
    assert_eq!(reply.status, 200, "{}", reply.words());
    reply.json()["CiphertextBlob"].as_str().unwrap().to_owned()
}

pub(crate) fn recipient(document: &[u8]) -> Value {
    json!({ "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": base64(document) })
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    Base64::decode_vec(value.as_str().unwrap()).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
