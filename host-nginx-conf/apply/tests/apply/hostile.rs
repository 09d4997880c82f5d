//! Requests that nobody should send, and a disk that others have been at.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use enclave_tls_apply::{ClientError, Fault, MAX_KEEP, MAX_REQUEST};
use enclave_wire::credential::Secret;

use crate::fake::{World, certificate, deployment};

#[test]
fn requests_of_another_form_change_nothing() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    world.start();
    let id = "00".repeat(32);
    for bad in [
        "\n".to_owned(),
        "{}\n".to_owned(),
        "{\"state\":{}}".to_owned(),
        "{\"state\":{}}\n{\"state\":{}}\n".to_owned(),
        "{\"state\":{\"path\":\"/etc\"}}\n".to_owned(),
        "{\"run\":{\"command\":\"id\"}}\n".to_owned(),
        "{\"prune\":{\"certificate\":\"../../etc\",\"keep\":[]}}\n".to_owned(),
        "{\"prune\":{\"certificate\":\"..\",\"keep\":[]}}\n".to_owned(),
        format!(
            "{{\"deploy\":{{\"certificates\":[{{\"name\":\"www\",\"generation\":1,\"id\":\"{id}\",\"usage\":\"tls\",\"chain\":[\"MAA=\"]}}]}}}}\n"
        ),
        format!(
            "{{\"deploy\":{{\"certificates\":[{{\"name\":\"www\",\"generation\":\"1/..\",\"id\":\"{id}\",\"usage\":\"tls\",\"chain\":[]}}]}}}}\n"
        ),
        "x".repeat(MAX_REQUEST + 2),
        format!("{}\n", "[".repeat(100_000)),
    ] {
        let answer = world.send(bad.as_bytes());
        let shown: String = bad.chars().take(80).collect();
        assert!(
            answer.starts_with("{\"refused\":{\"fault\":\"request\""),
            "{shown}: {answer}"
        );
        assert!(answer.len() < 10_000 && answer.ends_with('\n'), "{shown}");
    }
    assert_eq!(
        world.send(b""),
        "",
        "who only looks whether somebody listens is not answered"
    );
    assert!(
        world.send(b"{\"state\":{}}\n").starts_with("{\"state\":"),
        "it still answers"
    );
    assert!(!world.at("base/generations").exists() && !world.at("base/clients").exists());
}

#[test]
fn a_configuration_file_that_others_can_change_is_not_acted_on() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    fs::set_permissions(world.at("config.toml"), fs::Permissions::from_mode(0o666)).unwrap();
    let refused = client.deploy(vec![deployment("www", 1, 0, 0)]);
    let Err(ClientError::Refused(refusal)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.fault, Fault::Configuration);
    assert!(refusal.message.contains("config.toml"), "{refusal}");
    assert!(!world.at("base/generations").exists());
}

#[test]
fn links_that_others_planted_are_not_followed() {
    for planted in ["clients", "live", "generations", ".apply"] {
        let mut world = World::with_script(&certificate("www", "\"main\""));
        let client = world.start();
        fs::create_dir_all(world.at("base")).unwrap();
        fs::set_permissions(world.at("base"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(world.at("elsewhere")).unwrap();
        symlink(world.at("elsewhere"), world.at("base").join(planted)).unwrap();
        let refused = [
            client
                .credential("web".parse().unwrap(), Secret::from_random([1; 32]))
                .err(),
            client.deploy(vec![deployment("www", 1, 0, 0)]).err(),
        ];
        let refusals: Vec<_> = refused.into_iter().flatten().map(|error| error.to_string()).collect();
        assert!(
            !refusals.is_empty()
                && refusals
                    .iter()
                    .all(|text| text.contains("no directory that only root can change")),
            "{planted}: {refusals:?}"
        );
        assert_eq!(fs::read_dir(world.at("elsewhere")).unwrap().count(), 0, "{planted}");
    }
}

#[test]
fn a_base_that_others_can_change_is_refused() {
    let mut world = World::with_script("");
    let client = world.start();
    fs::create_dir_all(world.at("base")).unwrap();
    fs::set_permissions(world.at("base"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = client.credential("web".parse().unwrap(), Secret::from_random([1; 32]));
    assert!(
        matches!(&refused, Err(ClientError::Refused(refusal)) if refusal.fault == Fault::Machine),
        "{refused:?}"
    );
    assert_eq!(fs::read_dir(world.at("base")).unwrap().count(), 0);
}

#[test]
fn an_undo_record_that_cannot_be_read_stops_everything_and_says_what_to_do() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    fs::write(
        world.at("base/.apply/undo.json"),
        "[{\"name\":\"www\",\"directory\":\"../../../etc\"}]",
    )
    .unwrap();
    let refused = client.state();
    let Err(ClientError::Refused(refusal)) = refused else {
        panic!("{refused:?}")
    };
    assert!(refusal.message.contains("remove it"), "{refusal}");
}

#[test]
fn an_agent_that_others_took_over_cannot_fill_the_disk_with_generations() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    let first = deployment("www", 1, 0, 0);
    client.deploy(vec![first.clone()]).unwrap();
    for at in 1..MAX_KEEP {
        fs::create_dir(world.at(&format!("base/generations/www/{:04}-0011223344556677-00112233", at + 1))).unwrap();
    }
    let refused = client.deploy(vec![deployment("www", 1_000, 0, 0)]);
    let Err(ClientError::Refused(refusal)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(refusal.fault, Fault::Request);
    assert!(refusal.message.contains("remove old ones"), "{refusal}");
    assert_eq!(
        fs::read_dir(world.at("base/generations/www")).unwrap().count(),
        MAX_KEEP
    );
    // What is there can be gone back to, and pruning makes room.
    client.deploy(vec![first]).unwrap();
    client.prune("www".parse().unwrap(), Vec::new()).unwrap();
    client.deploy(vec![deployment("www", 1_000, 0, 0)]).unwrap();
}
