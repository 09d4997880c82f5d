//! Sealed states: stored before that is said, restored before the service opens, and tried again while AWS is away.

use std::fs;
use std::time::Duration;

use enclave_wire::control::ControlError;
use serde_json::json;

use crate::stack::Stack;

fn create(stack: &Stack, name: &str, sealed: &str) -> String {
    let args = [
        "create", name, "--type", "p-256", "--usage", "tls", "--client", "nginx", sealed,
    ];
    stack.ok(&args).trim().to_owned()
}

#[test]
fn threat_35_a_state_is_on_disk_before_its_key_is_acknowledged_and_one_that_is_restored_is_unproven() {
    let (stack, mut fake) = Stack::serving("sealed");
    // The stand-in looks into the directory as soon as it is told that its state is stored.
    let first = create(&stack, "www", "--sealed");
    let second = create(&stack, "www", "--sealed");
    let other = create(&stack, "api", "--sealed=edge");
    let file = stack.replay().join("sealed/www.sealed");
    assert_eq!(Stack::mode(&file), 0o600);
    assert_eq!(Stack::mode(&stack.replay().join("sealed")), 0o700);
    assert_eq!(fs::read_dir(stack.replay().join("volatile")).unwrap().count(), 0);
    let list = stack.json(&["list"]);
    assert_eq!(
        list["keys"][1]["sealed"],
        json!({"group": "default", "number": 2, "freshness": "known"})
    );
    assert_eq!(
        (&list["keys"][0]["kept"], &list["keys"][2]["sealed"]["group"]),
        (&true.into(), &"edge".into())
    );
    let text = stack.ok(&["list"]);
    assert!(
        text.contains("sealed (edge)") && !text.contains("they are gone"),
        "{text}"
    );

    fake.restart(&stack.control());
    fake.wait_until_serving();
    let asked = ["Policy", "InstallCredential", "Restore", "Restore", "Ready"];
    assert_eq!(fake.world().asked, asked, "before Ready, after the credentials");
    stack.wait_for_log("replayed 3 items, 0 refused");
    assert!(!stack.log().contains("the restart lost"), "{}", stack.log());
    let text = stack.ok(&["list"]);
    assert!([first, second, other].iter().all(|id| text.contains(id)), "{text}");
    assert!(
        text.contains("sealed (default), unproven") && text.contains("Freshness unproven"),
        "{text}"
    );
}

#[test]
fn where_a_state_cannot_be_stored_nothing_is_sealed_and_nothing_is_changed() {
    let (stack, fake) = Stack::serving("sealed-unstored");
    // Even root cannot write a file where a directory is.
    fs::create_dir(stack.replay().join("sealed/www.sealed")).unwrap();
    let args = [
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    let error = stack.fails(1, &args);
    assert!(
        error.contains("nothing was changed; the agent's log says why"),
        "{error}"
    );
    assert!(fake.world().keys.is_empty());
    stack.wait_for_log("a sealed state of www was not stored: sealed/www.sealed:");
}

#[test]
fn what_was_lost_of_a_name_is_forgotten_once_the_name_is_sealed() {
    let (stack, mut fake) = Stack::serving("sealed-volatile");
    stack.create("www", "tls");
    fake.restart(&stack.control());
    fake.wait_until_serving();
    assert_eq!(stack.json(&["list"])["lost"].as_array().unwrap().len(), 1);
    create(&stack, "www", "--sealed");
    assert_eq!(stack.json(&["list"])["lost"], json!([]));
}

#[test]
fn threat_37_while_aws_is_away_the_service_opens_and_states_are_tried_until_they_can_be_opened() {
    let (stack, mut fake) = Stack::serving("sealed-later");
    for name in ["a", "b", "c"] {
        create(&stack, name, "--sealed");
    }
    fake.world().refuse.insert("Restore", ControlError::AwsUnavailable);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    let first_pass = fake.world().asked.iter().take_while(|name| **name != "Ready").count();
    assert_eq!(
        first_pass,
        3,
        "once AWS does not answer, the rest waits: {:?}",
        fake.world().asked
    );
    stack.wait_for_log("replayed 1 items, 0 refused, 3 wait for AWS");
    let waiting = stack.json(&["list"])["waiting"].clone();
    assert_eq!(waiting.as_array().unwrap().len(), 3);
    assert!(
        waiting.as_array().unwrap().iter().all(|item| item["retried"] == true),
        "{waiting}"
    );
    assert!(stack.ok(&["status"]).contains("Stored, and not opened"));
    fake.wait_until("more attempts", |world| {
        world.asked.iter().filter(|name| **name == "Restore").count() >= 3
    });
    fake.world().refuse.clear();
    fake.wait_until("all is restored", |world| world.keys.len() == 3);
    stack.wait_for_log("nothing is left to try");
    assert_eq!(stack.json(&["list"])["waiting"], json!([]));
    assert_eq!(
        stack.log().matches("are tried again: AWS did not answer").count(),
        1,
        "{}",
        stack.log()
    );
}

#[test]
fn a_state_that_is_refused_is_said_once_and_the_others_are_restored() {
    let (stack, mut fake) = Stack::serving("sealed-bad");
    create(&stack, "a", "--sealed");
    create(&stack, "b", "--sealed");
    fs::write(stack.replay().join("sealed/a.sealed"), "rubbish").unwrap();
    fs::write(stack.replay().join("sealed/c.sealed"), vec![0; 120_001]).unwrap();
    fs::write(stack.replay().join("sealed/x"), "").unwrap();
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log("replayed 2 items, 2 refused");
    for line in [
        "replay: sealed/a.sealed: the sealed state is damaged",
        "replay: sealed/c.sealed: a sealed state has at most 120,000 bytes",
        "replay: sealed/x: a file here is named NAME.sealed",
    ] {
        assert_eq!(stack.log().matches(line).count(), 1, "{line}: {}", stack.log());
    }
    assert_eq!(fake.world().keys.len(), 1);
    let waiting = stack.json(&["list"])["waiting"].clone();
    assert_eq!(
        (&waiting[0]["name"], &waiting[0]["retried"]),
        (&"a".into(), &false.into())
    );
}

#[test]
fn new_keys_do_not_overwrite_a_state_that_was_not_opened() {
    let (stack, mut fake) = Stack::serving("sealed-overwrite");
    create(&stack, "www", "--sealed");
    let file = stack.replay().join("sealed/www.sealed");
    let before = fs::read(&file).unwrap();
    fake.world().refuse.insert("Restore", ControlError::AwsDenied);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    let args = [
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    assert!(
        stack
            .fails(1, &args)
            .contains("nothing was changed; the agent's log says why")
    );
    stack.wait_for_log("sealed/www.sealed holds keys that the service has not opened");
    assert_eq!(fs::read(&file).unwrap(), before);
    assert!(fake.world().keys.is_empty());

    fs::rename(&file, stack.dir.join("aside")).unwrap();
    create(&stack, "www", "--sealed");
    assert_ne!(fs::read(&file).unwrap(), before);
}

#[test]
fn an_agent_that_starts_again_restores_only_what_the_service_lacks() {
    let (mut stack, mut fake) = Stack::serving("sealed-again");
    create(&stack, "a", "--sealed");
    create(&stack, "b", "--sealed");
    fake.world().refuse.insert("Restore", ControlError::AwsDenied);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    fake.world().refuse.clear();
    stack.stop_agent();
    fake.world().asked.clear();
    stack.start_agent();
    fake.wait_until("both are restored", |world| world.keys.len() == 2);
    stack.wait_for_log("opened 2 more items");
    assert_eq!(fake.world().asked, ["Restore", "Restore"]);

    // The service says of each whether it is its own; nothing is missing.
    stack.stop_agent();
    fake.world().asked.clear();
    stack.start_agent();
    stack.ok(&["list"]);
    assert_eq!(fake.world().asked, ["Restore", "Restore"]);
    assert_eq!(fake.world().keys.len(), 2);
    create(&stack, "a", "--sealed");
}

/// KMS comes back while new keys of the same name are being made: the old ones must not be lost by it.
#[test]
fn threat_35_a_state_that_waits_for_its_turn_is_not_overwritten() {
    let (stack, mut fake) = Stack::serving("sealed-turn");
    create(&stack, "www", "--sealed");
    let file = stack.replay().join("sealed/www.sealed");
    let before = fs::read(&file).unwrap();
    fake.world().refuse.insert("Restore", ControlError::AwsUnavailable);
    fake.restart(&stack.control());
    fake.wait_until_serving();
    // Longer than the pause between two attempts: one of them comes while this is under way.
    fake.world().slow = Some(("Create", Duration::from_secs(4)));
    let args = [
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    stack.fails(1, &args);
    assert_eq!(fs::read(&file).unwrap(), before);
    stack.wait_for_log("sealed/www.sealed holds keys that the service has not opened");
}

#[test]
fn threat_35_states_that_were_swapped_are_refused_and_not_overwritten() {
    let (stack, mut fake) = Stack::serving("sealed-swapped");
    create(&stack, "a", "--sealed");
    create(&stack, "b", "--sealed");
    let [a, b] = ["a", "b"].map(|name| stack.replay().join(format!("sealed/{name}.sealed")));
    let between = stack.dir.join("between");
    fs::rename(&a, &between).unwrap();
    fs::rename(&b, &a).unwrap();
    fs::rename(&between, &b).unwrap();
    let before = [&a, &b].map(|file| fs::read(file).unwrap());
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log("replay: sealed/a.sealed: it is the sealed state of b; rename it to b.sealed");
    assert!(fake.world().keys.is_empty());
    let args = [
        "create", "a", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    stack.fails(1, &args);
    assert_eq!([&a, &b].map(|file| fs::read(file).unwrap()), before);
}

/// A directory of another enclave, or an older copy of this one's.
#[test]
fn threat_35_a_state_that_is_not_the_services_own_is_never_overwritten() {
    let (mut stack, fake) = Stack::serving("sealed-foreign");
    create(&stack, "www", "--sealed");
    let older = fs::read(stack.replay().join("sealed/www.sealed")).unwrap();
    create(&stack, "www", "--sealed");
    create(&stack, "api", "--sealed");
    stack.stop_agent();
    let file = stack.replay().join("sealed/www.sealed");
    fs::write(&file, &older).unwrap();
    fs::remove_file(stack.replay().join("sealed/api.sealed")).unwrap();
    stack.start_agent();
    stack.wait_for_log("replay: sealed/www.sealed: the service has another state of this name");
    stack.wait_for_log("noted 1 keys of the service");
    let args = [
        "create", "www", "--type", "p-256", "--usage", "tls", "--client", "nginx", "--sealed",
    ];
    assert!(stack.fails(1, &args).contains("nothing was changed"));
    assert_eq!(fs::read(&file).unwrap(), older);
    fs::remove_file(&file).unwrap();
    create(&stack, "www", "--sealed");
    assert_ne!(fs::read(&file).unwrap(), older);
    assert_eq!(fake.world().keys.len(), 4);
}

#[test]
fn a_key_is_sealed_or_kept_in_the_clear_and_not_both() {
    let stack = Stack::new("sealed-keep");
    let args = [
        "import", "www", "key.pem", "--usage", "tls", "--client", "nginx", "--sealed", "--keep",
    ];
    assert!(stack.fails(2, &args).contains("cannot be used with"));
}
