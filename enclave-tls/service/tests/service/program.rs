//! The release program itself: what it refuses to start with, and what is not in it. As it runs, it is tested on the stand-in NSM, by the
//! crate `lab-service`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use emulator_nsm::MARKER;

use super::lab::POLICY;

const PROGRAM: &str = env!("CARGO_BIN_EXE_enclave-tls");

fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A policy in a file, until it is dropped.
struct PolicyFile(PathBuf);

impl PolicyFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enclave-tls-program-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for PolicyFile {
    fn drop(&mut self) {
        // What a test leaves in the system's temporary directory is no reason to fail.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(policy: &Path) -> Output {
    let mut command = program();
    command.args(["--signing", "unix:@unused", "--control", "unix:@unused", "--policy"]);
    command.arg(policy).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_policy_is_named_by_its_line() {
    let policy = PolicyFile::new("wrong", &POLICY.replace("imports = true", "imports = true\nextra = 1"));
    let output = run(&policy.0);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("policy {}: line 4: unknown field `extra`", policy.0.display());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    let output = run(&policy.0.with_extension("absent"));
    assert!(stderr(&output).contains("No such file"), "{}", stderr(&output));
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage:"), "{}", stderr(&output));
}

#[test]
fn help_and_version_are_said() {
    let said = |option| String::from_utf8(program().arg(option).output().unwrap().stdout).unwrap();
    assert!(said("--help").starts_with("Usage: enclave-tls --policy FILE"));
    assert_eq!(
        said("--version"),
        concat!("enclave-tls ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

/// Outside an enclave there is nothing that could measure or attest: it says so and ends, whatever the policy trusts.
#[test]
fn threat_19_it_does_not_start_without_the_enclaves_nsm() {
    if Path::new("/dev/nsm").exists() {
        eprintln!("SKIPPED threat_19_it_does_not_start_without_the_enclaves_nsm: this machine has an NSM");
        return;
    }
    let policy = PolicyFile::new("no-nsm", POLICY);
    let output = run(&policy.0);
    assert_eq!(output.status.code(), Some(1));
    let says = "/dev/nsm: No such file or directory (os error 2); this program runs inside a Nitro enclave";
    assert!(stderr(&output).contains(says), "{}", stderr(&output));
    let output = program().args(["--nsm", "/tmp"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("unknown argument \"--nsm\""),
        "{}",
        stderr(&output)
    );
}

/// The stand-in's mark is not in the file; what the program says of the real one is (so the search finds what is there). That the mark is
/// found in a program that has the stand-in is shown by `lab-service`, with the same search.
#[test]
fn threat_19_no_stand_in_in_the_release_binary() {
    let program = std::fs::read(PROGRAM).unwrap();
    let holds = |text: &str| program.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(!holds(MARKER));
    assert!(!holds("nsm.toml"));
    assert!(holds("; this program runs inside a Nitro enclave"));
}
