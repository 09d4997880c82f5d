//! A real NGINX: refused, put back, reloaded; never restarted.

use std::fs;

use enclave_tls_apply::{Outcome, Step};

use crate::fake::{WITH_NGINX, World, certificate, deployment, outcomes, until};

#[test]
fn nginx_reloads_what_it_can_serve_and_keeps_serving_what_it_cannot() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"");
    let mut world = World::new(&config);
    let client = world.start();
    let first = deployment("www", 1, 0, 0);
    // Its configuration is not there yet.
    let deployed = client.deploy(vec![first.clone()]).unwrap();
    assert!(deployed.put_back.is_empty());
    if !world.start_nginx() {
        return;
    }
    let pid = world.nginx_pid();
    assert_eq!(world.served().as_deref(), Some("CN=one"));

    // A key that is not the file's.
    let deployed = client.deploy(vec![deployment("www", 2, 1, 0)]).unwrap();
    let put_back: Vec<_> = deployed.put_back.iter().map(|one| one.directory).collect();
    assert_eq!(put_back, [first.directory()]);
    let [
        (
            "main",
            Outcome::Failed {
                step: Step::Test,
                message,
            },
        ),
    ] = outcomes(&deployed)[..]
    else {
        panic!("{deployed:?}")
    };
    assert!(message.contains("key values mismatch"), "{message}");
    assert_eq!(world.served().as_deref(), Some("CN=one"));

    // Nothing has changed for it.
    let deployed = client.deploy(vec![first]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::Unchanged {})]);

    let workers = workers(pid);
    let second = deployment("www", 2, 0, 1);
    let deployed = client.deploy(vec![second.clone()]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::Reloaded { pid })]);
    assert!(until(|| world.served().as_deref() == Some("CN=two")));
    assert!(until(|| self::workers(pid)
        .iter()
        .all(|worker| !workers.contains(worker))));
    assert_eq!(world.nginx_pid(), pid);
    let state = client.state().unwrap();
    let server = state.servers.first().unwrap();
    assert_eq!(server.pid, Some(pid));
    assert_eq!(
        server.reloaded_with.as_ref().unwrap().first().unwrap().directory,
        second.directory()
    );
}

/// It has read what is live by itself: a reload would be for nothing. One that is not known to have is reloaded.
#[test]
fn a_server_that_starts_by_itself_is_not_reloaded_for_what_it_has_read() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"");
    let mut world = World::new(&config);
    let client = world.start();
    let first = deployment("www", 1, 0, 0);
    client.deploy(vec![first.clone()]).unwrap();
    assert_eq!(client.state().unwrap().servers[0].reloaded_with, None);
    if !world.start_nginx() {
        return;
    }
    let before = workers(world.nginx_pid());
    let state = client.state().unwrap();
    let with = state.servers[0].reloaded_with.as_ref().unwrap();
    assert_eq!(with[0].directory, first.directory());
    let deployed = client.deploy(vec![first]).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::Unchanged {})]);
    let deployed = client.deploy(Vec::new()).unwrap();
    assert_eq!(outcomes(&deployed), []);
    assert_eq!(workers(world.nginx_pid()), before, "it was reloaded");

    // Without the record of the switch nobody knows.
    fs::remove_file(world.at("base/.apply/switched.json")).unwrap();
    fs::remove_file(world.at("base/.apply/reloaded.json")).unwrap();
    let pid = world.nginx_pid();
    let deployed = client.deploy(Vec::new()).unwrap();
    assert_eq!(outcomes(&deployed), [("main", &Outcome::Reloaded { pid })]);
}

#[test]
fn a_worker_that_finishes_a_connection_is_older_until_it_ends() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"");
    let mut world = World::new(&config);
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    if !world.start_nginx() {
        return;
    }
    client.deploy(Vec::new()).unwrap();
    let older = || client.state().unwrap().servers.first().unwrap().older.clone();
    assert!(until(|| older().is_empty()), "nobody is connected");
    let [worker]: [String; 1] = workers(world.nginx_pid()).try_into().unwrap();
    let connection = std::os::unix::net::UnixStream::connect(world.at("nginx.sock")).unwrap();
    // The one worker takes connections in their order.
    assert_eq!(world.served().as_deref(), Some("CN=one"));
    client.deploy(vec![deployment("www", 2, 0, 1)]).unwrap();
    assert!(until(|| world.served().as_deref() == Some("CN=two")));
    assert_eq!(older(), [worker.parse::<u32>().unwrap()]);
    // Also a helper that was killed meanwhile knows.
    world.kill();
    let client = world.start();
    let older = || client.state().unwrap().servers.first().unwrap().older.clone();
    assert_eq!(older(), [worker.parse::<u32>().unwrap()]);
    // Who is told again while it is still there does not forget it.
    client.deploy(vec![deployment("www", 3, 0, 0)]).unwrap();
    assert!(older().contains(&worker.parse().unwrap()));
    drop(connection);
    assert!(until(|| older().is_empty()));
}

#[test]
fn nobody_is_signalled_who_is_not_the_server() {
    let config = WITH_NGINX.to_owned() + &certificate("www", "\"main\"");
    let mut world = World::new(&config);
    let client = world.start();
    client.deploy(vec![deployment("www", 1, 0, 0)]).unwrap();
    if !world.start_nginx() {
        return;
    }
    // An old pid file, whose number somebody else has now.
    fs::write(world.at("nginx.pid"), format!("{}\n", std::process::id())).unwrap();
    let deployed = client.deploy(vec![deployment("www", 2, 0, 1)]).unwrap();
    let [
        (
            "main",
            Outcome::Failed {
                step: Step::Reload,
                message,
            },
        ),
    ] = outcomes(&deployed)[..]
    else {
        panic!("{deployed:?}")
    };
    assert!(message.contains("and not /usr/sbin/nginx"), "{message}");
    assert!(deployed.put_back.is_empty());
    // Put right, the next deployment does it.
    fs::write(world.at("nginx.pid"), format!("{}\n", world.nginx_pid())).unwrap();
    let deployed = client.deploy(Vec::new()).unwrap();
    assert_eq!(
        outcomes(&deployed),
        [("main", &Outcome::Reloaded { pid: world.nginx_pid() })]
    );
    assert!(until(|| world.served().as_deref() == Some("CN=two")));
}

fn workers(master: u32) -> Vec<String> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    children.split_whitespace().map(str::to_owned).collect()
}
