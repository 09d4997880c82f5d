//! First generations that a server refuses.

use std::fs;

use enclave_tls_apply::{Deployed, Outcome, Step};

use crate::fake::{SCRIPTED, WITH_NGINX, World, certificate, deployment, outcomes};

/// Refuses as long as one of these is live, as a server that reads all of `live/` does.
fn refuses(names: &[&str]) -> String {
    let links = names.iter().map(|name| format!("[ -e @DIR@/base/live/{name} ]"));
    format!(
        "if {}; then echo bad >&2; exit 1; fi",
        links.collect::<Vec<_>>().join(" || ")
    )
}

fn withdrawn(deployed: &Deployed) -> Vec<&str> {
    deployed.withdrawn.iter().map(|name| name.as_str()).collect()
}

fn put_back(deployed: &Deployed) -> Vec<&str> {
    deployed.put_back.iter().map(|one| one.name.as_str()).collect()
}

fn is_refusal(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed { step: Step::Test, .. })
}

#[test]
fn a_bad_first_generation_blocks_nobody_elses_renewal() {
    let mut world = World::with_script(&(certificate("www", "\"main\"") + &certificate("bad", "\"main\"")));
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    world.script(&refuses(&["bad"]));
    let deployed = client.deploy(vec![deployment("bad", 1, 0, 0)]).unwrap();
    assert_eq!((withdrawn(&deployed), put_back(&deployed)), (vec!["bad"], vec![]));
    assert!(is_refusal(outcomes(&deployed)[0].1));
    assert_eq!(world.live("bad"), None);
    let second = deployment("www", 2, 0, 1);
    let deployed = client.deploy(vec![second.clone()]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::NotRunning {})]);
    assert_eq!(world.live("www"), Some(second.directory().to_string()));
    // Both at once: each is undone, so that whoever asks finds out which it is.
    let deployed = client
        .deploy(vec![deployment("www", 3, 0, 0), deployment("bad", 1, 0, 0)])
        .unwrap();
    assert_eq!((withdrawn(&deployed), put_back(&deployed)), (vec!["bad"], vec!["www"]));
    assert_eq!(world.live("www"), Some(second.directory().to_string()));
    assert_eq!(
        (world.live("bad"), world.at("base/.apply/undo.json").exists()),
        (None, false)
    );
}

#[test]
fn a_good_first_generation_stays_where_a_renewal_is_refused() {
    let mut world = World::with_script(&(certificate("www", "\"main\"") + &certificate("new", "\"main\"")));
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    let second = deployment("www", 2, 0, 1);
    world.script(&refuses(&[&format!("www/../{}", second.directory())]));
    let deployed = client.deploy(vec![second, deployment("new", 1, 0, 0)]).unwrap();
    assert_eq!((withdrawn(&deployed), put_back(&deployed)), (vec![], vec!["www"]));
    assert!(world.live("new").is_some());
}

#[test]
fn a_server_whose_files_are_not_all_there_yet_gets_them_one_by_one() {
    let mut world = World::with_script(&(certificate("one", "\"main\"") + &certificate("two", "\"main\"")));
    world.script("cat @DIR@/base/live/one/uri @DIR@/base/live/two/uri");
    let client = world.start();
    let deployed = client.deploy(vec![deployment("one", 1, 0, 0)]).unwrap();
    assert!(is_refusal(outcomes(&deployed)[0].1));
    assert_eq!(withdrawn(&deployed), [""; 0]);
    let deployed = client.deploy(vec![deployment("two", 1, 0, 0)]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::NotRunning {})]);
}

#[test]
fn another_server_that_passed_with_it_is_undone() {
    let other = SCRIPTED
        .replace("servers.main", "servers.other")
        .replace("server.pid", "other.pid")
        .replace("@DIR@/server\"", "/bin/true\"");
    let mut world = World::with_script(&(other + &certificate("bad", "\"other\", \"main\"")));
    world.script(&refuses(&["bad"]));
    let client = world.start();
    let deployed = client.deploy(vec![deployment("bad", 1, 0, 0)]).unwrap();
    assert_eq!(withdrawn(&deployed), ["bad"]);
    let [("main", main), ("other", Outcome::Undone {})] = outcomes(&deployed)[..] else {
        panic!("{deployed:?}")
    };
    assert!(is_refusal(main));
}

#[test]
fn nothing_stays_with_which_a_server_that_was_in_line_refuses() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"") + &certificate("new", "\"main\"");
    let mut world = World::new(&config);
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    if !world.start_nginx() {
        return;
    }
    // It was started with what is live.
    assert_eq!(outcomes(&client.deploy(Vec::new()).unwrap()), []);
    // It refuses with and without.
    let text = world.read("nginx.conf");
    fs::write(world.at("nginx.conf"), text.replace("events", "evens")).unwrap();
    let deployed = client.deploy(vec![deployment("new", 1, 0, 0)]).unwrap();
    assert_eq!((withdrawn(&deployed), world.live("new")), (vec!["new"], None));
    fs::write(world.at("nginx.conf"), text).unwrap();
    let deployed = client.deploy(vec![deployment("new", 1, 0, 0)]).unwrap();
    assert_eq!(
        outcomes(&deployed),
        [("main", &Outcome::Reloaded { pid: world.nginx_pid() })]
    );
    assert!(world.live("new").is_some());
}
