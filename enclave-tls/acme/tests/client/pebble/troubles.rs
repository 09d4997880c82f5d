//! A real server, and what goes wrong: proofs that are not found, replies that are lost, orders that take long.

use std::sync::Mutex;
use std::time::Duration;

use enclave_acme::{AuthorizationState, Cause, ChallengeKind, OrderState, Sent, Step, Transport};
use enclave_https::{HttpError, Method, Request, Session};
use lab_pebble::Options;

use super::run::{Ca, csr, order_of, registered};
use crate::key::Key;

#[tokio::test]
async fn threat_52_a_proof_that_is_not_found_says_what_was() {
    let options = Options {
        blocked: vec!["blocked.example".to_owned()],
        ..Options::default()
    };
    let Some(ca) = Ca::start("threat_52_a_proof_that_is_not_found_says_what_was", &options) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let error = account
        .order(&order_of(&["a.example", "blocked.example"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error.cause, Cause::Refused(problem) if problem.name == "rejectedIdentifier"),
        "{error}"
    );

    let order = account.order(&order_of(&["a.example"])).await.unwrap();
    let authorization = account.authorizations(&order).await.unwrap().remove(0);
    let challenge = authorization.challenge(ChallengeKind::Http01).unwrap().unwrap();
    ca.pebble
        .add_http01(&challenge.token, "what another account would answer")
        .unwrap();
    let error = account.validate(&authorization, challenge).await.unwrap_err();
    let Cause::Invalid(Some(problem)) = &error.cause else {
        panic!("{error}");
    };
    assert_eq!((error.step, problem.name.as_str()), (Step::Challenge, "unauthorized"));
    assert!(
        problem.detail.contains("what another account would answer"),
        "{problem}"
    );
    // The order is over; so is another run's look at it.
    let order = account.order_at(order.url.as_str()).await.unwrap();
    assert!(matches!(order.state, OrderState::Invalid(_)), "{order:?}");
    let error = account
        .finalize(&order, &csr(&["a.example".parse().unwrap()]))
        .await
        .unwrap_err();
    assert!(matches!(error.cause, Cause::Invalid(_)), "{error}");
}

#[tokio::test]
async fn threat_52_what_is_given_up_is_pending_no_more() {
    let Some(ca) = Ca::start("threat_52_what_is_given_up_is_pending_no_more", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let order = account.order(&order_of(&["a.example", "b.example"])).await.unwrap();
    let wanted = account.authorizations(&order).await.unwrap();
    let [first, second] = &wanted[..] else {
        panic!("{wanted:?}")
    };
    let challenge = first.challenge(ChallengeKind::Http01).unwrap().unwrap();
    ca.pebble.add_http01(&challenge.token, &challenge.answer).unwrap();
    account.validate(first, challenge).await.unwrap();
    for one in [first, second, second] {
        account.give_up(one).await.unwrap();
    }
    let states: Vec<_> = account.authorizations(&order).await.unwrap();
    let states: Vec<_> = states.into_iter().map(|one| one.state).collect();
    assert_eq!(states, [AuthorizationState::Valid, AuthorizationState::Invalid(None)]);
}

#[tokio::test]
async fn a_request_for_other_names_is_refused() {
    let Some(ca) = Ca::start("a_request_for_other_names_is_refused", &Options::default()) else {
        return;
    };
    let (server, key) = (ca.server().await, Key::p256());
    let account = registered(&server, &key).await;
    let order = account.order(&order_of(&["a.example"])).await.unwrap();
    ca.prove(&account, &order, ChallengeKind::Http01).await.unwrap();
    let error = account
        .finalize(&order, &csr(&["b.example".parse().unwrap()]))
        .await
        .unwrap_err();
    assert!(matches!(&error.cause, Cause::Refused(_)), "{error}");
}

/// Every request arrives, and the reply to each first one is lost.
struct Lossy {
    session: Session,
    sent: Mutex<Vec<(Method, String)>>,
}

impl Transport for Lossy {
    fn send<'a>(&'a self, request: Request<'a>) -> Sent<'a> {
        Box::pin(async move {
            let what = (request.method.clone(), request.url.to_string());
            let reply = self.session.send(request).await?;
            let mut sent = self.sent.lock().unwrap();
            if sent.contains(&what) {
                return Ok(reply);
            }
            sent.push(what);
            Err(HttpError::Interrupted)
        })
    }
}

#[tokio::test]
async fn threat_52_every_reply_is_lost_once_and_a_certificate_comes() {
    let Some(ca) = Ca::start(
        "threat_52_every_reply_is_lost_once_and_a_certificate_comes",
        &Options::default(),
    ) else {
        return;
    };
    let lossy = Lossy {
        session: ca.session(),
        sent: Mutex::default(),
    };
    let server = ca.server_over(Box::new(lossy), Duration::from_secs(300)).await.unwrap();
    let key = Key::p256();
    let account = registered(&server, &key).await;
    let order = ca
        .issued(&account, &order_of(&["a.example", "b.example"]))
        .await
        .unwrap();
    account.certificate(&order, None).await.unwrap();
}

#[tokio::test]
async fn threat_52_an_order_that_takes_long_is_waited_for_and_taken_up_again() {
    let Some(ca) = Ca::start(
        "threat_52_an_order_that_takes_long_is_waited_for_and_taken_up_again",
        &Options::default(),
    ) else {
        return;
    };
    let (key, names) = (Key::p256(), order_of(&["a.example"]));
    let proxy = ca.pebble.held(3).unwrap();
    let server = ca
        .server_at(&proxy.directory(), Duration::from_secs(120))
        .await
        .unwrap();
    let account = registered(&server, &key).await;
    ca.issued(&account, &names).await.unwrap();
    assert_eq!(proxy.left(), 0);

    let order = account.order(&names).await.unwrap();
    ca.prove(&account, &order, ChallengeKind::Http01).await.unwrap();

    // Longer than this run has time for.
    proxy.hold(u32::MAX);
    let server = ca.server_at(&proxy.directory(), Duration::from_secs(15)).await.unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    let error = account.finalize(&order, &csr(&names.names)).await.unwrap_err();
    assert!(
        matches!(error.cause, Cause::Deadline { .. }) && error.retryable(),
        "{error}"
    );
    assert!(proxy.left() < u32::MAX);

    // The next run knows no more than the order's URL.
    proxy.hold(0);
    let server = ca
        .server_at(&proxy.directory(), Duration::from_secs(120))
        .await
        .unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    let resumed = account.order_at(order.url.as_str()).await.unwrap();
    assert_eq!(resumed.names, order.names);
    let done = account
        .finalize(&resumed, b"no request: it was handed in before")
        .await
        .unwrap();
    account.certificate(&done, None).await.unwrap();
}
