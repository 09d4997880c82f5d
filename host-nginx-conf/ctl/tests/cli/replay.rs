//! What a service that restarted is told, and what happens where something is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use enclave_wire::control::ControlError;
use enclave_wire::{State, Usage};

use crate::config::Config;
use crate::fake::Fake;
use crate::stack::Stack;

#[test]
fn a_restarted_service_gets_all_that_can_be_replayed_in_order() {
    let mut stack = Stack::new("all");
    let policy = stack.dir.join("policy.toml");
    fs::write(&policy, "version = 1\n").unwrap();
    let mut fake = stack.serve(&Config {
        policy: Some(policy),
        ..stack.config()
    });
    let chain = stack.pem("chain.pem", "CERTIFICATE", b"leaf");
    stack.credential("nginx");
    let first = stack.import("www", b"one", &["--keep", "--chain", &chain]);
    let second = stack.import("www", b"two", &["--keep"]);
    stack.import("fleeting", b"three", &[]);
    let gone = stack.import("gone", b"four", &["--keep", "--chain", &chain]);
    stack.ok(&["install", &second, &chain]);
    stack.ok(&["supersede", &first]);
    stack.ok(&["narrow", &second, "--usage", "tls"]);
    stack.ok(&["retire", &gone]);
    for part in ["credentials", "keys", "chains", "volatile"] {
        assert_eq!(Stack::mode(&stack.replay().join(part)), 0o700);
        for entry in fs::read_dir(stack.replay().join(part)).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(Stack::mode(&path), 0o600, "{path:?}");
        }
    }

    fake.restart(&stack.control());
    fake.wait_until_serving();
    let world = fake.world();
    let credentials = ["InstallCredential"; 2];
    let rest = ["Import", "Import", "InstallChain", "InstallChain", "Supersede", "Ready"];
    assert_eq!(world.asked, [&["Policy"][..], &credentials, &rest].concat());
    assert_eq!(world.policy.as_deref(), Some(&b"version = 1\n"[..]));
    let keys: Vec<_> = world
        .keys
        .iter()
        .map(|key| (key.id.to_string(), key.generation, key.usage, key.state))
        .collect();
    assert_eq!(
        keys,
        [
            (first, 1, Usage::Digest, State::Superseded),
            (second, 2, Usage::Tls, State::Live)
        ]
    );
    drop(world);
    stack.wait_for_log("replayed 7 items, 0 refused");
    assert!(
        stack
            .log()
            .contains("the restart lost fleeting generation 1 (imported, digest)"),
        "{}",
        stack.log()
    );
}

#[test]
fn list_says_which_born_keys_a_restart_lost_until_they_are_made_anew_or_forgotten() {
    let (stack, mut fake) = Stack::serving("lost");
    let www = stack.create("www", "tls");
    let api = stack.create("api", "digest");
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log(&format!("the restart lost www generation 1 (born, tls), id {www}"));
    let text = stack.ok(&["list"]);
    assert!(
        text.starts_with("The service holds no keys.\n\nLost when the service restarted"),
        "{text}"
    );
    assert!(text.contains(&www) && text.contains("digest (weaker)"), "{text}");
    assert_eq!(stack.json(&["list"])["lost"].as_array().unwrap().len(), 2);

    stack.create("www", "tls");
    let text = stack.ok(&["retire", "api"]);
    assert!(
        text.contains("did not hold it; its record was removed") && text.contains(&api),
        "{text}"
    );
    assert_eq!(stack.json(&["list"])["lost"], serde_json::json!([]));
    assert_eq!(stack.json(&["list"])["keys"].as_array().unwrap().len(), 1);
}

#[test]
fn an_item_that_is_wrong_or_refused_costs_a_line_and_the_others_go_on() {
    let (stack, mut fake) = Stack::serving("wrong");
    let chain = stack.pem("chain.pem", "CERTIFICATE", b"leaf");
    let id = stack.import("www", b"one", &["--keep", "--chain", &chain]);
    let readable = stack.import("readable", b"two", &["--keep"]);
    let renamed = stack.import("renamed", b"three", &["--keep"]);
    let keys = stack.replay().join("keys");
    fs::set_permissions(keys.join(format!("{readable}.pem")), fs::Permissions::from_mode(0o644)).unwrap();
    for extension in ["pem", "toml"] {
        let other = keys.join(format!("{}.{extension}", "ab".repeat(32)));
        fs::rename(keys.join(format!("{renamed}.{extension}")), other).unwrap();
    }
    fs::write(stack.replay().join("credentials/bad.toml"), "[[credential]]\nid = 1\n").unwrap();
    fake.world().refuse.insert("InstallChain", ControlError::ChainExpired);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log("replayed 3 items, 4 refused");
    let log = stack.log();
    for line in [
        "replay: credentials/bad.toml:2: expected 32 lower-case hexadecimal digits\n".to_owned(),
        format!("replay: chains/{id}.pem: a certificate of the chain has expired; have it issued again\n"),
        format!("replay: keys/{readable}.pem: its mode is 0644"),
        format!("replay: keys/{}.pem: its key is {renamed}", "ab".repeat(32)),
    ] {
        assert!(log.contains(&line), "{line}\n{log}");
    }
    assert_eq!(fake.world().asked.last(), Some(&"Ready"));
    let list = stack.json(&["list"]);
    assert_eq!(list["keys"].as_array().unwrap().len(), 2);
    assert!(list["not_replayed"].to_string().contains(&readable));
}

#[test]
fn a_policy_that_is_refused_leaves_the_service_closed_and_every_command_says_so() {
    let mut stack = Stack::new("policy");
    let policy = stack.dir.join("policy.toml");
    fs::write(&policy, "version = 2\n").unwrap();
    let config = Config {
        policy: Some(policy.clone()),
        ..stack.config()
    };
    stack.start_agent_with(&config, &[]);
    let fake = Fake::start(&stack.control());
    fake.world().refuse.insert("Policy", ControlError::PolicyInvalid);
    stack.wait_for_log("until then the service stays closed");
    assert!(stack.fails(1, &["list"]).contains("policy.toml"));
    assert_eq!(fake.world().asked, ["Policy"]);

    stack.stop_agent();
    fake.world().refuse.clear();
    fs::write(&policy, "version = 1\n").unwrap();
    stack.start_agent_with(&config, &[]);
    fake.wait_until_serving();
    stack.ok(&["list"]);
}

#[test]
fn a_replay_that_breaks_off_is_begun_again_on_the_next_dial() {
    let (stack, mut fake) = Stack::serving("again");
    stack.import("a", b"one", &["--keep"]);
    stack.import("b", b"two", &["--keep"]);
    stack.credential("nginx");
    fake.world().hang_up_at = Some("Import");
    fake.restart(&stack.control());
    fake.wait_until_serving();
    let world = fake.world();
    assert_eq!((world.keys.len(), world.dials), (2, 2));
    assert_eq!(world.asked.iter().filter(|name| **name == "Policy").count(), 1);
    drop(world);
    stack.wait_for_log("replayed 4 items, 0 refused");
}

#[test]
fn a_service_that_already_serves_is_told_nothing() {
    let (mut stack, fake) = Stack::serving("serving");
    stack.create("www", "tls");
    let before = fake.world().asked.len();
    stack.stop_agent();
    stack.start_agent();
    assert_eq!(stack.json(&["list"])["keys"].as_array().unwrap().len(), 1);
    assert_eq!(fake.world().asked.len(), before);
    assert!(!stack.log().contains("lost"), "{}", stack.log());
}

#[test]
fn a_policy_that_cannot_be_read_leaves_the_service_closed() {
    let mut stack = Stack::new("policy-missing");
    let config = Config {
        policy: Some(stack.dir.join("policy.toml")),
        ..stack.config()
    };
    stack.start_agent_with(&config, &[]);
    let fake = Fake::start(&stack.control());
    stack.wait_for_log("policy.toml: No such file");
    assert!(stack.fails(1, &["list"]).contains("policy.toml"));
    assert!(fake.world().asked.is_empty());
}

#[test]
fn where_there_is_no_policy_and_nothing_to_replay_the_service_is_only_told_so() {
    let mut stack = Stack::new("first");
    stack.start_agent();
    let fake = Fake::start(&stack.control());
    fake.wait_until_serving();
    assert_eq!(fake.world().asked, ["Policy", "Ready"]);
    assert_eq!(fake.world().policy, None);
}
