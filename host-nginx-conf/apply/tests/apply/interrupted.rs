//! The helper killed at any moment: no half generation is ever live, and the next deployment brings all into line.

use std::fs;
use std::thread;
use std::time::Duration;

use enclave_tls_apply::Outcome;

use crate::fake::{WITH_NGINX, World, certificate, deployment, outcomes, until};

#[test]
fn what_was_switched_but_not_tested_is_undone() {
    let mut world = World::with_script(&certificate("www", "\"main\""));
    let client = world.start();
    let [first, second] = [deployment("www", 1, 0, 0), deployment("www", 2, 0, 1)];
    client.deploy(vec![first.clone()]).unwrap();
    world.script("touch @DIR@/testing; sleep 60");
    let asked = second.clone();
    let asking = thread::spawn(move || client.deploy(vec![asked]));
    assert!(until(|| world.at("testing").exists()));
    assert_eq!(world.live("www"), Some(second.directory().to_string()));
    world.kill();
    assert!(asking.join().unwrap().is_err());

    // Whatever is asked first.
    let client = world.start();
    let state = client.state().unwrap();
    assert_eq!(state.live.first().unwrap().directory, first.directory());
    assert_eq!(world.live("www"), Some(first.directory().to_string()));
    assert!(world.read("log").contains("an interrupted deployment is undone"));
    world.script("exit 0");
    let deployed = client.deploy(vec![second.clone()]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::NotRunning {})]);
    assert_eq!(world.live("www"), Some(second.directory().to_string()));
}

#[test]
fn a_first_generation_that_no_server_had_passed_is_undone_too() {
    let mut world = World::with_script(&(certificate("www", "\"main\"") + &certificate("new", "\"main\"")));
    let mut client = world.start();
    let [first, second, new] = [
        deployment("www", 1, 0, 0),
        deployment("www", 2, 0, 1),
        deployment("new", 1, 0, 0),
    ];
    client.deploy(vec![first.clone()]).unwrap();
    // Killed in the test of all, in the one with the first generation alone, and in the one without.
    for (refuses, is_live) in [
        ("", true),
        ("if [ ! -e @DIR@/tested ]; then touch @DIR@/tested; exit 1; fi", true),
        ("if [ -e @DIR@/base/live/new ]; then exit 1; fi", false),
    ] {
        world.script(&format!("{refuses}\ntouch @DIR@/hangs; sleep 60"));
        let asked = vec![second.clone(), new.clone()];
        let asking = thread::spawn(move || client.deploy(asked));
        assert!(until(|| world.at("hangs").exists()));
        assert_eq!(world.live("new").is_some(), is_live, "{refuses}");
        world.kill();
        assert!(asking.join().unwrap().is_err());
        client = world.start();
        let live = client.state().unwrap().live;
        let [www] = live.as_slice() else {
            panic!("{refuses}: {live:?}")
        };
        assert_eq!(www.directory, first.directory());
        assert_eq!(
            (world.live("new"), world.at("base/.apply/undo.json").exists()),
            (None, false)
        );
        fs::remove_file(world.at("hangs")).unwrap();
    }
    assert!(world.read("log").contains("new is not live, as before"));
    world.script("exit 0");
    let deployed = client.deploy(vec![second, new]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::NotRunning {})]);
    assert!(world.live("new").is_some());
}

#[test]
fn threat_53_killed_at_any_moment_the_next_deployment_finishes() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"");
    let mut world = World::new(&config);
    let mut client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    if !world.start_nginx() {
        return;
    }
    let mut cut = 0;
    for round in 0..KILLS {
        let one = deployment("www", round + 2, 0, usize::try_from(round % 2).unwrap());
        let asking = thread::spawn(move || client.deploy(vec![one]));
        // Spread over the whole of a deployment and a little more; not random, so that a failure comes again.
        thread::sleep(Duration::from_micros(u64::from(round * 7_919 % 30_000)));
        world.kill();
        cut += u32::from(asking.join().unwrap().is_err());
        // Whatever is live is a whole generation.
        let directory = world.live("www").unwrap();
        for file in ["chain.pem", "key.pem", "uri", "nginx.conf", "haproxy.pem"] {
            let text = fs::read_to_string(world.at("base/live/www").join(file)).unwrap();
            assert!(text.ends_with('\n'), "{directory}/{file}");
        }
        client = world.start();
    }
    assert!(
        cut > KILLS / 4,
        "{cut} of {KILLS} were cut off: the moments are badly chosen"
    );
    let last = deployment("www", 1_000, 0, 1);
    let deployed = client.deploy(vec![last.clone()]).unwrap();
    assert_eq!(
        outcomes(&deployed),
        [("main", &Outcome::Reloaded { pid: world.nginx_pid() })]
    );
    assert!(until(|| world.served().as_deref() == Some("CN=two")));
    client.prune("www".parse().unwrap(), Vec::new()).unwrap();
    let left: Vec<_> = fs::read_dir(world.at("base/generations/www"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, [last.directory().to_string().as_str()]);
    // Nothing but the records themselves.
    let mut records: Vec<_> = fs::read_dir(world.at("base/.apply"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    records.sort();
    assert_eq!(records, ["config.toml", "lock", "reloaded.json", "switched.json"]);
}

const KILLS: u32 = 60;
