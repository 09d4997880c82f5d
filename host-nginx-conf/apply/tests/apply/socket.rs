//! The socket, made here or passed by systemd.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use enclave_tls_apply::Client;

use crate::fake::{HELPER, World, until};

#[test]
fn its_own_socket_is_for_its_group() {
    let mut world = World::with_script("");
    world.start();
    assert_eq!(fs::metadata(world.at("apply.sock")).unwrap().mode() & 0o7777, 0o660);
    // One that was left behind is replaced; something else is not.
    world.start().state().unwrap();
    fs::write(world.at("file"), "").unwrap();
    let output = world.command().arg("--socket").arg(world.at("file")).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("cannot listen on"));
    assert!(world.at("file").exists());
}

#[test]
fn what_cannot_be_served_is_said_at_the_start() {
    let run = |arguments: &[&str]| {
        let output = Command::new(HELPER)
            .args(arguments)
            .env_remove("LISTEN_FDS")
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&[]).contains("start it by enclave-tls-apply.socket"));
    let scratch = World::new("");
    let socket = scratch.at("s").display().to_string();
    assert!(
        run(&["--socket", &socket, "--base", "/tmp/a b"]).contains("cannot be written into servers' configuration")
    );
    assert!(run(&["--socket", &socket, "--module", "m.so"]).contains("name an absolute path"));
}

#[test]
fn passed_by_systemd_it_answers_and_ends_when_nobody_asks() {
    let world = World::with_script("");
    let socket = world.at("passed.sock");
    // What systemd does: the socket as descriptor 3, and two variables.
    let program = "import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8)
os.dup2(s.fileno(), 3) if s.fileno() != 3 else os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])";
    let mut command = Command::new("python3");
    command.arg("-c").arg(program).arg(&socket).arg(HELPER);
    command.args(world.command().get_args());
    let Ok(mut child) = command.spawn() else {
        return eprintln!("SKIPPED passed_by_systemd_it_answers_and_ends_when_nobody_asks: no python3");
    };
    let client = Client::new(&socket);
    assert!(until(|| client.state().is_ok()));
    assert_eq!(client.state().unwrap().clients.len(), 1);
    let idle = Instant::now();
    let status = child.wait().unwrap();
    assert!(status.success());
    assert!(idle.elapsed() > Duration::from_secs(29), "{:?}", idle.elapsed());
    assert!(socket.exists(), "it is systemd's");
}
