//! From its start to its end: what it leaves readable, what it costs, and what interrupts it.

use std::process::{Command, Stdio};
use std::time::Duration;

use enclave_wire::{Mechanism, Usage};
use rustix::process::{Pid, Signal, kill_process};

use super::running::Running;

/// SIGTERM ends it cleanly; threat_47: no core dump, nobody attaches; threat_48: nothing secret is in its log.
#[test]
fn it_serves_until_sigterm() {
    let directory = std::env::temp_dir();
    let mut running = Running::start("path", |name| format!("unix:{}/{name}.sock", directory.display()));
    let socket = directory.join(format!("{}.sock", running.name));
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
