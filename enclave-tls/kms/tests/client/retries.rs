//! What passes is tried again, inside the deadline; and a clock that differs.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use enclave_kms::{KmsError, Unavailable};
use serde_json::json;
use tokio::time::Instant;

use crate::fake::{Answer, CIPHERTEXT, Enclave, Fake, NOW, Seen, error, http, in_a_minute, key, ok, region};

/// A host that does something else twice, before it answers well.
fn after_two(other: impl Fn() -> Answer + Send + Sync + 'static, well: fn(&Seen) -> Answer) -> Fake {
    let made = AtomicUsize::new(0);
    Fake::new(move |seen| {
        if made.fetch_add(1, Ordering::SeqCst) < 2 {
            other()
        } else {
            well(seen)
        }
    })
}

type Case = fn() -> Answer;

#[tokio::test(start_paused = true)]
async fn threat_37_what_passes_is_tried_again() {
    let cases: [(&str, Case); 9] = [
        ("500", || http(500, "", b"<Error><Code>InternalError</Code></Error>")),
        ("503", || http(503, "", b"<html>")),
        ("throttled", || http(503, "", b"<Error><Code>SlowDown</Code></Error>")),
        ("cut", || Answer::Cut(Vec::new())),
        ("ended", || Answer::Bytes(Vec::new())),
        ("cut in the head", || Answer::Cut(b"HTTP/1.1 200 OK\r\ncont".to_vec())),
        ("ended in the body", || {
            Answer::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_vec())
        }),
        // Without its end, as TLS has it, such a body may have lost its tail.
        ("truncated", || {
            Answer::Cut(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}".to_vec())
        }),
        ("silence", || Answer::Hang(Vec::new())),
    ];
    for (name, case) in cases {
        let enclave = Enclave::asking(after_two(case, |_| http(200, "", b"object")));
        let object = enclave
            .client
            .get_object(&region(), "bucket", "key", in_a_minute())
            .await;
        assert_eq!(object.as_deref(), Ok(b"object".as_slice()), "{name}");
        assert_eq!(enclave.fake.seen().len(), 3, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn threat_37_an_attempt_of_its_own_is_attested_of_its_own() {
    let failed = || error(400, "ThrottlingException");
    let enclave = Enclave::asking(after_two(failed, |seen| ok(&seen.decrypted(b"secret"))));
    assert_eq!(enclave.decrypt().await.as_deref(), Ok(b"secret".as_slice()));
    let recipients: BTreeSet<Vec<u8>> = enclave.fake.seen().iter().map(Seen::recipient).collect();
    assert_eq!(recipients.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn threat_37_an_outage_of_days_ends_a_call_with_its_deadline() {
    let enclave = Enclave::asking(Fake::new(|_| error(500, "KMSInternalException")));
    let unavailable = Err(KmsError::Unavailable(Unavailable::Failed(500)));
    let mut pauses = Vec::new();
    for _ in 0..2 {
        let (before, deadline) = (enclave.fake.seen().len(), Instant::now() + Duration::from_secs(8));
        let answer = enclave.client.decrypt(&key(), CIPHERTEXT, &[], deadline).await;
        assert_eq!(answer.map(|_| ()), unavailable.clone().map(|_: Vec<u8>| ()));
        assert!(Instant::now() <= deadline);
        let times: Vec<Instant> = enclave.fake.seen()[before..].iter().map(|seen| seen.at).collect();
        assert!((2..=10).contains(&times.len()), "{} attempts", times.len());
        pauses.extend(times.windows(2).map(|two| two[1] - two[0]));
        tokio::time::advance(Duration::from_secs(86_400)).await;
    }
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(6)));
    let different: BTreeSet<Duration> = pauses.iter().copied().collect();
    assert!(different.len() > pauses.len() / 2, "not jittered: {pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn threat_37_attempts_are_bounded_however_far_the_deadline() {
    let enclave = Enclave::asking(Fake::new(|_| http(503, "", b"")));
    let deadline = Instant::now() + Duration::from_secs(86_400);
    let answer = enclave.client.get_object(&region(), "bucket", "key", deadline).await;
    assert_eq!(answer, Err(KmsError::Unavailable(Unavailable::Failed(503))));
    assert_eq!(enclave.fake.seen().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn threat_37_a_host_that_is_not_reached_is_tried_again_until_the_deadline() {
    let enclave = Enclave::asking(Fake::refusing(io::ErrorKind::ConnectionRefused));
    let answer = enclave
        .client
        .get_object(&region(), "bucket", "key", in_a_minute())
        .await;
    assert_eq!(answer, Err(KmsError::Unavailable(Unavailable::Unreachable)));
    assert_eq!(enclave.fake.dialled().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn threat_37_silence_ends_with_the_deadline() {
    let enclave = Enclave::asking(Fake::new(|_| Answer::Hang(b"HTTP/1.1 200 OK\r\n".to_vec())));
    let deadline = Instant::now() + Duration::from_secs(3);
    let answer = enclave.client.decrypt(&key(), CIPHERTEXT, &[], deadline).await;
    assert_eq!(answer.map(|_| ()), Err(KmsError::Unavailable(Unavailable::Timeout)));
    assert_eq!(Instant::now(), deadline);
}

/// A host whose clock says 08:30:00 where the enclave's says 08:00:00, and that takes only what was signed by its own.
fn half_an_hour_ahead() -> Fake {
    Fake::new(|seen| {
        if seen.headers["x-amz-date"] == "20270115T083000Z" {
            return ok(&seen.decrypted(b"secret"));
        }
        let body = json!({"__type": "InvalidSignatureException", "message": "Signature expired"}).to_string();
        http(400, "date: Fri, 15 Jan 2027 08:30:00 GMT\r\n", body.as_bytes())
    })
}

#[tokio::test(start_paused = true)]
async fn threat_18_where_the_clocks_differ_a_request_is_signed_again_at_once() {
    let enclave = Enclave::asking(half_an_hour_ahead());
    let start = Instant::now();
    assert_eq!(enclave.decrypt().await.unwrap(), b"secret");
    let seen = enclave.fake.seen();
    let dates: Vec<&str> = seen.iter().map(|seen| &*seen.headers["x-amz-date"]).collect();
    assert_eq!(dates, ["20270115T080000Z", "20270115T083000Z"]);
    // The next call begins with the enclave's own time: nothing of the service's was kept.
    assert_eq!(enclave.decrypt().await.unwrap(), b"secret");
    assert_eq!(enclave.fake.seen()[2].headers["x-amz-date"], "20270115T080000Z");
    assert!(Instant::now() - start < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn threat_18_the_service_s_time_is_for_signatures_only() {
    let enclave = Enclave::asking(half_an_hour_ahead());
    // Past their time by the service's clock, not by ours.
    enclave.client.set_credentials(crate::fake::credentials(NOW + 600));
    assert_eq!(enclave.decrypt().await.unwrap(), b"secret");
}

#[tokio::test(start_paused = true)]
async fn threat_18_a_signature_that_is_refused_again_is_final() {
    for name in ["InvalidSignatureException", "RequestTimeTooSkewed"] {
        let enclave = Enclave::asking(Fake::new(move |_| {
            let body = json!({"__type": name}).to_string();
            http(403, "date: Fri, 15 Jan 2027 08:30:00 GMT\r\n", body.as_bytes())
        }));
        let Err(KmsError::CredentialsRefused(said)) = enclave.decrypt().await else {
            unreachable!("a signature was refused");
        };
        assert_eq!((said.as_str(), enclave.fake.seen().len()), (name, 2));
    }
    // And at once where the clocks agree.
    let enclave = Enclave::asking(Fake::new(|_| {
        let body = json!({"__type": "InvalidSignatureException"}).to_string();
        http(400, "date: Fri, 15 Jan 2027 08:00:20 GMT\r\n", body.as_bytes())
    }));
    assert!(enclave.decrypt().await.is_err());
    assert_eq!(enclave.fake.seen().len(), 1);
}
