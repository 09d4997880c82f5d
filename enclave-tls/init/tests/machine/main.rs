//! PID 1 on a machine of its own: namespaces for processes, mounts and the network, and a root with made-up devices.
//!
//! This program is the tests, and in the namespace PID 1 and the service, each told by what it finds itself to be. Only the last test starts
//! the release program: its parent is behind vsock, which no namespace has, so the others bring unix sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod child;
mod namespace;

use std::path::Path;
use std::process::{Command, ExitCode};

use enclave_init::{Machine, Planes};
use enclave_wire::address::Address;
use enclave_wire::log::Level;

use namespace::{Clock, Namespace, Random};

fn main() -> ExitCode {
    if std::process::id() == 1 {
        return enclave_init::run(&Machine {
            root: "/".into(),
            planes,
            service,
        });
    }
    if std::env::args().any(|argument| argument == "--policy") {
        return child::main();
    }
    if let Err(reason) = namespace::is_possible() {
        println!("SKIPPED machine: {reason}");
        return ExitCode::SUCCESS;
    }
    let chosen = |name: &str| {
        std::env::args()
            .skip(1)
            .all(|word| word.starts_with('-') || name.contains(&word))
    };
    let mut passed: u32 = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| chosen(name)) {
        test();
        println!("test {name} ... ok");
        passed = passed.saturating_add(1);
    }
    println!("\ntest result: ok. {passed} passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

const TESTS: [(&str, fn()); 7] = [
    (
        "threat_56_a_denied_call_kills_the_service_and_pid_1_says_so",
        threat_56_a_denied_call_kills_the_service_and_pid_1_says_so,
    ),
    ("threat_56_each_denied_call_kills", threat_56_each_denied_call_kills),
    (
        "threat_56_the_service_runs_under_its_filter",
        threat_56_the_service_runs_under_its_filter,
    ),
    (
        "threat_13_random_numbers_of_another_device_start_nothing",
        threat_13_random_numbers_of_another_device_start_nothing,
    ),
    (
        "threat_16_another_clock_starts_nothing",
        threat_16_another_clock_starts_nothing,
    ),
    (
        "threat_12_a_storm_is_metered_and_counted",
        threat_12_a_storm_is_metered_and_counted,
    ),
    (
        "the_release_program_prints_nothing_and_restarts",
        the_release_program_prints_nothing_and_restarts,
    ),
];

fn planes(_: u32) -> Planes {
    let unix = |name| Address::UnixPath(format!("/run/{name}"));
    Planes {
        signing: unix("signing"),
        control: unix("control"),
        egress: unix("egress"),
        logs: unix("logs"),
        heartbeat: unix("beat"),
    }
}

/// This program again, with the service's arguments. The parent is behind vsock, where there is none.
fn service(_: &Path, _: &Planes) -> Command {
    let vsock = ["--signing", "vsock:any:44310", "--control", "vsock:3:440"];
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--policy", "/policy.toml", "--nsm", "/run/nsm"])
        .args(vsock);
    command
}

fn threat_56_a_denied_call_kills_the_service_and_pid_1_says_so() {
    let run = Namespace::new("mkdir").run();
    assert_eq!(
        run.said(),
        [
            "file systems are mounted; the parent has CID 3",
            "the image's policy is read",
            "random numbers are the NSM's",
            "the clock source is tsc, not kvm-clock; the policy lets it pass",
            "the root is read-only",
            "the service is started",
            "about to",
            "the service was killed: it made a system call that it may not make (SIGSYS)",
        ]
    );
    assert!(run.ended_by_restart());
}

fn threat_56_each_denied_call_kills() {
    for behaviour in ["exec", "inet", "unix", "kill"] {
        let run = Namespace::new(behaviour).run();
        assert!(run.reason().ends_with("(SIGSYS)"), "{behaviour}: {:?}", run.said());
    }
}

fn threat_56_the_service_runs_under_its_filter() {
    let run = Namespace::new("service").run();
    let said = run.said();
    assert_eq!(run.reason(), "the service ended with code 7", "{said:?}");
    assert!(
        said.iter().any(|text| text.contains("the time is the NSM's")),
        "{said:?}"
    );
    assert!(said.contains(&"work is done"), "{said:?}");
    assert!(run.was_heard());
    assert!(run.ended_by_restart());
}

fn threat_13_random_numbers_of_another_device_start_nothing() {
    let mut namespace = Namespace::new("mkdir");
    namespace.random = Random::Another;
    let run = namespace.run();
    assert_eq!(
        run.reason(),
        "the service was not started: random numbers come from \"virtio_rng.0\", not from nsm-hwrng"
    );
    assert!(run.ended_by_restart());
}

fn threat_16_another_clock_starts_nothing() {
    let mut namespace = Namespace::new("mkdir");
    namespace.clock = Clock::Required;
    let run = namespace.run();
    assert_eq!(
        run.reason(),
        "the service was not started: the clock source is \"tsc\", and the policy asks for kvm-clock"
    );
    assert!(run.ended_by_restart());
}

fn threat_12_a_storm_is_metered_and_counted() {
    let run = Namespace::new("storm").run();
    assert_eq!(run.reason(), "the service ended with code 0");
    let dropped: u64 = run.records.iter().map(|record| u64::from(record.dropped)).sum();
    let last = run.records.last().unwrap();
    assert!(
        run.records.len() < 3_000 && dropped > 90_000,
        "{} and {dropped}",
        run.records.len()
    );
    assert_eq!(last.level, Level::Error);
    let count = u64::try_from(run.records.len()).unwrap();
    assert_eq!(last.sequence, count.saturating_add(dropped).saturating_sub(1));
}

fn the_release_program_prints_nothing_and_restarts() {
    let mut namespace = Namespace::new("");
    namespace.program = env!("CARGO_BIN_EXE_init").into();
    let run = namespace.run();
    assert_eq!(run.printed, "");
    assert!(run.ended_by_restart());
}
