//! `stats`: what the service counted since its start.

use enclave_wire::control::{Counters, KeyCounters, KeyInfo, Phase, Reply, Request, Status};
use serde::Serialize;

use super::egress::EgressJson;
use super::logs::LogsJson;
use super::{CommandError, Session};
use crate::table;
use enclave_tls_admin::client::ClientError;

#[derive(Serialize)]
struct StatsJson {
    version: String,
    boot: String,
    phase: &'static str,
    uptime_ms: u64,
    connections: u32,
    accepted: u64,
    busy: u64,
    authentication_failures: u64,
    malformed: u64,
    deadlines: u64,
    keys: Vec<KeyStatsJson>,
    /// What the agent carried since its own start; none without --egress.
    egress: Option<EgressJson>,
    /// What came of the enclave's log; none without --logs.
    logs: Option<LogsJson>,
}

#[derive(Serialize)]
struct KeyStatsJson {
    id: String,
    /// Absent for a key that has been retired since.
    name: Option<String>,
    mechanism: String,
    signed: u64,
    refused: u64,
    failed: u64,
}

pub(super) fn stats(session: &Session) -> Result<(), CommandError> {
    let (Reply::Status(status), _) = session.client.ask(Request::Status)? else {
        return Err(ClientError::Unexpected.into());
    };
    let (Reply::Statistics(counters), _) = session.client.ask(Request::Statistics)? else {
        return Err(ClientError::Unexpected.into());
    };
    let keys = session.keys()?;
    let parent = session.client.parent()?;
    let json = StatsJson {
        egress: parent.egress.as_ref().map(EgressJson::from),
        logs: parent.logs.as_ref().map(LogsJson::from),
        ..gather(&status, &counters, &keys)
    };
    session.show(|| text(&json), &json)
}

fn gather(status: &Status, counters: &Counters, keys: &[KeyInfo]) -> StatsJson {
    StatsJson {
        version: status.version.as_str().to_owned(),
        boot: status.boot.to_string(),
        phase: phase(status.phase),
        uptime_ms: status.uptime_ms,
        connections: counters.connections,
        accepted: counters.accepted,
        busy: counters.busy,
        authentication_failures: counters.authentication_failures,
        malformed: counters.malformed,
        deadlines: counters.deadlines,
        keys: counters.keys.items().iter().map(|count| of_key(count, keys)).collect(),
        egress: None,
        logs: None,
    }
}

/// A phase, as programs read it.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::AwaitingPolicy => "awaiting-policy",
        Phase::AwaitingReady => "awaiting-ready",
        Phase::Serving => "serving",
    }
}

fn of_key(count: &KeyCounters, keys: &[KeyInfo]) -> KeyStatsJson {
    KeyStatsJson {
        id: count.key.to_string(),
        name: keys
            .iter()
            .find(|key| key.id == count.key)
            .map(|key| key.name.to_string()),
        mechanism: format!("{:?}", count.mechanism),
        signed: count.signed,
        refused: count.refused,
        failed: count.failed,
    }
}

fn text(stats: &StatsJson) -> String {
    let rows = [
        ("version", stats.version.clone()),
        ("boot", stats.boot.clone()),
        ("phase", stats.phase.to_owned()),
        ("uptime", format!("{} s", stats.uptime_ms.div_euclid(1000))),
        ("connections now", stats.connections.to_string()),
        ("connections accepted", stats.accepted.to_string()),
        ("refused as busy", stats.busy.to_string()),
        ("authentication failures", stats.authentication_failures.to_string()),
        ("malformed frames", stats.malformed.to_string()),
        ("deadlines missed", stats.deadlines.to_string()),
    ];
    let mut text = table::render(["SERVICE", ""], &rows.map(|(what, value)| [what.to_owned(), value]));
    if !stats.keys.is_empty() {
        let rows: Vec<_> = stats.keys.iter().map(key_row).collect();
        text.push('\n');
        text.push_str(&table::render(
            ["NAME", "MECHANISM", "SIGNED", "REFUSED", "FAILED", "ID"],
            &rows,
        ));
    }
    text + &stats.egress.as_ref().map_or(String::new(), EgressJson::text)
        + &stats.logs.as_ref().map_or(String::new(), LogsJson::text)
}

fn key_row(key: &KeyStatsJson) -> [String; 6] {
    [
        key.name.clone().unwrap_or_else(|| "(retired)".to_owned()),
        key.mechanism.clone(),
        key.signed.to_string(),
        key.refused.to_string(),
        key.failed.to_string(),
        key.id.clone(),
    ]
}
