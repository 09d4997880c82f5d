//! What is asked of a server that says what a kind one says.

use serde_json::{Value, json};

use crate::fake::{Answer, Fake, authorization, names};
use crate::key::Key;

#[tokio::test(start_paused = true)]
async fn contacts_are_what_the_server_says_and_are_changed_as_a_whole() {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    for (said, contacts) in [
        (json!(["mailto:a@b.example", "mailto:c@d.example"]), 2),
        (json!([]), 0),
        (Value::Null, 0),
    ] {
        let account = json!({"status": "valid", "contact": said});
        let answer = Answer::json(200, &account).with("location", "https://ca.example/account/1");
        ca.next("/new-account", answer);
        let account = server.find(&key).await.unwrap().unwrap();
        assert_eq!(account.contacts().len(), contacts);
    }
    let account = server.find(&key).await.unwrap().unwrap();
    for wanted in [vec!["mailto:new@b.example".to_owned()], Vec::new()] {
        ca.next("/account/1", Answer::json(200, &json!({"status": "valid"})));
        account.change_contacts(&wanted).await.unwrap();
        let asked = ca.seen("/account/1").pop().unwrap();
        assert_eq!(asked.payload, json!({"contact": wanted}));
    }
}

#[tokio::test(start_paused = true)]
async fn threat_52_only_what_is_pending_is_given_up() {
    let key = Key::p256();
    let ca = Fake::new(&key);
    let server = ca.server().await.unwrap();
    let account = server.find(&key).await.unwrap().unwrap();
    let order = account.order(&names()).await.unwrap();
    let one = account.authorizations(&order).await.unwrap().remove(0);
    for (now, is_asked) in [
        ("pending", true),
        ("valid", false),
        ("invalid", false),
        ("expired", false),
    ] {
        let before = ca.seen("/authz/1").len();
        ca.next("/authz/1", Answer::json(200, &authorization(now)));
        account.give_up(&one).await.unwrap();
        let asked: Vec<_> = ca.seen("/authz/1").drain(before..).map(|seen| seen.payload).collect();
        let given_up = [Value::Null, json!({"status": "deactivated"})];
        assert_eq!(asked, given_up[..1 + usize::from(is_asked)], "{now}");
    }
    ca.next("/authz/1", Answer::json(200, &authorization("pending")));
    ca.next("/authz/1", Answer::problem(403, "unauthorized"));
    assert!(account.give_up(&one).await.is_err());
}
