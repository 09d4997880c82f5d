//! The program itself: what it refuses to start with, how it ends, what it leaves readable, and what a signature costs it.

use std::io::Read as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::RwLockReadGuard;
use std::time::Duration;

use enclave_wire::{Mechanism, Usage};
use rustix::process::{Pid, Signal, kill_process};

use super::agent::Agent;
use super::client::{Client, Identity};
use super::lab::{POLICY, beside_others};

/// The program, running, with the client `www`.
struct Running {
    child: Child,
    agent: Agent,
    www: Identity,
    signing: String,
    policy: PathBuf,
    _running: RwLockReadGuard<'static, ()>,
}

impl Running {
    /// Starts it. `signing` is where it listens: of `NAME`, what the test calls itself.
    fn start(test: &str, signing: impl Fn(&str) -> String) -> Self {
        let running = beside_others();
        let policy = write_policy(test, POLICY);
        let name = format!("enclave-tls-program-{}-{test}", std::process::id());
        let control = format!("{name}-control");
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&control).unwrap()).unwrap();
        let child = program()
            .args(["--log-format", "json", "--control", &format!("unix:@{control}")])
            .args(["--signing", &signing(&name)])
            .arg("--policy")
            .arg(&policy)
            .spawn()
            .unwrap();
        let mut agent = Agent::accept(&listener);
        let www = Identity::new();
        agent.boot();
        agent.install("www", &www);
        Self {
            child,
            agent,
            www,
            signing: name,
            policy,
            _running: running,
        }
    }

    fn client(&self) -> Client {
        Client::open(&self.signing, &self.www).unwrap().0
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it as a supervisor does, and gives its log.
    fn stop(mut self) -> String {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        std::fs::remove_file(&self.policy).unwrap();
        log
    }
}

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
    let directory = std::env::temp_dir();
    let mut running = Running::start("path", |name| format!("unix:{}/{name}.sock", directory.display()));
    let socket = directory.join(format!("{}.sock", running.signing));
    let random = aws_lc_rs::rand::SystemRandom::new();
    let algorithm = &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = aws_lc_rs::signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    running
        .agent
        .try_import("lab-a", Usage::Tls, &["www"], pkcs8.as_ref())
        .unwrap();
    assert!(socket.exists());

    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child.id())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    let secrets = [running.www.verifier().0.to_vec(), pkcs8.as_ref()[36..68].to_vec()];
    let log = running.stop();
    assert!(!socket.exists(), "its socket's path is gone");

    println!("{log}");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')));
    assert!(log.contains("\"message\":\"stopped\""));
    for secret in secrets {
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!log.contains(&hex) && !log.contains(&format!("{secret:?}")));
    }
}

/// threat_03: a stopped and continued process sees its system calls interrupted, and goes on with them.
#[test]
fn threat_03_interrupted_calls_are_made_again() {
    let mut running = Running::start("interrupted", |name| format!("unix:@{name}"));
    let keys =
        ["P-256", "RSA-2048"].map(|key_type| running.agent.create("lab-a", key_type, Usage::Digest, &["www"]).id);
    let mut client = running.client();
    let signer = std::thread::spawn(move || {
        for round in 0..2_000 {
            let (key, mechanism) = if round % 4 == 0 {
                (keys[1], Mechanism::RsaPssSha256)
            } else {
                (keys[0], Mechanism::EcdsaSha256)
            };
            client.sign(key, mechanism, &[1; 100]).unwrap();
        }
    });
    let mut storms = 0;
    while !signer.is_finished() {
        running.signal(Signal::STOP);
        running.signal(Signal::CONT);
        storms += 1;
        std::thread::sleep(Duration::from_micros(200));
    }
    signer.join().unwrap();
    println!("interrupted {storms} times");
    assert!(storms > 50);
    running.stop();
}

/// A signature is one read and one write of its socket, and one wait for the next request.
#[test]
fn one_read_and_one_write_a_signature() {
    const SIGNATURES: usize = 500;
    let mut running = Running::start("calls", |name| format!("unix:@{name}"));
    let key = running.agent.create("lab-a", "P-256", Usage::Digest, &["www"]).id;
    let mut client = running.client();
    client.sign(key, Mechanism::Ecdsa, &[1; 32]).unwrap();
    let pid = running.child.id().to_string();
    let trace = std::env::temp_dir().join(format!("enclave-tls-program-{pid}.strace"));
    let strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &pid, "-o"])
        .arg(&trace)
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else {
        eprintln!("SKIPPED one_read_and_one_write_a_signature: no strace here");
        return drop(running.stop());
    };
    let traced = || {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut statuses = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap());
        statuses.all(|status| !status.contains("TracerPid:\t0"))
    };
    while !traced() {
        if strace.try_wait().unwrap().is_some() {
            eprintln!("SKIPPED one_read_and_one_write_a_signature: strace may not attach");
            return drop(running.stop());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    for _ in 0..SIGNATURES {
        client.sign(key, Mechanism::Ecdsa, &[1; 32]).unwrap();
    }
    kill_process(Pid::from_child(&strace), Signal::INT).unwrap();
    strace.wait().unwrap();
    let calls = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    let count = |call: &str| calls.lines().filter(|line| line.contains(call)).count();
    let (reads, writes, waits) = (count(" recvfrom("), count(" sendto("), count(" epoll_wait("));
    println!(
        "for {SIGNATURES} signatures: {reads} reads, {writes} writes, {waits} waits, {} calls",
        calls.lines().count()
    );
    // The control plane's pings are among them.
    let about = SIGNATURES..=SIGNATURES + 30;
    assert!(about.contains(&reads) && about.contains(&writes));
    assert!(waits <= SIGNATURES + 60);
    running.stop();
}
