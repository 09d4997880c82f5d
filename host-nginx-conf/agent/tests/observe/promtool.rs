//! Prometheus' own tool on what the agent serves, and on the alert rules. `ENCLAVE_TLS_PROMTOOL` names it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Has the tool check a page.
pub(crate) fn check_metrics(page: &str, test: &str) {
    let Some(mut promtool) = promtool(test) else { return };
    let mut child = promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{page}");
}

#[test]
fn the_alert_rules_are_rules_and_fire_when_they_should() {
    let test = "the_alert_rules_are_rules_and_fire_when_they_should";
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/monitoring");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let Some(mut promtool) = promtool(test) else { return };
        let output = promtool.current_dir(&rules).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

/// Whatever the rules ask for is served, and whatever page the README names exists.
#[test]
fn each_metric_of_the_alert_rules_is_one_of_the_agent_s() {
    let rules = include_str!("../../../../packaging/monitoring/alerts.yml");
    let sources = concat!(
        include_str!("../../src/metrics/agent.rs"),
        include_str!("../../src/metrics/enclave.rs"),
        include_str!("../../src/metrics/process.rs")
    );
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let expressions = rules.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = expressions.flat_map(|line| line.split(|c| !is_name(c)));
    let named: Vec<_> = words
        .filter(|word| word.starts_with("enclave_tls_") || word.starts_with("process_"))
        .collect();
    assert!(named.len() > 10);
    for name in named {
        let family = name.trim_end_matches("_bucket");
        assert!(sources.contains(&format!("\"{family}\"")), "{name}");
    }
}

fn promtool(test: &str) -> Option<Command> {
    let program = std::env::var_os("ENCLAVE_TLS_PROMTOOL").map(PathBuf::from);
    if program.is_none() {
        println!("SKIPPED {test}: no ENCLAVE_TLS_PROMTOOL");
    }
    program.map(Command::new)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
