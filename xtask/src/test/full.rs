//! What `--full` adds: sanitizers and long runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::count::Counts;
use super::e2e;
use crate::build::{self, cargo};
use crate::lab::{self, Enclave};
use crate::paths::Paths;
use crate::process;
use crate::setup::newer;

/// The module's tests with AddressSanitizer. Those that load the built module into a C program are left out: the sanitizer
/// would have to be in that program too. [`memcheck`] looks at them.
pub(super) fn asan(paths: &Paths) -> Result<Counts> {
    let mut command = sanitized(paths, "asan", "-Zsanitizer=address")?;
    Counts::of_tests(command.args(["--test", "client"]))
}

/// The module's tests with ThreadSanitizer, and a standard library built for it: in the one that comes with a toolchain the
/// sanitizer sees no lock waited for, no thread joined, and calls both a race. Helgrind is no way out: it knows the locks of
/// pthreads, and Rust's are futexes.
pub(super) fn tsan(paths: &Paths) -> Result<Counts> {
    let sysroot = process::capture(Command::new("rustc").args(["--print", "sysroot"]))?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library").exists() {
        println!("SKIPPED tsan: it needs the source of the standard library (`rustup component add rust-src`)");
        return Ok(Counts {
            skipped: 1,
            ..Counts::default()
        });
    }
    let flags = "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer";
    Counts::of_tests(sanitized(paths, "tsan", flags)?.arg("-Zbuild-std"))
}

/// The release module under valgrind, with eight threads of a C client that sign at once.
pub(super) fn memcheck(paths: &Paths) -> Result<Counts> {
    build::lab(paths)?;
    let client = paths.target().join("memcheck-client");
    let source = paths.workspace().join("tests/functional/c/client.c");
    let mut compile = Command::new("gcc");
    Counts::of_one(
        compile
            .args(["-g", "-O1", "-pthread"])
            .arg(&source)
            .args(["-ldl", "-o"])
            .arg(&client),
    )?;
    e2e::on_a_lab(paths, Enclave::Process, |description| {
        let lab = lab::describe(description)?;
        let key = lab
            .keys
            .iter()
            .find(|key| key.usage == "digest" && key.kind == "P-256")
            .context("no key")?;
        let digests = "digest zeros:32\n".repeat(64);
        let script = client.with_extension("script");
        fs::write(
            &script,
            format!("initialize none\n{digests}threads 8 {} 1041\nfinalize\n", key.id),
        )?;
        let report = client.with_extension("report");
        fs::write(&report, "")?;
        let mut valgrind = e2e::as_root(&lab.env);
        valgrind.args(["sh", "-c", VALGRIND, "memcheck"]);
        let counts = Counts::of_one(valgrind.args([&client, &lab.module, &script, &report]))?;
        let signed = fs::read_to_string(&report)?
            .lines()
            .filter(|line| line.starts_with("thread 0 "))
            .count();
        ensure!(signed == 64, "{signed} of 64 signatures were made");
        Ok(counts)
    })
}

/// The property tests with many more cases than each has by default.
pub(super) fn fuzz(paths: &Paths) -> Result<Counts> {
    let mut command = cargo(paths);
    command
        .args(["test", "--release", "--no-fail-fast"])
        .args(DECODERS.map(|name| format!("-p{name}")));
    Counts::of_tests(command.env("PROPTEST_CASES", "200000"))
}

/// The one test that wants another NGINX than the system's.
pub(super) fn store(paths: &Paths) -> Result<Counts> {
    let newer = newer::nginx(paths)?;
    e2e::on_a_lab(paths, Enclave::Process, |lab: &Path| {
        let variables = [(newer::VARIABLE.to_owned(), newer.display().to_string())];
        let mut tests = e2e::tests_with(paths, lab, e2e::Length::Quick, variables.into())?;
        Counts::of_tests(tests.args(["--test", "functional", "--", "store::"]))
    })
}

/// A hundred reloads of each server under load.
pub(super) fn reloads(paths: &Paths) -> Result<Counts> {
    thorough(paths, Enclave::Process, &["--test", "functional", "--", "reloads"])
}

/// The agent, killed and started again fifty times under load.
pub(super) fn agent(paths: &Paths) -> Result<Counts> {
    thorough(paths, Enclave::Process, &["--test", "functional", "--", "agent::"])
}

/// The emulated machine, killed and paused again and again under load.
pub(super) fn outages(paths: &Paths) -> Result<Counts> {
    thorough(paths, Enclave::Emulated, &["--test", "service_restart"])
}

/// On the emulated machine, what the quick stage leaves to the lab whose service is a process.
pub(super) fn parent(paths: &Paths) -> Result<Counts> {
    let tests = [
        "--test",
        "functional",
        "--",
        "agent_troubles",
        "agent_commands::status_is_watched",
        "differential",
        "rotation::threat_53_killed",
        "server_faults",
        "workers::workers_killed",
        "a_configuration_that_it_refuses",
    ];
    thorough(paths, Enclave::Emulated, &tests)
}

/// Every end-to-end test with its long repeats.
pub(super) fn soak(paths: &Paths) -> Result<Counts> {
    thorough(
        paths,
        Enclave::Process,
        &[
            "--test",
            "functional",
            "--test",
            "security",
            "--test",
            "service_restart",
        ],
    )
}

fn thorough(paths: &Paths, enclave: Enclave, arguments: &[&str]) -> Result<Counts> {
    e2e::on_a_lab(paths, enclave, |lab: &Path| {
        Counts::of_tests(e2e::tests(paths, lab, e2e::Length::Full)?.args(arguments))
    })
}

/// Tests of the module's own code, with a sanitizer, in a target directory of its own. Sanitizers are unstable in rustc,
/// hence the variable; the toolchain stays the pinned one.
fn sanitized(paths: &Paths, name: &str, flags: &str) -> Result<Command> {
    let mut command = cargo(paths);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", paths.target().join(name));
    // With the target named, build scripts and macros stay without.
    command.args([
        "test",
        "-p",
        "enclave-tls-pkcs11",
        "--target",
        &e2e::host_triple()?,
        "--lib",
    ]);
    Ok(command)
}

/// Parsers of foreign bytes.
const DECODERS: [&str; 6] = [
    "enclave-wire",
    "enclave-attestation",
    "enclave-policy",
    "enclave-https",
    "enclave-acme",
    "enclave-kms",
];

/// The client takes its script from standard input.
const VALGRIND: &str = "exec valgrind -q --leak-check=full --errors-for-leak-kinds=definite --error-exitcode=9 \
                        \"$1\" \"$2\" \"$4\" <\"$3\"";
