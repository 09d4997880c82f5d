//! What is tried again, how often, and what is not.

use std::time::Duration;

use enclave_acme::{Account, AcmeError, Cause, ChallengeKind, MAX_NONCES, ProtocolError, Step, Unavailable};
use enclave_https::HttpError;
use serde_json::json;
use tokio::time::Instant;

use crate::fake::{Answer, Fake, NOW, authorization, names, order};
use crate::key::Key;

/// Orders something of a CA that was told what to say.
async fn ordered(tell: impl FnOnce(&Fake)) -> (Fake, Result<(), AcmeError>) {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    tell(&ca);
    let ordered = account.order(&names()).await.map(drop);
    (ca, ordered)
}

fn cause(result: Result<(), AcmeError>) -> Cause {
    result.unwrap_err().cause
}

#[tokio::test(start_paused = true)]
async fn threat_52_bad_nonces_are_no_failures() {
    for refused in [1, 50, MAX_NONCES - 1] {
        let begin = Instant::now();
        let (ca, result) = ordered(|ca| {
            for _ in 0..refused {
                ca.next("/new-order", Answer::problem(400, "badNonce"));
            }
        })
        .await;
        assert_eq!(result, Ok(()));
        assert_eq!(ca.seen("/new-order").len(), usize::from(refused) + 1);
        assert_eq!(ca.seen("/new-nonce").len(), 1, "a refusal has the next nonce with it");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test(start_paused = true)]
async fn threat_52_a_server_that_refuses_all_nonces_is_given_up() {
    let (ca, result) = ordered(|ca| ca.always("/new-order", Answer::problem(400, "badNonce"))).await;
    let (why, retry_at) = (Unavailable::Nonces, None);
    assert_eq!(cause(result), Cause::Unavailable { why, retry_at });
    assert_eq!(ca.seen("/new-order").len(), usize::from(MAX_NONCES));
}

#[tokio::test(start_paused = true)]
async fn a_nonce_is_asked_for_where_none_came() {
    for bad in ["", "a\"b", "a b", &"x".repeat(600)] {
        let reply = Answer::problem(400, "badNonce").with("replay-nonce", bad);
        let (ca, result) = ordered(|ca| ca.next("/new-order", reply)).await;
        assert_eq!((result, ca.seen("/new-nonce").len()), (Ok(()), 2), "{bad}");
    }
    let none = Answer::Reply(200, Vec::new(), Vec::new()).with("replay-nonce", "");
    let lost = Answer::Lost(HttpError::Interrupted);
    let (_, result) = ordered(|ca| {
        ca.next("/new-order", lost);
        ca.always("/new-nonce", none);
    })
    .await;
    assert_eq!(cause(result), Cause::Protocol(ProtocolError::Nonce));
}

#[tokio::test(start_paused = true)]
async fn threat_52_what_may_pass_is_tried_again() {
    for failure in [
        Answer::Lost(HttpError::Unreachable),
        Answer::Lost(HttpError::Interrupted),
        Answer::Lost(HttpError::Timeout),
        Answer::Reply(500, Vec::new(), b"<html>".to_vec()),
        Answer::problem(503, "serverInternal"),
        Answer::problem(408, "malformed"),
    ] {
        let (ca, result) = ordered(|ca| {
            for _ in 0..9 {
                ca.next("/new-order", failure.clone());
            }
        })
        .await;
        assert_eq!((result, ca.seen("/new-order").len()), (Ok(()), 10));
        let (ca, result) = ordered(|ca| ca.always("/new-order", failure)).await;
        assert!(result.unwrap_err().retryable());
        assert_eq!(ca.seen("/new-order").len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_pass_is_asked_once() {
    for (answer, expected) in [
        (Answer::Lost(HttpError::EgressRefused), Cause::EgressRefused),
        (Answer::Lost(HttpError::Untrusted), Cause::Untrusted),
        (Answer::Lost(HttpError::Malformed), Cause::Protocol(ProtocolError::Http)),
        (Answer::Lost(HttpError::TooLong), Cause::Protocol(ProtocolError::Http)),
        (
            Answer::json(200, &json!({"x": "y".repeat(70_000)})),
            Cause::Protocol(ProtocolError::Http),
        ),
        (
            Answer::Reply(302, Vec::new(), Vec::new()),
            Cause::Protocol(ProtocolError::Status(302)),
        ),
    ] {
        let (ca, result) = ordered(|ca| ca.always("/new-order", answer)).await;
        assert_eq!((cause(result), ca.seen("/new-order").len()), (expected, 1));
    }
    let (ca, result) = ordered(|ca| ca.always("/new-order", Answer::problem(403, "caa"))).await;
    assert!(matches!(cause(result), Cause::Refused(problem) if problem.name == "caa" && problem.status == 403));
    assert_eq!(ca.seen("/new-order").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_ends_the_run_and_says_when_to_come_again() {
    for (answer, expected) in [
        (
            Answer::problem(429, "rateLimited").with("retry-after", "7200"),
            Some(NOW + 7_200),
        ),
        (
            Answer::problem(503, "rateLimited").with("retry-after", "Sun, 06 Nov 1994 09:49:37 GMT"),
            Some(NOW + 3_600),
        ),
        (Answer::Reply(429, Vec::new(), Vec::new()), None),
    ] {
        let (ca, result) = ordered(|ca| ca.always("/new-order", answer)).await;
        let error = result.unwrap_err();
        assert!(
            matches!(error.cause, Cause::RateLimited { .. }) && error.retryable(),
            "{error}"
        );
        assert_eq!((error.retry_at(), ca.seen("/new-order").len()), (expected, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_when_is_not_asked_before() {
    let busy = Answer::Reply(503, Vec::new(), Vec::new()).with("retry-after", "600");
    let (ca, result) = ordered(|ca| {
        ca.next("/new-order", busy.clone());
        ca.next("/new-order", busy);
    })
    .await;
    assert_eq!(result, Ok(()));
    let seen = ca.seen("/new-order");
    assert!(
        seen.windows(2)
            .all(|pair| pair[1].at - pair[0].at >= Duration::from_secs(600))
    );
    // Longer than the run has time: it ends at once, and says when.
    let later = Answer::Reply(503, Vec::new(), Vec::new()).with("retry-after", "36000");
    let begin = Instant::now();
    let (_, result) = ordered(|ca| ca.always("/new-order", later)).await;
    assert_eq!(
        (result.unwrap_err().retry_at(), begin.elapsed()),
        (Some(NOW + 36_000), Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn looks_are_as_far_apart_as_the_server_says() {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    let order = account.order(&names()).await.unwrap();
    for status in ["pending", "pending", "pending", "valid"] {
        let answer = Answer::json(200, &authorization(status));
        ca.next("/authz/1", answer.with("retry-after", "30"));
    }
    let one = account.authorizations(&order).await.unwrap().remove(0);
    account
        .validate(&one, one.challenge(ChallengeKind::Dns01).unwrap().unwrap())
        .await
        .unwrap();
    let seen = ca.seen("/authz/1");
    assert_eq!(seen.len(), 4);
    assert!(
        seen[1..]
            .windows(2)
            .all(|pair| pair[1].at - pair[0].at == Duration::from_secs(30))
    );
}

/// The reply to a request that succeeded is lost, and the next attempt is refused for that reason.
#[tokio::test(start_paused = true)]
async fn threat_52_the_resource_decides_and_not_the_refusal() {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    let ready = |ca: &Fake| ca.next("/new-order", kind_order("ready"));
    let lost = |ca: &Fake| ca.next("/finalize/1", Answer::Lost(HttpError::Interrupted));
    let refused = |ca: &Fake| ca.next("/finalize/1", Answer::problem(403, "orderNotReady"));

    ready(&ca);
    lost(&ca);
    refused(&ca);
    ca.next("/order/1", Answer::json(200, &order("processing")));
    let new = account.order(&names()).await.unwrap();
    account.finalize(&new, b"csr").await.unwrap();

    // Where the resource is as before, the refusal counts.
    ready(&ca);
    refused(&ca);
    ca.next("/order/1", Answer::json(200, &order("ready")));
    let new = account.order(&names()).await.unwrap();
    let error = account.finalize(&new, b"csr").await.unwrap_err();
    assert!(
        matches!(&error.cause, Cause::Refused(problem) if problem.name == "orderNotReady"),
        "{error}"
    );
    assert_eq!(error.step, Step::Finalize);

    let order = account.order(&names()).await.unwrap();
    for (then, result) in [("valid", true), ("pending", false)] {
        ca.next("/authz/1", Answer::json(200, &authorization("pending")));
        ca.next("/challenge/1", Answer::Lost(HttpError::Timeout));
        ca.next("/challenge/1", Answer::problem(400, "malformed"));
        ca.next("/authz/1", Answer::json(200, &authorization(then)));
        assert_eq!(validated(&account, &order).await.is_ok(), result, "{then}");
    }
}

async fn validated(account: &Account<'_>, order: &enclave_acme::Order) -> Result<(), AcmeError> {
    let one = account.authorizations(order).await?.remove(0);
    let challenge = one.challenge(ChallengeKind::Http01)?.unwrap();
    account.validate(&one, challenge).await
}

fn kind_order(status: &str) -> Answer {
    Answer::json(201, &order(status)).with("location", "https://ca.example/order/1")
}
