//! The built module, as a web server uses it: loaded, forked, unloaded, interrupted.
//!
//! What no safe code can do is in `c/driver.c`, one scenario a process. It says nothing and exits with 0 if all went well; a module that
//! writes a word to the host's streams fails every test here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets the unexpected may stop at once, its service too"
)]

mod driver;
mod fake;

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use driver::{command, driver, module};
use enclave_wire::Objects;
use enclave_wire::signing::{Listing, Reply, operation};
use fake::{Act, Fake, Home, p256};

fn run(home: &Home, scenario: &str) {
    let output = command(&home.config(), scenario).output().unwrap();
    is_silent_success(&output, scenario);
}

fn is_silent_success(output: &Output, scenario: &str) {
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{scenario}: {}: {said}", output.status);
    assert_eq!(said, "", "{scenario}");
}

#[test]
fn threat_51_a_forked_child_starts_anew_and_leaves_its_parent_alone() {
    let fake = Fake::honest();
    run(&fake.home, "fork");
    assert_eq!(
        fake.accepted(),
        5,
        "one for each process that signed: the parent's lasted"
    );
    let connections: Vec<_> = fake.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!((connections.first(), connections.last()), (Some(&0), Some(&0)));
    let mut nonces = fake.hellos();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 5, "no nonce is used twice after a fork");
}

#[test]
fn threat_51_a_fork_among_signing_threads_neither_hangs_nor_leaks_a_socket() {
    run(&Fake::honest().home, "fork-busy");
}

#[test]
fn a_child_needs_no_configuration_file() {
    run(&Fake::honest().home, "no-files");
}

#[test]
fn descriptors_of_the_host_are_left_alone() {
    run(&Fake::honest().home, "closed-descriptors");
    run(&Fake::honest().home, "no-streams");
    run(&Fake::honest().home, "reused-descriptor");
}

#[test]
fn arguments_of_initialize_are_taken_or_refused() {
    run(&Fake::honest().home, "arguments");
}

#[test]
fn the_environment_names_a_configuration() {
    let fake = Fake::honest();
    let output = Command::new(driver())
        .args([module(), "".into(), "null".into()])
        .env("ENCLAVE_TLS_PKCS11_CONFIG", fake.home.config())
        .output()
        .unwrap();
    is_silent_success(&output, "null");
}

/// A program with more rights than its caller.
#[test]
fn the_environment_is_ignored_under_at_secure() {
    let fake = Fake::honest();
    let copy = |from: &Path, name: &str| {
        let to = fake.home.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    let (driver, module) = (copy(driver(), "driver"), copy(&module(), "module.so"));
    if chown(&driver, Some(NOBODY), None).is_err() {
        eprintln!("SKIPPED: only root can make a program run as another user");
        return;
    }
    std::fs::set_permissions(&driver, Permissions::from_mode(0o4755)).unwrap();
    std::fs::set_permissions(fake.home.path(), Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(driver)
        .args([module, "".into(), "null-unconfigured".into()])
        .env("ENCLAVE_TLS_PKCS11_CONFIG", fake.home.config())
        .output()
        .unwrap();
    is_silent_success(&output, "null-unconfigured");
}

const NOBODY: u32 = 65_534;

#[test]
fn without_a_configuration_or_a_credential_there_is_no_token() {
    let home = Home::new();
    std::fs::remove_file(home.path().join("credential")).unwrap();
    run(&home, "unconfigured");
    std::fs::remove_file(home.config()).unwrap();
    run(&home, "unconfigured");
}

#[test]
fn threat_09_a_host_that_could_open_nothing_has_a_token_as_soon_as_it_can() {
    run(&Fake::honest().home, "no-descriptors");
}

/// The objects file, as long as one may be, is as good as none. The listing has one key, so that all others are heard of when there is
/// no memory for them.
#[test]
fn threat_09_a_length_that_others_choose_may_find_no_memory() {
    let fake = Fake::new(|asked| match asked.reply.clone() {
        Reply::Listing(Listing::Page(mut page)) => {
            page.entries.0.truncate(1);
            Act::Reply(Reply::Listing(Listing::Page(page)))
        }
        _ => Act::Honest,
    });
    let others = (0..250).map(|number| p256("api", number));
    fake.set_entries([p256("www", 1)].into_iter().chain(others).collect());
    let objects = File::create(fake.home.path().join("objects")).unwrap();
    objects.set_len(u64::try_from(Objects::MAX_FILE).unwrap()).unwrap();
    run(&fake.home, "no-memory");
}

#[test]
fn configuration_and_credential_may_come_after_initialize() {
    run(&Fake::honest().home, "late");
}

#[test]
fn a_malformed_configuration_is_refused_silently() {
    let home = Home::new();
    for text in [
        "endpoints = 1",
        "endpoints = [\"unix:@a\"]\ncredential = \"c\"\npin = 1\n",
        "\u{0}",
    ] {
        std::fs::write(home.config(), text).unwrap();
        run(&home, "malformed");
    }
}

#[test]
fn exit_and_unloading_are_survived() {
    run(&Fake::honest().home, "at-exit");
    run(&Fake::honest().home, "exit-at-once");
    run(&Fake::honest().home, "exit-busy");
    run(&Fake::honest().home, "exit-in-handler");
    run(&Fake::honest().home, "unload");
}

#[test]
fn threat_09_what_is_unloaded_leaves_nothing_open() {
    run(&Fake::honest().home, "load-again");
}

#[test]
fn threat_49_a_thread_that_is_cancelled_in_a_call_ends_after_it() {
    run(&Fake::honest().home, "cancel");
}

#[test]
fn sixty_four_threads_sign() {
    let fake = Fake::honest();
    run(&fake.home, "threads");
    assert_eq!(fake.count(operation::SIGN), 6_400);
    assert!(fake.accepted() <= 16);
}

#[test]
fn threat_03_a_storm_of_signals_fails_no_signature() {
    let fake = Fake::new(|_| {
        std::thread::sleep(Duration::from_millis(2));
        Act::Honest
    });
    run(&fake.home, "signals");
    assert_eq!((fake.count(operation::SIGN), fake.accepted()), (200, 1));
}

/// The backlog is full until fifty signals have come, so that connecting blocks.
#[test]
fn threat_03_a_storm_of_signals_does_not_keep_it_from_connecting() {
    let fake = Fake::honest();
    let front = fake.home.path().join("front");
    let listener = UnixListener::bind(&front).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _first = UnixStream::connect(&front).unwrap();
    fake.home.write_config(&[&format!("unix:{}", front.display())]);
    let (behind, after_fifty) = (fake.home.clone(), fake.home.path().join("after-fifty"));
    let mut driver = command(&fake.home.config(), "signals-connecting");
    driver.env("AFTER_FIFTY", &after_fifty);
    std::thread::spawn(move || {
        while !after_fifty.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let client = listener.incoming().nth(1).unwrap();
        pass(&client.unwrap(), &behind.connect().unwrap());
    });
    is_silent_success(&driver.output().unwrap(), "signals-connecting");
}

/// Passes on what either says, by threads of its own.
fn pass(one: &UnixStream, other: &UnixStream) {
    for (from, to) in [(one, other), (other, one)] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    }
}

#[test]
fn signals_threads_and_streams_of_the_host_are_left_alone() {
    let fake = Fake::new(|_| Act::Last);
    run(&fake.home, "leave-alone");
    assert_eq!(fake.accepted(), fake.asked().len(), "each time on a new connection");
}

/// A promise in system calls: one send, one receive and the wait between them a signature, and none for what leads up to it but looking at the pid.
#[test]
fn a_signature_is_one_send_and_one_receive() {
    let fake = Fake::honest();
    let trace = fake.home.path().join("trace");
    let traced = Command::new("strace")
        .arg("-o")
        .arg(&trace)
        .arg(driver())
        .args([module(), fake.home.config(), "steady".into()])
        .output();
    let Ok(output) = traced else {
        eprintln!("SKIPPED: strace is not installed");
        return;
    };
    is_silent_success(&output, "steady");
    let trace = std::fs::read_to_string(trace).unwrap();
    let between = trace.split("chdir(\"/mark\")").nth(1).unwrap();
    let calls: Vec<_> = between
        .lines()
        .skip(1)
        .filter_map(|line| line.split('(').next())
        .collect();
    let count = |name: &str| calls.iter().filter(|call| **call == name).count();
    let waits = count("poll") + count("ppoll");
    assert_eq!((count("sendto"), waits, count("recvfrom")), (10, 10, 10), "{between}");
    // The time is no system call but on a machine whose clock the kernel alone can read.
    assert_eq!(calls.len(), 30 + count("getpid") + count("clock_gettime"), "{between}");
}

#[test]
fn nothing_but_the_three_entry_points_is_exported() {
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(module())
        .output()
        .unwrap();
    let listing = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<_> = listing.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    names.sort_unstable();
    assert_eq!(names, ["C_GetFunctionList", "C_GetInterface", "C_GetInterfaceList"]);
}
