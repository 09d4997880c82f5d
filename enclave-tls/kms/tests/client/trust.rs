//! Whom the client believes.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use enclave_kms::{Client, Hosts, KmsError, RootsError};

use crate::fake::{Answer, Enclave, Fake, KEY, in_a_minute, key, name, ok};

fn never(_: &crate::fake::Seen) -> Answer {
    Answer::Cut(Vec::new())
}

async fn refused(certificate: &'static [u8], private_key: &'static [u8]) {
    let enclave = Enclave::asking(Fake::presenting(certificate, private_key, never));
    assert_eq!(enclave.decrypt().await, Err(KmsError::Untrusted));
    assert!(enclave.fake.seen().is_empty());
    // It is final: a host that is not the host does not become it.
    assert_eq!(enclave.fake.dialled().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn threat_31_the_host_s_name_under_another_root_is_refused() {
    refused(
        include_bytes!("../vectors/tls/aws-of-another-root.der"),
        include_bytes!("../vectors/tls/aws-of-another-root.key"),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn threat_31_another_name_under_the_policy_s_root_is_refused() {
    refused(
        include_bytes!("../vectors/tls/another-host.der"),
        include_bytes!("../vectors/tls/another-host.key"),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn threat_31_another_host_with_a_chain_of_its_own_is_refused() {
    refused(
        include_bytes!("../vectors/tls/another-host-of-another-root.der"),
        include_bytes!("../vectors/tls/another-host-of-another-root.key"),
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn threat_31_the_host_follows_from_the_arn() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    enclave.decrypt().await.unwrap();
    let elsewhere = KEY.replace("us-east-1", "eu-west-1").parse().unwrap();
    let answer = enclave.client.decrypt(&elsewhere, b"c", &[], in_a_minute()).await;
    // The stand-in answers the first key's ARN; it was asked at the second one's host.
    assert!(answer.is_err());
    let hosts = ["kms.us-east-1.amazonaws.com", "kms.eu-west-1.amazonaws.com"];
    assert_eq!(enclave.fake.dialled(), hosts.map(|host| (name(host), 443)));
    for (seen, host) in enclave.fake.seen().iter().zip(hosts) {
        assert_eq!(seen.headers["host"], host);
    }
}

#[tokio::test(start_paused = true)]
async fn threat_31_of_suggested_hosts_only_the_service_s_own_are_used() {
    let standard = "kms.us-east-1.amazonaws.com";
    let vpce = "vpce-0295a3caf8414c94a-dfm9tr04.kms.us-east-1.vpce.amazonaws.com";
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    for (suggested, used) in [
        ("kms-fips.us-east-1.amazonaws.com", "kms-fips.us-east-1.amazonaws.com"),
        (vpce, vpce),
        ("kms.us-west-2.amazonaws.com", standard),
        ("s3.us-east-1.amazonaws.com", standard),
        ("www.example.com", standard),
        ("kms.us-east-1.amazonaws.com.example.com", standard),
    ] {
        enclave.client.set_hosts(Hosts {
            kms: Some(name(suggested)),
            s3: None,
        });
        assert_eq!(enclave.decrypt().await.unwrap(), b"secret", "{suggested}");
        let (host, port) = enclave.fake.dialled().pop().unwrap();
        assert_eq!((host.as_str(), port), (used, 443));
    }
}

#[test]
fn threat_31_without_a_root_there_is_no_client() {
    struct Nothing;
    impl enclave_kms::Egress for Nothing {
        fn connect(&self, _: &enclave_wire::DnsName, _: u16) -> enclave_kms::BoxFuture<io::Result<enclave_kms::BoxIo>> {
            Box::pin(async { Err(io::ErrorKind::NotFound.into()) })
        }
    }
    impl enclave_kms::Attester for Nothing {
        fn document(&self, _: &[u8]) -> Result<Vec<u8>, enclave_attestation::NsmError> {
            Err(enclave_attestation::NsmError::Device)
        }
    }
    for roots in [vec![], vec![b"no certificate".to_vec()]] {
        let client = Client::new(Arc::new(Nothing), Arc::new(Nothing), &roots, Arc::new(|| 0));
        assert!(matches!(client.map(|_| ()), Err(RootsError::Roots)));
    }
}

#[tokio::test(start_paused = true)]
async fn threat_17_a_certificate_s_time_is_the_enclave_s() {
    let enclave = Enclave::asking(Fake::new(|seen| ok(&seen.decrypted(b"secret"))));
    for year in [1999, 2050] {
        enclave.clock.store((year - 1970) * 31_557_600, Ordering::SeqCst);
        enclave.client.set_credentials(crate::fake::credentials(i64::MAX));
        assert_eq!(enclave.decrypt().await, Err(KmsError::Untrusted), "{year}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_the_parent_does_not_allow_is_reported_at_once() {
    let enclave = Enclave::asking(Fake::refusing(io::ErrorKind::PermissionDenied));
    assert_eq!(enclave.decrypt().await, Err(KmsError::EgressRefused));
    assert_eq!(enclave.fake.dialled().len(), 1);
}

#[test]
fn a_call_may_move_between_threads() {
    fn moves(_: &impl Send) {}
    let enclave = Enclave::asking(Fake::refusing(io::ErrorKind::NotFound));
    let (key, region) = (key(), crate::fake::region());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    moves(&enclave.client.decrypt(&key, b"c", &[], in_a_minute()));
    moves(&enclave.client.generate_data_key(&key, &[], in_a_minute()));
    moves(&enclave.client.get_object(&region, "bucket", "key", in_a_minute()));
}
