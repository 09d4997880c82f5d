//! Bundles: provisioned from a file or from S3, and again after a restart unless they are sealed.

use std::fs;

use enclave_wire::State;
use enclave_wire::control::ControlError;
use serde_json::json;

use crate::stack::Stack;

const ARN: &str = "arn:aws:kms:us-east-1:111122223333:key/0f0e0d0c-0b0a-0908-0706-050403020100";

fn provision(stack: &Stack, name: &str, source: &[&str]) -> serde_json::Value {
    let args = [
        "provision",
        name,
        "--kms-key",
        ARN,
        "--usage",
        "digest",
        "--client",
        "nginx",
    ];
    stack.json(&[&args, source].concat())
}

#[test]
fn a_bundle_that_is_not_sealed_is_provisioned_again_with_what_became_of_it() {
    let (stack, mut fake) = Stack::serving("bundles");
    fs::write(stack.dir.join("one.json"), "{\"one\": 1}").unwrap();
    fs::write(stack.dir.join("two.json"), "{\"two\": 2}").unwrap();
    let first = provision(&stack, "www", &["--bundle", "one.json"]);
    let second = provision(&stack, "www", &["--bundle", "two.json", "--dns-name", "a.example"]);
    let gone = provision(&stack, "gone", &["--s3", "s3://bkt/gone.json", "--region", "us-east-1"]);
    assert_eq!((&first["origin"], &first["kept"]), (&"bundle".into(), &true.into()));
    let id = |key: &serde_json::Value| key["id"].as_str().unwrap().to_owned();
    stack.ok(&["supersede", &id(&first)]);
    stack.ok(&["narrow", &id(&second), "--usage", "tls"]);
    let chain = stack.pem("chain.pem", "CERTIFICATE", b"leaf");
    stack.ok(&["install", &id(&second), &chain]);
    stack.ok(&["retire", &id(&gone)]);
    let bundles = stack.replay().join("bundles");
    assert_eq!(
        fs::read_dir(&bundles).unwrap().count(),
        4,
        "the retired one has left nothing"
    );
    assert_eq!(Stack::mode(&bundles.join(format!("{}.json", id(&first)))), 0o600);
    assert_eq!(fs::read_dir(stack.replay().join("volatile")).unwrap().count(), 0);

    fake.restart(&stack.control());
    fake.wait_until_serving();
    let world = fake.world();
    let asked = [
        "Policy",
        "InstallCredential",
        "Provision",
        "Supersede",
        "Provision",
        "InstallChain",
        "Ready",
    ];
    assert_eq!(world.asked, asked);
    let keys: Vec<_> = world
        .keys
        .iter()
        .map(|key| (key.id.to_string(), key.generation, key.state))
        .collect();
    assert_eq!(
        keys,
        [(id(&first), 1, State::Superseded), (id(&second), 2, State::Live)]
    );
    assert_eq!(world.keys[1].usage.to_string(), "tls");
    assert_eq!(world.opened_with, [ARN, ARN]);
    drop(world);
    stack.wait_for_log("replayed 3 items, 0 refused");
    assert_eq!(stack.json(&["list"])["lost"], json!([]));
}

#[test]
fn a_bundle_in_s3_is_recorded_by_its_place_and_followed_when_it_changes() {
    let (stack, mut fake) = Stack::serving("bundles-s3");
    let key = provision(&stack, "www", &["--s3", "s3://bkt/a \"b\"\\c", "--region", "eu-west-1"]);
    let id = key["id"].as_str().unwrap();
    let file = stack.replay().join(format!("bundles/{id}.toml"));
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.ends_with("s3 = \"s3://bkt/a \\\"b\\\"\\\\c\"\nregion = \"eu-west-1\"\n"),
        "{text}"
    );
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert_eq!(fake.world().keys[0].id.to_string(), id);

    // The object has got another key, under a record of the first.
    let other = stack.replay().join(format!("bundles/{}.toml", "ab".repeat(32)));
    fs::rename(&file, &other).unwrap();
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log(&format!(
        "what S3 has there now is key {id}; it takes the other's place"
    ));
    assert!(file.exists() && !other.exists());
}

#[test]
fn a_sealed_bundle_is_a_state_and_nothing_else_is_recorded() {
    let (stack, mut fake) = Stack::serving("bundles-sealed");
    fs::write(stack.dir.join("one.json"), "{}").unwrap();
    let key = provision(&stack, "www", &["--bundle", "one.json", "--sealed=edge"]);
    assert_eq!(key["sealed"]["group"], "edge");
    assert_eq!(fs::read_dir(stack.replay().join("bundles")).unwrap().count(), 0);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert_eq!(fake.world().asked, ["Policy", "InstallCredential", "Restore", "Ready"]);
}

#[test]
fn a_bundle_that_kms_cannot_open_now_is_provisioned_later() {
    let (stack, mut fake) = Stack::serving("bundles-later");
    fs::write(stack.dir.join("one.json"), "{}").unwrap();
    let key = provision(&stack, "www", &["--bundle", "one.json"]);
    stack.ok(&["supersede", key["id"].as_str().unwrap()]);
    fake.world().refuse.insert("Provision", ControlError::EgressRefused);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert_eq!(stack.json(&["list"])["waiting"][0]["kind"], "bundle");
    fake.world().refuse.clear();
    fake.wait_until("it is here, and superseded", |world| {
        world.keys.first().is_some_and(|key| key.state == State::Superseded)
    });
}

#[test]
fn a_bundle_comes_from_one_place() {
    let stack = Stack::new("bundles-usage");
    let base = [
        "provision",
        "www",
        "--kms-key",
        ARN,
        "--usage",
        "tls",
        "--client",
        "nginx",
    ];
    for wrong in [
        &[][..],
        &["--bundle", "f", "--s3", "s3://bkt/k", "--region", "us-east-1"],
        &["--s3", "s3://bkt/k"],
        &["--bundle", "f", "--region", "us-east-1"],
        &["--s3", "https://bkt/k", "--region", "us-east-1"],
    ] {
        stack.fails(2, &[&base, wrong].concat());
    }
    fs::write(stack.dir.join("long"), vec![b' '; 65_537]).unwrap();
    let error = stack.fails(1, &[&base[..], &["--bundle", "long"]].concat());
    assert!(error.contains("long: it has more than 65536 bytes"), "{error}");
}
