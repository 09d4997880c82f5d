//! What a server says that is not ACME, and what it refuses: each with its step and its cause.

use enclave_acme::{
    AcmeError, AuthorizationState, Cause, CertId, ChallengeKind, LocalRefusal, NewOrder, Preferred, ProtocolError,
    Reason, Revoked, Server, Step,
};
use enclave_https::UrlError;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair};
use serde_json::{Value, json};

use crate::fake::{Answer, Fake, authorization, directory, names, order};
use crate::key::Key;

const OTHER: &str = "https://other.example/x";

/// A form with one field changed; null takes it away.
fn changed(mut form: Value, field: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(form.as_object_mut().unwrap().remove(field)),
        value => form[field] = value,
    }
    form
}

fn protocol(step: Step, error: ProtocolError) -> AcmeError {
    let cause = Cause::Protocol(error);
    AcmeError { step, cause }
}

async fn started() -> (Fake, Key, Server) {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    (ca, key, server)
}

#[tokio::test(start_paused = true)]
async fn directories_that_are_refused() {
    for (directory, error) in [
        (json!([]), ProtocolError::Form),
        (changed(directory(), "newOrder", Value::Null), ProtocolError::Form),
        (
            changed(directory(), "newNonce", json!(OTHER)),
            ProtocolError::OtherServer,
        ),
        (
            changed(directory(), "revokeCert", json!("http://ca.example/x")),
            ProtocolError::Url(UrlError::Scheme),
        ),
    ] {
        let ca = Fake::new(&Key::p256());
        ca.always("/directory", Answer::json(200, &directory));
        assert_eq!(ca.server().await.err(), Some(protocol(Step::Directory, error)));
    }
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_refused() {
    let at = |answer: Answer| answer.with("location", "https://ca.example/account/1");
    let (ca, key, server) = started().await;
    for (answer, cause) in [
        (at(Answer::json(200, &json!({}))), Cause::Protocol(ProtocolError::Form)),
        (
            at(Answer::json(200, &json!({"status": 1}))),
            Cause::Protocol(ProtocolError::Form),
        ),
        (
            at(Answer::json(200, &json!({"status": "deactivated"}))),
            Cause::Local(LocalRefusal::AccountStatus),
        ),
        (
            Answer::json(200, &json!({"status": "valid"})),
            Cause::Protocol(ProtocolError::NoUrl),
        ),
        (
            Answer::json(200, &json!({"status": "valid"})).with("location", OTHER),
            Cause::Protocol(ProtocolError::OtherServer),
        ),
        (
            Answer::json(200, &json!({"status": "valid"})).with("location", "/account/1"),
            Cause::Protocol(ProtocolError::Url(UrlError::Scheme)),
        ),
    ] {
        ca.next("/new-account", answer);
        let error = server.find(&key).await.err().unwrap();
        assert_eq!((error.step, error.cause), (Step::Account, cause));
    }
    ca.next("/new-account", Answer::problem(400, "accountDoesNotExist"));
    assert!(server.find(&key).await.unwrap().is_none());
    assert_eq!(ca.seen("/new-account")[0].payload, json!({"onlyReturnExisting": true}));
}

#[tokio::test(start_paused = true)]
async fn orders_that_are_refused() {
    let (ca, key, server) = started().await;
    let account = server.find(&key).await.unwrap().unwrap();
    let many = |value: &str| json!(vec![value; 101]);
    let pending = || order("pending");
    for (form, error) in [
        (json!("pending"), ProtocolError::Form),
        (changed(pending(), "status", json!("paused")), ProtocolError::Form),
        (changed(pending(), "status", Value::Null), ProtocolError::Form),
        (changed(pending(), "authorizations", json!("x")), ProtocolError::Form),
        (
            changed(pending(), "authorizations", many("https://ca.example/a")),
            ProtocolError::TooMany,
        ),
        (
            changed(pending(), "authorizations", json!([OTHER])),
            ProtocolError::OtherServer,
        ),
        (changed(pending(), "finalize", json!(OTHER)), ProtocolError::OtherServer),
        (
            changed(pending(), "finalize", json!("https://ca.example:8443/f")),
            ProtocolError::OtherServer,
        ),
        (changed(pending(), "identifiers", json!([])), ProtocolError::OtherNames),
        (
            changed(pending(), "identifiers", json!([{"type": "dns", "value": "b.example"}])),
            ProtocolError::OtherNames,
        ),
        (
            changed(pending(), "identifiers", json!([{"type": "ip", "value": "a.example"}])),
            ProtocolError::OtherNames,
        ),
        (
            changed(pending(), "identifiers", json!([{"type": "dns", "value": "A.example"}])),
            ProtocolError::OtherNames,
        ),
        (
            changed(order("valid"), "certificate", Value::Null),
            ProtocolError::NoUrl,
        ),
        (
            changed(order("valid"), "certificate", json!(OTHER)),
            ProtocolError::OtherServer,
        ),
    ] {
        let answer = Answer::json(201, &form).with("location", "https://ca.example/order/1");
        ca.next("/new-order", answer);
        assert_eq!(
            account.order(&names()).await,
            Err(protocol(Step::Order, error)),
            "{form}"
        );
    }
    ca.next("/new-order", Answer::json(201, &pending()));
    assert_eq!(
        account.order(&names()).await,
        Err(protocol(Step::Order, ProtocolError::NoUrl))
    );
    for url in [OTHER, "http://ca.example/order/1", "", "https://ca.example"] {
        let error = account.order_at(url).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Protocol(_)), "{url}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn authorisations_that_are_refused() {
    let (ca, key, server) = started().await;
    let account = server.find(&key).await.unwrap().unwrap();
    let order = account.order(&names()).await.unwrap();
    let pending = || authorization("pending");
    let challenge = |token: Value, url: &str| json!([{"type": "http-01", "url": url, "token": token}]);
    let here = "https://ca.example/challenge/1";
    let good = "DGyRejmCefe7v4NfDGDKfA";
    for (form, error) in [
        (changed(pending(), "status", json!("new")), ProtocolError::Form),
        (changed(pending(), "identifier", Value::Null), ProtocolError::Form),
        (
            changed(pending(), "identifier", json!({"type": "dns", "value": "b.example"})),
            ProtocolError::OtherNames,
        ),
        (
            changed(pending(), "identifier", json!({"type": "dns", "value": "*.a.example"})),
            ProtocolError::OtherNames,
        ),
        (
            changed(pending(), "challenges", json!(vec![json!({"type": "x"}); 17])),
            ProtocolError::TooMany,
        ),
        (
            changed(pending(), "challenges", challenge(json!(good), OTHER)),
            ProtocolError::OtherServer,
        ),
        (
            changed(pending(), "challenges", challenge(Value::Null, here)),
            ProtocolError::Token,
        ),
        (
            changed(pending(), "challenges", challenge(json!("short"), here)),
            ProtocolError::Token,
        ),
        (
            changed(
                pending(),
                "challenges",
                challenge(json!("../../../../etc/passwd.x"), here),
            ),
            ProtocolError::Token,
        ),
        (
            changed(pending(), "challenges", challenge(json!("x".repeat(129)), here)),
            ProtocolError::Token,
        ),
        (
            changed(pending(), "challenges", challenge(json!(7), here)),
            ProtocolError::Form,
        ),
    ] {
        ca.next("/authz/1", Answer::json(200, &form));
        let error = protocol(Step::Challenge, error);
        assert_eq!(account.authorizations(&order).await, Err(error), "{form}");
    }
    let challenges = json!([{"type": "tls-alpn-01", "url": here, "token": good}]);
    ca.next(
        "/authz/1",
        Answer::json(200, &changed(pending(), "challenges", challenges)),
    );
    let one = account.authorizations(&order).await.unwrap().remove(0);
    let error = one.challenge(ChallengeKind::Http01).unwrap_err();
    assert_eq!(
        error.cause,
        Cause::Local(LocalRefusal::NoChallenge("a.example".to_owned()))
    );
    for status in ["invalid", "expired", "deactivated", "revoked"] {
        ca.next("/authz/1", Answer::json(200, &authorization(status)));
        let one = account.authorizations(&order).await.unwrap().remove(0);
        assert_eq!(one.state, AuthorizationState::Invalid(None));
        assert!(matches!(
            one.challenge(ChallengeKind::Http01).unwrap_err().cause,
            Cause::Invalid(None)
        ));
    }
}

/// A certificate, of an issuer with this name.
fn issued_by(issuer: DnValue) -> Vec<u8> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, issuer);
    params
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec()
}

fn chain(certificates: &[Vec<u8>]) -> Answer {
    let encode = |der: &Vec<u8>| pem_rfc7468::encode_string("CERTIFICATE", pem_rfc7468::LineEnding::LF, der).unwrap();
    let pem: String = certificates.iter().map(encode).collect();
    Answer::Reply(200, Vec::new(), pem.into_bytes())
}

#[tokio::test(start_paused = true)]
async fn chains_that_are_refused_and_chosen() {
    let (ca, key, server) = started().await;
    let account = server.find(&key).await.unwrap().unwrap();
    let pending = account.order(&names()).await.unwrap();
    let early = account.certificate(&pending, None).await;
    assert_eq!(early, Err(protocol(Step::Certificate, ProtocolError::State)));
    let order = account.order_at("https://ca.example/order/1").await.unwrap();
    let certificate = issued_by(DnValue::Utf8String("A \u{1b}[2J".to_owned()));
    for wrong in [
        Answer::Reply(200, Vec::new(), b"<html>".to_vec()),
        chain(&[]),
        chain(&[b"no certificate".to_vec()]),
        chain(&vec![certificate.clone(); 11]),
    ] {
        ca.next("/certificate/1", wrong);
        let error = protocol(Step::Certificate, ProtocolError::Chain);
        assert_eq!(account.certificate(&order, None).await, Err(error));
    }
    ca.next("/certificate/1", Answer::Reply(200, Vec::new(), vec![b'\n'; 65_537]));
    let error = account.certificate(&order, None).await;
    assert_eq!(error, Err(protocol(Step::Certificate, ProtocolError::Http)));

    let default = chain(&[certificate]);
    ca.next(
        "/certificate/1",
        default
            .clone()
            .with("link", r#"<https://other.example/x>;rel="alternate""#),
    );
    let error = account.certificate(&order, Some("B")).await;
    assert_eq!(error, Err(protocol(Step::Certificate, ProtocolError::OtherServer)));
    let links = r#"<https://ca.example/directory>;rel="index", <https://ca.example/certificate/2>;rel="alternate""#;
    ca.always("/certificate/1", default.with("link", links));
    ca.always(
        "/certificate/2",
        chain(&[issued_by(DnValue::PrintableString("B".try_into().unwrap()))]),
    );
    for (preferred, issuer, found) in [
        (None, "A ?[2J", Preferred::NotAsked),
        (Some("A ?[2J"), "A ?[2J", Preferred::Found),
        (Some("B"), "B", Preferred::Found),
        (Some("C"), "A ?[2J", Preferred::NotOffered),
    ] {
        let chain = account.certificate(&order, preferred).await.unwrap();
        assert_eq!((chain.issuer.as_str(), chain.preferred), (issuer, found));
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_replaces_is_made_without_where_it_is_refused() {
    let (ca, key, server) = started().await;
    let account = server.find(&key).await.unwrap().unwrap();
    let leaf = include_bytes!("../vectors/rfc9773.der");
    let replacing = NewOrder {
        replaces: Some(CertId::of(leaf).unwrap()),
        ..names()
    };
    for (status, name) in [(409, "alreadyReplaced"), (400, "malformed")] {
        ca.next("/new-order", Answer::problem(status, name));
        account.order(&replacing).await.unwrap();
        let asked: Vec<_> = ca
            .seen("/new-order")
            .into_iter()
            .map(|seen| seen.payload["replaces"].clone())
            .collect();
        assert_eq!(
            asked[asked.len() - 2..],
            [json!("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"), Value::Null]
        );
    }
    // A limit counts for both: it is not asked around.
    ca.next("/new-order", Answer::problem(429, "rateLimited"));
    let before = ca.seen("/new-order").len();
    let error = account.order(&replacing).await.unwrap_err();
    assert!(matches!(error.cause, Cause::RateLimited { .. }), "{error}");
    assert_eq!(ca.seen("/new-order").len(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_server_does_not_offer() {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let bare = changed(
        changed(directory(), "revokeCert", Value::Null),
        "renewalInfo",
        Value::Null,
    );
    ca.always("/directory", Answer::json(200, &bare));
    let server = ca.server().await.unwrap();
    let leaf = include_bytes!("../vectors/rfc9773.der");
    assert_eq!(server.renewal_info(&CertId::of(leaf).unwrap()).await, Ok(None));
    let account = server.find(&key).await.unwrap().unwrap();
    let replacing = NewOrder {
        replaces: Some(CertId::of(leaf).unwrap()),
        ..names()
    };
    account.order(&replacing).await.unwrap();
    assert_eq!(ca.seen("/new-order")[0].payload["replaces"], Value::Null);
    let error = account.revoke(leaf, Reason::Superseded).await.unwrap_err();
    assert_eq!(
        (error.step, error.cause),
        (Step::Revocation, Cause::Local(LocalRefusal::NotOffered))
    );
}

#[tokio::test(start_paused = true)]
async fn renewal_and_revocation_say_what_they_are_about() {
    let (ca, key, server) = started().await;
    let leaf = include_bytes!("../vectors/rfc9773.der");
    let id = CertId::of(leaf).unwrap();
    let error = server.renewal_info(&id).await.unwrap_err();
    assert!(
        matches!(&error.cause, Cause::Refused(problem) if problem.status == 404),
        "{error}"
    );
    assert_eq!(ca.seen("/ari/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").len(), 1);
    let account = server.find(&key).await.unwrap().unwrap();
    assert_eq!(account.revoke(leaf, Reason::Superseded).await, Ok(Revoked::Now));
    let payload = &ca.seen("/revoke")[0].payload;
    assert_eq!(
        (&payload["reason"], payload["certificate"].as_str().unwrap().len()),
        (&json!(4), (leaf.len() * 4).div_ceil(3))
    );
    ca.next("/revoke", Answer::problem(400, "alreadyRevoked"));
    assert_eq!(account.revoke(leaf, Reason::Superseded).await, Ok(Revoked::Before));
    for code in 0..=255 {
        let reason = Reason::of_code(code);
        assert_eq!(
            reason.map(Reason::code),
            [0, 1, 3, 4, 5].contains(&code).then_some(code)
        );
    }
}
