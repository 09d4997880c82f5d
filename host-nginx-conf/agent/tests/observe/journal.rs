//! The forms of the log.

use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use enclave_tls_admin::client::Client;
use enclave_tls_admin::report::{Ask, Told};
use serde_json::Value;

use crate::running::Running;

#[test]
fn json_has_an_object_a_line_and_the_newest_lines_are_told() {
    let mut running = Running::new("json");
    running.configure("metrics = \"none\"\nlog = \"json\"");
    running.start(&[]);
    running.wait_for("line", |running| running.log().contains("helper.failed"));
    let lines: Vec<Value> = running
        .log()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let failed = lines.iter().find(|line| line["event"] == "helper.failed").unwrap();
    assert_eq!(
        (&failed["level"], &failed["source"]),
        (&"ERROR".into(), &"agent".into())
    );
    assert!(failed["message"].as_str().unwrap().contains("enclave-tls-apply.socket"));
    assert!(failed["timestamp"].as_str().unwrap().ends_with('Z'));
    assert!(failed.get("certificate").is_none(), "{failed}");

    let client = Client::new(&running.dir.join("admin.sock"));
    let ask = |most, after| match client.agent(Ask::Logs { most, after }) {
        Ok(Told::Logs { lines, .. }) => lines,
        _ => panic!("no lines"),
    };
    let told = ask(1_000, 0);
    assert!(
        told.iter().zip(1..).all(|(line, number)| line.number == number),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.event == "agent.ready" && line.level == "info")
    );
    let last = told.last().unwrap().number;
    assert_eq!(ask(1, 0).len(), 1);
    assert!(ask(1_000, last).iter().all(|line| line.number > last));
}

/// In a namespace of its own, with a socket of the test's where journald's is.
#[test]
fn journald_gets_native_fields() {
    let skipped = |why: &str| println!("SKIPPED journald_gets_native_fields: {why}");
    let mut running = Running::new("journald");
    let journal = running.dir.join("journal");
    std::fs::create_dir(&journal).unwrap();
    let socket = UnixDatagram::bind(journal.join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let script =
        "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind \"$1\" /run/systemd/journal";
    let inside = |then: &str| {
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--map-root-user",
            "sh",
            "-c",
            &format!("{script} && {then}"),
            "sh",
        ]);
        command
            .arg(&journal)
            .arg(env!("CARGO_BIN_EXE_enclave-tls-agent"))
            .arg(running.config());
        command
    };
    match inside("true").output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => return skipped(String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => return skipped(&error.to_string()),
    }
    // The default: systemd says by this that standard error is the journal.
    running.configure("metrics = \"none\"\nlog = \"auto\"");
    std::fs::write(running.dir.join("log"), "").unwrap();
    let log = std::fs::metadata(running.dir.join("log")).unwrap();
    let stream = format!("{}:{}", log.dev(), log.ino());
    let command = inside("exec \"$2\" --config \"$3\"");
    running.spawn(command, &[("JOURNAL_STREAM", &stream)]);
    let mut entries: Vec<Vec<(String, String)>> = Vec::new();
    let mut buffer = vec![0; 65_536];
    while !entries
        .iter()
        .any(|fields| has(fields, "ENCLAVE_TLS_EVENT", "helper.failed"))
    {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{error}\n{}", running.log()));
        entries.push(read(&buffer[..length]));
    }
    let failed = entries.last().unwrap();
    assert!(
        has(failed, "PRIORITY", "3") && has(failed, "SYSLOG_IDENTIFIER", "enclave-tls-agent"),
        "{failed:?}"
    );
    assert!(has(failed, "ENCLAVE_TLS_SOURCE", "agent"), "{failed:?}");
    assert!(
        failed
            .iter()
            .any(|(name, value)| name == "MESSAGE" && value.starts_with("helper: ")),
        "{failed:?}"
    );
    let ready = entries
        .iter()
        .find(|fields| has(fields, "ENCLAVE_TLS_EVENT", "agent.ready"))
        .unwrap();
    assert!(
        has(ready, "PRIORITY", "6") && has(ready, "MESSAGE", "ready"),
        "{ready:?}"
    );
    assert_eq!(running.log(), "", "nothing goes to standard error");
}

fn has(fields: &[(String, String)], name: &str, value: &str) -> bool {
    fields.iter().any(|field| field == &(name.to_owned(), value.to_owned()))
}

/// Fields of the native protocol: `NAME=value`, or the name, a length and the value.
fn read(mut bytes: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = Vec::new();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let line = text(&bytes[..end]);
        bytes = &bytes[end + 1..];
        match line.split_once('=') {
            Some((name, value)) => fields.push((name.to_owned(), value.to_owned())),
            None => {
                let length = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
                fields.push((line, text(&bytes[8..8 + length])));
                bytes = &bytes[8 + length + 1..];
            }
        }
    }
    fields
}
