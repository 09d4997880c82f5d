//! Runs the real `agentbench` on what needs no lab: what a plan must be, a command, a process at rest, two servers that are no servers.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect, its helpers too"
)]

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn a_plan_with_an_unknown_word_is_refused() {
    let directory = Directory::new();
    let output = directory.run("rest", &json!({ "pid": 1, "seconds": 0, "x": 1 }));
    assert!(words(&output).contains("unknown field `x`"), "{}", words(&output));
}

#[test]
fn a_command_runs_as_often_as_asked_and_may_have_something_to_say() {
    let directory = Directory::new();
    let log = directory.file("log").display().to_string();
    let script = format!("echo run >> '{log}'; exit 1");
    let report = directory.report("run", &json!({ "words": ["sh", "-c", script], "times": 3 }));
    assert_eq!(report["statuses"], json!([1, 1, 1]));
    assert_eq!(fs::read_to_string(log).unwrap().lines().count(), 3);
}

#[test]
fn a_process_at_rest_has_memory_and_no_time() {
    let directory = Directory::new();
    let mut resting = Command::new("sleep").arg("60").spawn().unwrap();
    let report = directory.report("rest", &json!({ "pid": resting.id(), "seconds": 1 }));
    resting.kill().unwrap();
    resting.wait().unwrap();
    assert!(report["percent"].as_f64().unwrap() < 50.0, "{report}");
    assert!(report["memory"]["resident_kib"].as_u64().unwrap() > 0, "{report}");
    let gone = directory.run("rest", &json!({ "pid": resting.id(), "seconds": 0 }));
    assert!(!gone.status.success());
}

#[test]
fn each_name_has_a_chain_a_key_and_the_lines_that_name_them() {
    let directory = Directory::new();
    let dir = directory.file("live");
    directory.report("files", &json!({ "dir": dir, "names": ["one", "two"] }));
    for name in ["one", "two"] {
        let read = |file: &str| fs::read_to_string(dir.join(name).join(file)).unwrap();
        assert_eq!(read("chain.pem").matches("-----BEGIN CERTIFICATE-----").count(), 2);
        assert!(read("key.pem").starts_with("-----BEGIN PRIVATE KEY-----"));
        let at = dir.join(name).display().to_string();
        assert_eq!(
            read("nginx.conf"),
            format!("ssl_certificate {at}/chain.pem;\nssl_certificate_key {at}/key.pem;\n")
        );
    }
}

#[test]
fn certificates_that_came_together_spread_by_the_agents_own_schedule() {
    let directory = Directory::new();
    let plan = |window: Value| json!({ "certificates": 1_000, "days": 90, "window": window });
    let by_lifetime = directory.report("spread", &plan(Value::Null));
    let by_window = directory.report("spread", &plan(json!([60, 62])));
    for (report, why, most_hours) in [
        (&by_lifetime, "two thirds of its lifetime", 181),
        (&by_window, "the CA's window", 49),
    ] {
        assert_eq!((&report["certificates"], &report["why"]), (&json!(1_000), &json!(why)));
        let hours = report["hours"].as_u64().unwrap();
        assert!((most_hours / 2..=most_hours).contains(&hours), "{report}");
    }
    let none = directory.run("spread", &json!({ "certificates": 0, "days": 90, "window": null }));
    assert!(words(&none).contains("no certificate"), "{}", words(&none));
}

#[test]
fn servers_start_in_turns_and_end() {
    let directory = Directory::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let order = directory.file("order").display().to_string();
    let server = |name: &str| {
        let pid_file = directory.file(name).display().to_string();
        let start = format!("echo {name} >> '{order}'; sleep 60 >/dev/null 2>&1 & echo $! > '{pid_file}'");
        json!({
            "test": ["true"],
            "start": ["sh", "-c", start],
            "environment": {},
            "pid_file": pid_file,
            "address": listener.local_addr().unwrap(),
        })
    };
    let plan = json!({ "base": server("base"), "other": server("other"), "pairs": 2 });
    let report = directory.report("starts", &plan);
    assert_eq!(report["start"]["pairs"], 2, "{report}");
    let order = fs::read_to_string(&order).unwrap();
    let order: Vec<_> = order.lines().collect();
    assert_eq!(order, ["base", "other", "other", "base", "base", "other"]);
    for name in ["base", "other"] {
        let pid = fs::read_to_string(directory.file(name)).unwrap();
        let state = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        assert!(state.is_err() || state.unwrap().contains(") Z"));
    }
}

#[test]
fn a_server_that_refuses_says_why() {
    let directory = Directory::new();
    let refusing = json!({
        "test": ["sh", "-c", "echo no such key >&2; exit 1"], "start": ["true"], "environment": {},
        "pid_file": "/nonexistent", "address": "127.0.0.1:1",
    });
    let output = directory.run("starts", &json!({ "base": refusing, "other": refusing, "pairs": 1 }));
    assert!(words(&output).contains("no such key"), "{}", words(&output));
}

#[test]
fn an_agent_that_is_not_there_is_an_error() {
    let directory = Directory::new();
    let socket = directory.file("none.sock");
    let plan = json!({ "socket": socket, "agent": 1, "helper": 1, "certificates": 1, "patience_s": 0 });
    let output = directory.run("fill", &plan);
    assert!(words(&output).contains("of 1 keys"), "{}", words(&output));
}

fn words(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("agentbench-{}-{thread}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn report(&self, command: &str, plan: &Value) -> Value {
        let output = self.run(command, plan);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn run(&self, command: &str, plan: &Value) -> Output {
        let file = self.file("plan.json");
        fs::write(&file, plan.to_string()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_agentbench"))
            .arg(command)
            .arg(file)
            .output()
            .unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}
