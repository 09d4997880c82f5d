//! The AWS SDK for Rust works against the emulator.

mod support;

use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::error::ProvideErrorMetadata;
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyEncryptionMechanism, RecipientInfo};
use aws_sdk_kms::{Client, Config};
use emulator_kms::{Emulator, ErrorFault, Faults};
use support::enclave::Enclave;
use support::{ADMIN, KEY_ARN, Login, OTHER_KEY_ARN, PARENT, REGION, start};

fn client(kms: &Emulator, login: Login) -> Client {
    let credentials = Credentials::new(
        login.access_key_id,
        login.secret,
        login.token.map(str::to_owned),
        None,
        "test",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .endpoint_url(format!("http://{}", kms.address()))
        .build();
    Client::from_conf(config)
}

#[tokio::test]
async fn round_trip_with_a_context() {
    let kms = start([0; 32]);
    let client = client(&kms, ADMIN);
    let sealed = client
        .encrypt()
        .key_id(OTHER_KEY_ARN)
        .plaintext(Blob::new("secret"))
        .encryption_context("name", "a");
    let blob = sealed.send().await.unwrap().ciphertext_blob.unwrap();
    let open = |name: &str| {
        client
            .decrypt()
            .ciphertext_blob(blob.clone())
            .encryption_context("name", name)
            .send()
    };
    let opened = open("a").await.unwrap();
    assert_eq!(opened.plaintext.unwrap().as_ref(), b"secret");
    assert_eq!(opened.key_id.as_deref(), Some(OTHER_KEY_ARN));
    let error = open("b").await.unwrap_err();
    assert_eq!(error.code(), Some("InvalidCiphertextException"));
    assert!(error.request_id().is_some());
}

#[tokio::test]
async fn refusals_have_their_types() {
    let kms = start([0; 32]);
    let error = client(&kms, PARENT)
        .describe_key()
        .key_id(KEY_ARN)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("AccessDeniedException"));
    assert!(
        error
            .message()
            .unwrap()
            .contains("is not authorized to perform: kms:DescribeKey")
    );
    let nobody = Login {
        secret: "another",
        ..ADMIN
    };
    let error = client(&kms, nobody)
        .describe_key()
        .key_id(KEY_ARN)
        .send()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some("InvalidSignatureException"));
    let policy = client(&kms, ADMIN)
        .get_key_policy()
        .key_id(KEY_ARN)
        .send()
        .await
        .unwrap()
        .policy;
    assert_eq!(policy, Some(support::key_policy()));
}

#[tokio::test]
async fn data_keys_go_to_recipients() {
    let enclave = Enclave::new();
    let kms = start(enclave.root_sha256());
    let recipient = RecipientInfo::builder()
        .key_encryption_algorithm(KeyEncryptionMechanism::RsaesOaepSha256)
        .attestation_document(Blob::new(enclave.document()))
        .build();
    let client = client(&kms, PARENT);
    let made = client
        .generate_data_key()
        .key_id(KEY_ARN)
        .key_spec(DataKeySpec::Aes256)
        .recipient(recipient);
    let made = made.send().await.unwrap();
    assert_eq!(made.plaintext, None);
    let opened = enclave.open(made.ciphertext_for_recipient.unwrap().as_ref());
    assert_eq!(opened.map(|key| key.len()), Some(32));
}

#[tokio::test]
async fn threat_37_the_sdk_tries_again_after_errors_that_pass() {
    let kms = start([0; 32]);
    for error in [ErrorFault::Internal, ErrorFault::Throttling] {
        let faults = Faults {
            error: Some(error),
            times: Some(1),
            ..Faults::default()
        };
        kms.faults().set(faults);
        match client(&kms, ADMIN).describe_key().key_id(KEY_ARN).send().await {
            Ok(_) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    let count = kms.counters().operation("DescribeKey");
    assert_eq!((count.requests, count.failed, count.succeeded), (4, 2, 2));
}
