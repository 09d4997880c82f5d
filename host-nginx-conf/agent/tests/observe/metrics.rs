//! Pages, over the sockets that they are served on.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::promtool;
use crate::running::{Running, get, get_unix};

#[test]
fn health_readiness_and_metrics_without_an_enclave() {
    let mut running = Running::new("pages");
    let socket = running.dir.join("metrics.sock");
    running.configure(&format!("metrics = \"unix:{}\"\nlog = \"text\"", socket.display()));
    running.start(&[]);
    running.wait_for("metrics", |_| UnixStream::connect(&socket).is_ok());
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);

    assert_eq!(
        get_unix(&socket, "/healthz"),
        ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned())
    );
    let unserved = "certificate www-example: waiting-for-enclave";
    running.wait_for("pass", |_| get_unix(&socket, "/readyz").1.contains(unserved));
    let (status, reasons) = get_unix(&socket, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(reasons.starts_with("the enclave is not connected\n"), "{reasons}");
    assert_eq!(get_unix(&socket, "/").0, "HTTP/1.1 404 Not Found");

    let (_, page) = get_unix(&socket, "/metrics");
    for line in [
        "enclave_tls_enclave_connected 0",
        "enclave_tls_enclave_running 0",
        "enclave_tls_certificates{state=\"waiting-for-enclave\"} 1",
        "enclave_tls_certificate_served{certificate=\"www-example\"} 0",
        "enclave_tls_problem{kind=\"server\",name=\"main\"} 1",
        "enclave_tls_egress_sent_bytes_total{host=\"kms.us-east-1.amazonaws.com:443\"} 0",
        "enclave_tls_events_total{event=\"helper.failed\",level=\"error\"} 1",
        "enclave_tls_events_total{event=\"server.failed\",level=\"error\"} 0",
    ] {
        assert!(page.lines().any(|one| one == line), "{line}\n{page}");
    }
    promtool::check_metrics(&page, "health_readiness_and_metrics_without_an_enclave");
}

#[test]
fn at_rest_it_is_small() {
    let mut running = Running::new("rest");
    let socket = running.dir.join("metrics.sock");
    running.configure(&format!("metrics = \"unix:{}\"\nlog = \"text\"", socket.display()));
    running.start(&[]);
    let value = |name: &str| -> f64 {
        let (_, page) = get_unix(&socket, "/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    running.wait_for("pass", |_| get_unix(&socket, "/readyz").1.contains("www-example"));
    let before = value("process_cpu_seconds_total");
    std::thread::sleep(Duration::from_secs(10));
    let used = value("process_cpu_seconds_total") - before;
    let resident = value("process_resident_memory_bytes");
    println!("resident {:.1} MB, {used:.3} s of CPU in 10 s", resident / 1e6);
    // Unoptimised, and retrying what is not there: at most what is promised of a release at rest.
    assert!(resident < 40e6, "{resident}");
    assert!(used < 0.1, "{used}");
}

#[test]
fn a_reload_moves_metrics_and_a_place_that_is_taken_costs_nothing_else() {
    let mut running = Running::new("moves");
    let socket = running.dir.join("metrics.sock");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    running.configure(&format!(
        "metrics = \"{}\"\nlog = \"json\"",
        taken.local_addr().unwrap()
    ));
    running.start(&[]);
    running.wait_for("line", |running| running.log().contains("\"metrics.failed\""));

    running.configure(&format!("metrics = \"unix:{}\"\nlog = \"json\"", socket.display()));
    running.signal(rustix::process::Signal::HUP);
    running.wait_for("socket", |_| UnixStream::connect(&socket).is_ok());
    assert_eq!(get_unix(&socket, "/healthz").0, "HTTP/1.1 200 OK");

    let place = taken.local_addr().unwrap();
    drop(taken);
    running.configure(&format!("metrics = \"{place}\"\nlog = \"text\""));
    running.signal(rustix::process::Signal::HUP);
    running.wait_for("port", |_| TcpStream::connect(place).is_ok());
    assert_eq!(get(TcpStream::connect(place).unwrap(), "/healthz").0, "HTTP/1.1 200 OK");
    running.wait_for("end of the socket", |_| !socket.exists());
    let last = running.log();
    assert_eq!(
        last.lines().last().unwrap(),
        "enclave-tls-agent: the configuration is read again: 2 changes",
        "{last}"
    );
}
