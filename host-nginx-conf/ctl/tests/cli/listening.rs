//! The agent's sockets: who may connect, and what happens when the service is away or dials again.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::time::{Duration, Instant};

use enclave_wire::control::{EnclaveRequest, Listed, Phase, Reply, Status, StoreState};
use enclave_wire::log::Text;
use enclave_wire::{BootId, Writer};

use crate::config::Config;
use crate::fake::Fake;
use crate::stack::Stack;

#[test]
fn a_service_that_is_away_is_said_to_be_and_comes_back() {
    let (stack, fake) = Stack::serving("away");
    drop(fake);
    stack.wait_for_log("the service is away");
    let begun = Instant::now();
    let error = stack.fails(1, &["list"]);
    // The keeper waits for it as well, three seconds each: side by side, not one after the other.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(
        error,
        "enclave-tlsctl: the service is not connected to the agent; start it, or look at its log\n"
    );
    let _fake = Fake::start(&stack.control());
    stack.ok(&["list"]);
}

#[test]
fn a_connection_that_ends_during_a_request_is_told_from_a_refusal() {
    let (stack, fake) = Stack::serving("cut");
    fake.world().hang_up_at = Some("Statistics");
    assert!(stack.fails(1, &["stats"]).contains("it may have done what was asked"));
    fake.wait_until("it has come back", |_| {
        stack.log().matches("the service is here").count() == 2
    });
    stack.ok(&["stats"]);
}

#[test]
fn a_newer_dial_of_the_same_run_takes_the_place_of_the_older() {
    let (stack, fake) = Stack::serving("newer");
    let mut newer = UnixStream::connect(stack.control()).unwrap();
    let mut status = [0; 14];
    newer.read_exact(&mut status).unwrap();
    assert_eq!(status[5], 0x02, "it is asked for its status");
    let reply = Reply::Status(Status {
        boot: BootId([1; 16]),
        version: Text::lossy("0.0-newer"),
        phase: Phase::Serving,
        uptime_ms: 0,
        now: 0,
        clock_source: Text::lossy("kvm-clock"),
        policy_sha384: None,
        sealing: Listed::default(),
    });
    let mut writer = Writer::new();
    reply.write(&mut writer, u64::from_be_bytes(*status[6..].first_chunk().unwrap()));
    newer.write_all(&writer.into_bytes()).unwrap();
    stack.wait_for_log("version 0.0-newer");
    drop(newer);
    fake.wait_until("the older is closed and dials again", |world| world.dials == 2);
    stack.ok(&["list"]);
}

#[test]
fn threat_10_another_service_does_not_displace_one_that_answers() {
    let (stack, fake) = Stack::serving("second");
    let second = Fake::start_boot(&stack.control(), 9);
    second.wait_until("it is sent away, again and again", |world| world.dials >= 5);
    assert_eq!(fake.world().dials, 1);
    assert!(second.world().asked.is_empty(), "nothing was said to it but status");
    assert!(stack.json(&["status"])["boot"].as_str().unwrap().starts_with("0101"));
    let log = stack.log();
    assert_eq!(log.matches("another service dials, boot 0909").count(), 1, "{log}");

    drop(fake);
    second.wait_until_serving();
    assert!(stack.json(&["status"])["boot"].as_str().unwrap().starts_with("0909"));
}

#[test]
fn threat_10_who_does_not_speak_as_a_service_does_not_displace_it() {
    let (stack, fake) = Stack::serving("garbage");
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0, 0, 0, 10, 1, 0xc1, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0; 64],
    ] {
        let mut stranger = UnixStream::connect(stack.control()).unwrap();
        stranger.write_all(garbage).unwrap();
        stranger.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
        let mut rest = Vec::new();
        // It is asked for its status, and then the connection ends.
        let ended = stranger.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
    let _silent = UnixStream::connect(stack.control()).unwrap();
    stack.ok(&["list"]);
    assert_eq!(fake.world().dials, 1);
    stack.wait_for_log("somebody dialled who is no service");
    assert!(!stack.log().contains("is away"), "{}", stack.log());
}

#[test]
fn threat_10_who_has_not_said_who_it_is_stores_nothing() {
    let (stack, _fake) = Stack::serving("unknown");
    let mut stranger = UnixStream::connect(stack.control()).unwrap();
    let mut writer = Writer::new();
    let state = StoreState {
        name: "www".parse().unwrap(),
        number: 9,
        blob: b"of a stranger".to_vec().try_into().unwrap(),
    };
    EnclaveRequest::StoreState(state).write(&mut writer, 1);
    stranger.write_all(&writer.into_bytes()).unwrap();
    stack.wait_for_log("a sealed state of www was not stored");
    assert!(!stack.replay().join("sealed/www.sealed").exists());
}

#[test]
fn a_key_that_no_agent_has_noted_is_noted_by_the_next() {
    let (mut stack, mut fake) = Stack::serving("unnoted");
    stack.create("noted", "tls");
    stack.stop_agent();
    let unnoted = fake.world().born("unnoted");
    stack.start_agent();
    stack.wait_for_log("noted 1 keys of the service");
    fake.restart(&stack.control());
    fake.wait_until_serving();
    stack.wait_for_log(&format!(
        "the restart lost unnoted generation 1 (born, tls), id {unnoted}"
    ));
}

#[test]
fn heartbeats_are_answered() {
    let (_stack, fake) = Stack::serving("heartbeat");
    fake.wait_until("three heartbeats", |world| world.pongs >= 3);
    assert_eq!(fake.world().dials, 1);
}

#[test]
fn threat_10_the_admin_socket_is_its_owners_alone() {
    let (stack, _fake) = Stack::serving("owner");
    assert_eq!(Stack::mode(&stack.admin_socket()), 0o600);
    if fs::metadata(&stack.dir).unwrap().permissions().mode() & 0o7777 == 0o700 && is_root() {
        // Even where the file's mode would let a stranger in, the peer's credentials do not.
        fs::set_permissions(&stack.dir, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(stack.admin_socket(), fs::Permissions::from_mode(0o666)).unwrap();
        let copy = stack.dir.join("enclave-tlsctl");
        fs::copy(env!("CARGO_BIN_EXE_enclave-tlsctl"), &copy).unwrap();
        let stranger = Command::new("setpriv")
            .args(["--reuid", "65533", "--regid", "65533", "--clear-groups"])
            .arg(copy)
            .arg("--socket")
            .arg(stack.admin_socket())
            .arg("list")
            .output()
            .unwrap();
        assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
        stack.wait_for_log("user 65533, who is not of the group no-such-group, connected to the admin socket");
    }
}

#[test]
fn what_lets_strangers_pose_as_the_service_is_refused() {
    let stack = Stack::new("strangers");
    let open = stack.dir.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    for (control, expected) in [
        (
            format!("unix:{}/control.sock", open.display()),
            "a directory of mode 0700",
        ),
        (
            format!("unix:{}/missing/control.sock", stack.dir.display()),
            "a directory of mode 0700",
        ),
        ("unix:@control".to_owned(), "an abstract socket has no permissions"),
        ("tcp:127.0.0.1:1".to_owned(), "config.toml:5:"),
    ] {
        let error = stack.refused(&Config {
            control,
            ..stack.config()
        });
        assert!(error.contains(expected), "{error}");
    }
    let error = stack.refused(&Config {
        state: open,
        ..stack.config()
    });
    assert!(error.contains("mode 0700"), "{error}");
}

#[test]
fn a_socket_that_nobody_answers_on_is_replaced_and_no_other() {
    let mut stack = Stack::new("stale");
    drop(UnixListener::bind(stack.admin_socket()).unwrap());
    drop(UnixListener::bind(stack.control()).unwrap());
    stack.start_agent();
    let error = stack.refused(&stack.config());
    assert!(error.contains("another agent uses"), "{error}");
    let elsewhere = || Config {
        state: stack.dir.join("other"),
        ..stack.config()
    };
    let error = stack.refused(&elsewhere());
    assert!(
        error.contains("another agent answers on") && error.contains("admin.sock"),
        "{error}"
    );
    let error = stack.refused(&Config {
        admin_socket: stack.dir.join("other.sock"),
        ..elsewhere()
    });
    assert!(
        error.contains("another agent answers on") && error.contains("control.sock"),
        "{error}"
    );
    stack.stop_agent();
    fs::remove_file(stack.admin_socket()).unwrap();
    fs::write(stack.admin_socket(), "a file").unwrap();
    assert!(stack.refused(&stack.config()).contains("is no socket"));
}

#[test]
fn without_an_agent_a_command_says_what_to_look_at() {
    let stack = Stack::new("nobody");
    assert!(
        stack
            .fails(1, &["list"])
            .contains("is enclave-tls-agent.service running")
    );
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid() == 0
}
