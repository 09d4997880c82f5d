//! Generations, links and tests, with a server that is a script.

use std::fs;
use std::os::unix::fs::MetadataExt;

use enclave_tls_apply::{ClientError, Fault, Outcome, Step};

use crate::fake::{SCRIPTED, World, certificate, deployment, outcomes};

#[test]
fn a_first_deployment_works_before_any_server_mentions_it() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    let one = deployment("www", 1, 0, 0);
    let deployed = client.deploy(vec![one.clone()]).unwrap();
    assert!(deployed.put_back.is_empty());
    assert_eq!(outcomes(&deployed), [("main", &Outcome::NotRunning {})]);
    let directory = one.directory().to_string();
    assert_eq!(world.live("www").as_ref(), Some(&directory));

    let path = format!("base/generations/www/{directory}");
    assert_eq!(fs::metadata(world.at(&path)).unwrap().mode() & 0o7777, 0o755);
    let mut files: Vec<_> = fs::read_dir(world.at(&path))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "chain.pem",
            "haproxy.pem",
            "httpd.conf",
            "key.pem",
            "nginx-store.conf",
            "nginx.conf",
            "uri"
        ]
    );
    for file in &files {
        assert_eq!(
            fs::metadata(world.at(&path).join(file)).unwrap().mode() & 0o7777,
            0o644,
            "{file}"
        );
    }
    let snippet = world.read("base/live/www/nginx.conf");
    assert!(
        snippet.contains(&format!("ssl_certificate {}/{path}/chain.pem;", world.text())),
        "{snippet}"
    );
    let state = client.state().unwrap();
    assert_eq!(state.live.first().unwrap().directory, one.directory());
    assert_eq!(state.servers.first().unwrap().reloaded_with, None);
}

#[test]
fn a_generation_that_a_server_refuses_is_put_back_with_all_of_its_deployment() {
    let world_config = SCRIPTED
        .replace("servers.main", "servers.other")
        .replace("server.pid", "other.pid")
        .replace("@DIR@/server\"", "/bin/true\"");
    let config = world_config
        + &certificate("www", "\"main\"")
        + &certificate("shop", "\"other\", \"main\"")
        + &certificate("new", "\"main\"");
    let mut world = World::with_script(&config);
    let client = world.start();
    let first = [deployment("www", 1, 0, 0), deployment("shop", 1, 1, 0)];
    client.deploy(first.to_vec()).unwrap();

    fs::write(world.at("refuse"), "nginx: [emerg] no such\nthing\n").unwrap();
    let second = vec![
        deployment("www", 2, 0, 1),
        deployment("shop", 2, 1, 1),
        deployment("new", 1, 0, 0),
    ];
    let deployed = client.deploy(second.clone()).unwrap();
    let put_back: Vec<_> = deployed
        .put_back
        .iter()
        .map(|one| (one.name.as_str(), one.directory))
        .collect();
    assert_eq!(
        put_back,
        [("shop", first[1].directory()), ("www", first[0].directory())]
    );
    let failed = Outcome::Failed {
        step: Step::Test,
        message: "nginx: [emerg] no such\nthing".to_owned(),
    };
    assert_eq!(outcomes(&deployed), [("main", &failed), ("other", &Outcome::Undone {})]);
    assert_eq!(world.live("www"), Some(first[0].directory().to_string()));
    assert_eq!(world.live("shop"), Some(first[1].directory().to_string()));
    // It had none before, and the server refuses without it as well: whoever sets up one after the other gets there.
    assert!(world.live("new").is_some());

    fs::remove_file(world.at("refuse")).unwrap();
    let deployed = client.deploy(second.clone()).unwrap();
    assert!(deployed.put_back.is_empty(), "{deployed:?}");
    assert_eq!(world.live("www"), Some(second[0].directory().to_string()));
}

#[test]
fn only_what_the_configuration_file_has_is_deployed_and_each_once() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    for (deployments, fault, text) in [
        (
            vec![deployment("www", 1, 0, 0), deployment("other", 1, 0, 0)],
            Fault::Configuration,
            "has no certificate other",
        ),
        (
            vec![deployment("www", 1, 0, 0), deployment("www", 2, 0, 0)],
            Fault::Request,
            "twice",
        ),
    ] {
        let refused = client.deploy(deployments);
        let Err(ClientError::Refused(refusal)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(refusal.fault, fault);
        assert!(refusal.message.contains(text), "{refusal}");
    }
    assert_eq!(world.live("www"), None);
    assert!(!world.at("base/generations").exists());
}

#[test]
fn what_is_neither_kept_nor_live_is_pruned() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    let all: Vec<_> = (1..=4).map(|at| deployment("www", at, 0, 0)).collect();
    for one in &all {
        client.deploy(vec![one.clone()]).unwrap();
    }
    client.prune("www".parse().unwrap(), vec![all[1].generation()]).unwrap();
    let mut left: Vec<_> = fs::read_dir(world.at("base/generations/www"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [all[1].directory().to_string(), all[3].directory().to_string()]);
}

#[test]
fn a_thousand_certificates_are_deployed_at_once() {
    let names: Vec<_> = (0..1_000).map(|at| format!("www-{at}")).collect();
    let config: String = names.iter().map(|name| certificate(name, "\"main\"")).collect();
    let mut world = World::with_script(&config);
    let client = world.start();
    let started = std::time::Instant::now();
    let deployed = client
        .deploy(names.iter().map(|name| deployment(name, 1, 0, 0)).collect())
        .unwrap();
    eprintln!("a thousand certificates took {:?}", started.elapsed());
    assert!(deployed.put_back.is_empty());
    assert_eq!(client.state().unwrap().live.len(), 1_000);
}

#[test]
fn a_mistake_that_was_saved_stops_no_deployment() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    let sound = world.read("config.toml");
    for spoilt in [format!("{sound}\nfoo = 1\n"), "[".to_owned(), String::new()] {
        std::fs::write(world.at("config.toml"), &spoilt).unwrap();
        let deployed = client.deploy(vec![deployment("www", 2, 1, 1)]).unwrap();
        assert!(
            deployed.put_back.is_empty() && deployed.withdrawn.is_empty(),
            "{spoilt}"
        );
        assert_eq!(
            client.state().unwrap().live.first().unwrap().directory,
            deployment("www", 2, 1, 1).directory()
        );
        client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    }
    // What is sound counts at once, and one that never was sound is an error.
    std::fs::write(world.at("config.toml"), sound.replace("\"www\"", "\"other\"")).unwrap();
    let refusal = client.deploy(vec![deployment("www", 2, 1, 1)]).unwrap_err();
    assert!(refusal.to_string().contains("has no certificate www"), "{refusal}");
}
