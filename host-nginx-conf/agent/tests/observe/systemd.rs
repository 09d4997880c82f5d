//! What systemd hears.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::running::Running;

#[test]
fn it_is_ready_lives_reloads_and_ends() {
    let mut running = Running::new("notify");
    running.configure("metrics = \"none\"\nlog = \"text\"");
    let path = running.dir.join("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let heard = || {
        let mut buffer = [0; 4_096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let heard_until = |what: &str| {
        let began = Instant::now();
        loop {
            let text = heard();
            if text.lines().any(|line| line == what) {
                return text;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "no {what}");
        }
    };
    running.start(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "1000000")]);
    let ready = heard();
    assert_eq!(
        ready.trim(),
        "READY=1\nSTATUS=0 of 1 certificates served; waiting for the enclave"
    );
    let began = Instant::now();
    for _ in 0..4 {
        heard_until("WATCHDOG=1");
    }
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(1_000) && took < Duration::from_millis(3_500),
        "{took:?}"
    );

    running.signal(Signal::HUP);
    let reloading = heard_until("RELOADING=1");
    assert!(
        reloading.lines().any(|line| line.starts_with("MONOTONIC_USEC=")),
        "{reloading}"
    );
    heard_until("READY=1");
    running.signal(Signal::TERM);
    heard_until("STOPPING=1");
    assert!(running.agent.as_mut().unwrap().wait().unwrap().success());
    assert!(
        running.log().ends_with("enclave-tls-agent: asked to end\n"),
        "{}",
        running.log()
    );
}
