//! The program itself: what it refuses to start with, how it ends, and what it leaves readable.

use std::io::Read as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::agent::Agent;
use super::client::{Client, Identity};
use super::lab::POLICY;

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enclave-tls"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn write_policy(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("enclave-tls-program-{}-{name}.toml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_policy_is_named_by_its_line() {
    let path = write_policy("wrong", &POLICY.replace("imports = true", "imports = true\nextra = 1"));
    let arguments = ["--signing", "unix:@unused", "--control", "unix:@unused", "--policy"];
    let output = program().args(arguments).arg(&path).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("policy {}: line 4: unknown field `extra`", path.display());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    let output = program().args(arguments).arg(&path).output().unwrap();
    assert!(stderr(&output).contains("No such file"), "{}", stderr(&output));
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("Usage:"), "{}", stderr(&output));
}

/// SIGTERM ends it cleanly; threat_47: no core dump, nobody attaches; threat_48: nothing secret is in its log.
#[test]
fn it_serves_until_sigterm() {
    let policy = write_policy("right", POLICY);
    let unique = format!("enclave-tls-program-{}", std::process::id());
    let control = format!("{unique}-control");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&control).unwrap()).unwrap();
    let socket = std::env::temp_dir().join(format!("{unique}.sock"));
    let mut child: Child = program()
        .args(["--log-format", "json", "--control", &format!("unix:@{control}")])
        .args(["--signing", &format!("unix:{}", socket.display())])
        .arg("--policy")
        .arg(&policy)
        .spawn()
        .unwrap();
    let mut agent = Agent::accept(&listener);
    let www = Identity::new();
    agent.boot();
    agent.install("www", &www);
    let random = aws_lc_rs::rand::SystemRandom::new();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    agent
        .try_import("lab-a", enclave_wire::Usage::Tls, &["www"], pkcs8.as_ref())
        .unwrap();
    assert!(socket.exists());
    assert!(Client::dial(&unique).is_err(), "it is a path, not an abstract name");

    let pid = Pid::from_child(&child);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    kill_process(pid, Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(!socket.exists(), "its socket's path is gone");
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    std::fs::remove_file(policy).unwrap();

    println!("{log}");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    assert!(log.contains("\"message\":\"stopped\""));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for secret in [&www.verifier().0[..], &pkcs8.as_ref()[36..68]] {
        assert!(!log.contains(&hex(secret)));
        assert!(!log.contains(&format!("{secret:?}")));
    }
}
