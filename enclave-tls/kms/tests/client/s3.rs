//! Objects of S3.

use enclave_kms::{Hosts, KmsError, ReplyError};

use crate::fake::{Answer, Enclave, Fake, http, in_a_minute, name, region};

async fn get(fake: Fake) -> Result<Vec<u8>, KmsError> {
    let enclave = Enclave::asking(fake);
    enclave
        .client
        .get_object(&region(), "bucket", "key", in_a_minute())
        .await
}

#[tokio::test(start_paused = true)]
async fn an_object_is_fetched_by_its_path() {
    let enclave = Enclave::asking(Fake::new(|_| http(200, "", b"{}")));
    let key = "arn:aws:iam::1:role/r/a b";
    let object = enclave
        .client
        .get_object(&region(), "a-bucket", key, in_a_minute())
        .await;
    assert_eq!(object.as_deref(), Ok(b"{}".as_slice()));
    let seen = enclave.fake.seen().pop().unwrap();
    assert_eq!(seen.connected_to.as_str(), "s3.us-east-1.amazonaws.com");
    assert_eq!(
        seen.line,
        "GET /a-bucket/arn%3Aaws%3Aiam%3A%3A1%3Arole/r/a%20b HTTP/1.1"
    );
    // The SHA-256 of nothing.
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(seen.headers["x-amz-content-sha256"], nothing);
    let signed =
        "/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token, ";
    assert!(seen.headers["authorization"].contains(signed));
}

#[tokio::test(start_paused = true)]
async fn an_object_is_bounded() {
    assert_eq!(
        get(Fake::new(|_| http(200, "", &[1; 65_536]))).await,
        Ok(vec![1; 65_536])
    );
    let too_long = Err(KmsError::ReplyInvalid(ReplyError::TooLong));
    assert_eq!(get(Fake::new(|_| http(200, "", &[1; 65_537]))).await, too_long);
    let flood = Answer::Flood;
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    assert_eq!(get(Fake::new(move |_| flood(head, &[1; 1_000]))).await, too_long);
}

#[tokio::test(start_paused = true)]
async fn errors_of_s3_are_told_apart() {
    let body = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>").into_bytes();
    for (status, code, expected) in [
        (404, "NoSuchKey", KmsError::NotFound),
        (404, "NoSuchBucket", KmsError::NotFound),
        (403, "AccessDenied", KmsError::Denied),
        (400, "ExpiredToken", KmsError::CredentialsExpired),
    ] {
        let body = body(code);
        let answer = get(Fake::new(move |_| http(status, "", &body))).await;
        assert_eq!(answer, Err(expected), "{code}");
    }
    // A redirection leads to a host of someone else's choosing.
    let moved = get(Fake::new(|_| http(307, "location: https://s3.example.com/\r\n", b""))).await;
    assert!(matches!(moved, Err(KmsError::Refused(_))));
}

#[tokio::test(start_paused = true)]
async fn threat_31_of_suggested_hosts_only_the_service_s_own_are_used() {
    let enclave = Enclave::asking(Fake::new(|_| http(200, "", b"")));
    for suggested in [
        "s3.us-west-2.amazonaws.com",
        "kms.us-east-1.amazonaws.com",
        "a-bucket.s3.us-east-1.amazonaws.com",
    ] {
        enclave.client.set_hosts(Hosts {
            kms: None,
            s3: Some(name(suggested)),
        });
        enclave
            .client
            .get_object(&region(), "bucket", "key", in_a_minute())
            .await
            .unwrap();
        let (host, _) = enclave.fake.dialled().pop().unwrap();
        assert_eq!(host.as_str(), "s3.us-east-1.amazonaws.com");
    }
}

#[tokio::test(start_paused = true)]
async fn what_s3_cannot_have_is_not_asked_for() {
    let enclave = Enclave::asking(Fake::new(|_| http(200, "", b"")));
    for (bucket, key) in [("b/../c", "key"), ("bucket", "")] {
        let answer = enclave.client.get_object(&region(), bucket, key, in_a_minute()).await;
        assert_eq!(answer, Err(KmsError::ObjectName));
    }
    assert!(enclave.fake.dialled().is_empty());
}
