//! Runs the real `machinebench` on machines that do not come up: what a plan must be, and that nothing stays behind.
#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect, its helpers too"
)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};

#[test]
fn a_plan_with_an_unknown_word_is_refused() {
    let directory = Directory::new();
    let mut plan = directory.machine(&["true"], &["true"]);
    plan["x"] = json!(1);
    let output = directory.run("boot", &plan);
    assert!(!output.status.success());
    assert!(words(&output).contains("unknown field `x`"), "{}", words(&output));
}

#[test]
fn keys_are_of_two_kinds() {
    let directory = Directory::new();
    let plan = json!({ "machine": directory.machine(&["true"], &["true"]), "kind": "P-384", "marks": [1], "crowd": 0 });
    let output = directory.run("fill", &plan);
    assert!(words(&output).contains("unknown variant `P-384`"), "{}", words(&output));
}

#[test]
fn a_machine_that_ends_at_once_does_not_boot_and_its_device_ends_too() {
    let directory = Directory::new();
    let socket = directory.file("vhost.sock").display().to_string();
    let device = format!("touch '{socket}'; echo $$ > '{socket}.pid'; exec sleep 60");
    let machine = directory.machine(&["sh", "-c", &device], &["sh", "-c", "echo no such board"]);

    let output = directory.run(
        "fill",
        &json!({ "machine": machine, "kind": "P-256", "marks": [1, 2], "crowd": 0 }),
    );
    assert!(output.status.success(), "{}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"]["kind"], "no-boot", "{report}");
    assert!(
        report["outcome"]["why"].as_str().unwrap().contains("no such board"),
        "{report}"
    );
    assert_eq!(
        (&report["installed"], &report["marks"]),
        (&json!(0), &json!([])),
        "{report}"
    );

    let device = fs::read_to_string(directory.file("vhost.sock.pid")).unwrap();
    assert!(!fs::exists(format!("/proc/{}", device.trim())).unwrap());
}

#[test]
fn a_service_that_is_not_there_is_an_error() {
    let directory = Directory::new();
    let plan = json!({
        "module": "/nonexistent.so", "token": "t", "label": "l", "id": "00".repeat(32),
        "signing": "unix:/nonexistent/socket", "credential": "/nonexistent", "slice_ms": 1, "rounds": 1,
    });
    assert!(!directory.run("sign", &plan).status.success());
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Removed with all that is in it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let thread = format!("{:?}", std::thread::current().id());
        let path = std::env::temp_dir().join(format!("machinebench-{}-{thread}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn machine(&self, device: &[&str], qemu: &[&str]) -> Value {
        json!({ "device": device, "qemu": qemu, "dir": self.0, "mebibytes": 64 })
    }

    fn run(&self, command: &str, plan: &Value) -> Output {
        let file = self.file("plan.json");
        fs::write(&file, plan.to_string()).unwrap();
        Command::new(env!("CARGO_BIN_EXE_machinebench"))
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
