//! The client against the strict stand-ins: signatures, documents and key policies are verified by code that shares none with it.
#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use emulator_kms::{CmsFault, CmsForm, Config, Emulator, ErrorFault, Faults, Key, PlaintextFault, Principal, Tls};
use emulator_nsm::{Options, StandIn, system_clock};
use enclave_attestation::{Bound, Nsm as _, NsmError};
use enclave_kms::cms::CmsError;
use enclave_kms::{
    Attester, BoxFuture, BoxIo, Client, Credentials, DataKey, Egress, KmsError, ReplyError, Unavailable,
};
use enclave_policy::aws::KeyArn;
use enclave_wire::DnsName;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-1111-4222-8333-444455556666";
const OTHER_KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/0a1b2c3d-1111-4222-8333-444455557777";
const SESSION: &str = "arn:aws:sts::111122223333:assumed-role/parent/i-0123456789abcdef0";
const ROLE: &str = "arn:aws:iam::111122223333:role/parent";
const IMAGE: [u8; 48] = [0x11; 48];
/// A machine that is busy makes keys slowly: that thread gives way.
const A_WHILE: Duration = Duration::from_secs(1_800);

#[tokio::test]
async fn threat_34_a_data_key_comes_back_in_its_context_alone() {
    let lab = Lab::start("context", IMAGE).await;
    let made = lab.data_key().await.unwrap();
    let opened = lab.decrypt(KEY, &made.wrapped, &context("a")).await;
    assert_eq!(opened.as_deref(), Ok(made.plaintext.as_slice()));
    for other in [&context("b")[..], &[]] {
        assert_eq!(
            lab.decrypt(KEY, &made.wrapped, other).await,
            Err(KmsError::CiphertextInvalid)
        );
    }
    let other_key = lab.decrypt(OTHER_KEY, &made.wrapped, &context("a")).await;
    assert_eq!(other_key, Err(KmsError::CiphertextInvalid));
    let counted = lab.kms.counters().operation("Decrypt");
    assert_eq!((counted.requests, counted.attested), (4, 4));
}

#[tokio::test]
async fn another_image_is_denied() {
    let lab = Lab::start("image", [0x12; 48]).await;
    assert_eq!(lab.data_key().await.map(|_| ()), Err(KmsError::Denied));
}

#[tokio::test]
async fn other_credentials_are_refused() {
    let lab = Lab::start("credentials", IMAGE).await;
    for (id, secret, token) in [
        ("ASIAPARENT", "x", "token"),
        ("ASIAOTHER", "secret", "token"),
        ("ASIAPARENT", "secret", "x"),
    ] {
        lab.client.set_credentials(credentials(id, secret, token));
        let answer = lab.data_key().await.map(|_| ());
        assert!(
            matches!(answer, Err(KmsError::CredentialsRefused(_))),
            "{id} {secret} {token}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn threat_32_33_a_reply_of_another_kind_is_refused() {
    let lab = Lab::start("reply", IMAGE).await;
    let plaintext = Faults {
        plaintext: Some(PlaintextFault::Beside),
        ..Faults::default()
    };
    let other_key = Faults {
        reply_key_id: Some(OTHER_KEY.to_owned()),
        ..Faults::default()
    };
    for (faults, why) in [
        (plaintext, ReplyError::Plaintext),
        (other_key, ReplyError::OtherKey),
        (cms(CmsFault::TwoRecipients), ReplyError::Cms(CmsError::Form)),
        (cms(CmsFault::KeyAlgorithm), ReplyError::Cms(CmsError::Algorithm)),
        (cms(CmsFault::ShortContentKey), ReplyError::Cms(CmsError::Decrypt)),
        (cms(CmsFault::Padding), ReplyError::Cms(CmsError::Decrypt)),
    ] {
        lab.kms.faults().set(faults.clone());
        let answer = lab.data_key().await.map(|_| ());
        assert_eq!(answer, Err(KmsError::ReplyInvalid(why)), "{faults:?}");
    }
}

#[tokio::test]
async fn threat_36_every_form_of_the_content_is_read() {
    let lab = Lab::start("forms", IMAGE).await;
    for cms_form in [CmsForm::Primitive, CmsForm::Chunked] {
        lab.kms.faults().set(Faults {
            cms_form,
            ..Faults::default()
        });
        assert!(lab.data_key().await.is_ok(), "{cms_form:?}");
    }
}

#[tokio::test]
async fn threat_37_an_error_that_passes_is_outlived() {
    let lab = Lab::start("errors", IMAGE).await;
    for error in [ErrorFault::Internal, ErrorFault::BadGateway] {
        lab.kms.faults().set(Faults {
            error: Some(error),
            times: Some(1),
            ..Faults::default()
        });
        assert!(lab.data_key().await.is_ok(), "{error:?}");
    }
    lab.kms.faults().set(Faults {
        error: Some(ErrorFault::Unavailable),
        ..Faults::default()
    });
    let deadline = Instant::now() + Duration::from_secs(1);
    let key = lab.client.generate_data_key(&arn(KEY), &[], deadline).await;
    assert!(matches!(
        key.map(|_| ()),
        Err(KmsError::Unavailable(Unavailable::Failed(503) | Unavailable::Timeout))
    ));
}

#[tokio::test]
async fn threat_18_another_clock_is_signed_for() {
    let lab = Lab::start("clock", IMAGE).await;
    for clock_offset_seconds in [-1_000, 1_000] {
        lab.kms.faults().set(Faults {
            clock_offset_seconds,
            ..Faults::default()
        });
        assert!(lab.data_key().await.is_ok(), "{clock_offset_seconds}");
    }
}

/// A KMS, an NSM whose root it believes, and an enclave of this image.
struct Lab {
    kms: Emulator,
    client: Client,
}

impl Lab {
    async fn start(test: &str, image: [u8; 48]) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("nsm-{test}"));
        std::fs::create_dir_all(&dir).unwrap();
        let pcrs = BTreeMap::from([(0, image)]);
        let clock = system_clock();
        let nsm = StandIn::start(Options { dir, pcrs, clock }).unwrap();
        let config = config(nsm.pki().root_sha256());
        // It waits for its own threads.
        let kms = spawn_blocking(move || Emulator::start(&config).unwrap()).await.unwrap();
        let roots = [include_bytes!("vectors/tls/root.der").to_vec()];
        let egress = Arc::new(Loopback(kms.address()));
        let client = Client::new(egress, Arc::new(Attesting(nsm)), &roots, Arc::new(now)).unwrap();
        client.set_credentials(credentials("ASIAPARENT", "secret", "token"));
        Self { kms, client }
    }

    async fn data_key(&self) -> Result<DataKey, KmsError> {
        let deadline = Instant::now() + A_WHILE;
        self.client.generate_data_key(&arn(KEY), &context("a"), deadline).await
    }

    async fn decrypt(&self, key: &str, ciphertext: &[u8], context: &[(String, String)]) -> Result<Vec<u8>, KmsError> {
        let deadline = Instant::now() + A_WHILE;
        let plaintext = self.client.decrypt(&arn(key), ciphertext, context, deadline).await;
        plaintext.map(|plaintext| plaintext.to_vec())
    }
}

/// What the parent's allow-list does in a lab: every name of AWS is here.
struct Loopback(SocketAddr);

impl Egress for Loopback {
    fn connect(&self, _: &DnsName, _: u16) -> BoxFuture<io::Result<BoxIo>> {
        let address = self.0;
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as BoxIo) })
    }
}

struct Attesting(StandIn);

impl Attester for Attesting {
    fn document(&self, recipient_spki: &[u8]) -> Result<Vec<u8>, NsmError> {
        let bound = Bound {
            public_key: Some(recipient_spki),
            ..Bound::default()
        };
        self.0.attest(&bound)
    }
}

fn config(root_sha256: [u8; 32]) -> Config {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*"},
            {
                "Effect": "Deny", "Principal": "*", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": "*",
                "Condition": {"StringNotEqualsIgnoreCase": {"kms:RecipientAttestation:PCR0": hex::encode(IMAGE)}},
            },
        ],
    });
    let key = |arn: &str| Key {
        arn: Some(arn.to_owned()),
        policy: Some(policy.to_string()),
        ..Key::default()
    };
    let mut config = Config::new("us-east-1", "111122223333");
    config.principals = vec![Principal {
        access_key_id: "ASIAPARENT".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: Some("token".to_owned()),
        expires: None,
        arn: SESSION.to_owned(),
        iam: None,
    }];
    config.keys = vec![key(KEY), key(OTHER_KEY)];
    config.attestation_root_sha256 = Some(hex::encode(root_sha256));
    config.tls = Some(Tls {
        certificates: pem("CERTIFICATE", include_bytes!("vectors/tls/aws.der")),
        key: pem("PRIVATE KEY", include_bytes!("vectors/tls/aws.key")),
    });
    config
}

fn cms(fault: CmsFault) -> Faults {
    Faults {
        cms: Some(fault),
        ..Faults::default()
    }
}

fn context(name: &str) -> [(String, String); 1] {
    [("name".to_owned(), name.to_owned())]
}

fn arn(text: &str) -> KeyArn {
    text.parse().unwrap()
}

fn credentials(id: &str, secret: &str, token: &str) -> Credentials {
    let (secret, token) = (secret.to_owned(), token.to_owned());
    Credentials::new(id.to_owned(), secret.into(), Some(token.into()), i64::MAX).unwrap()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = Base64::encode_string(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
