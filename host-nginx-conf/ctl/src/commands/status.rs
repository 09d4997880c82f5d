//! `status`: where the service stands, and how far what is promised of its keys reaches.

use enclave_wire::control::{Freshness, KeyInfo, Origin, Reply, Request, Status};
use serde::Serialize;
use sha2::{Digest, Sha384};

use super::logs::LogsJson;
use super::{CommandError, Session, stats};
use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::protocol::Unable;
use enclave_tls_admin::{advice, hex, protocol};

use crate::{table, time};
use enclave_tls_admin::promise;

#[derive(Serialize)]
struct StatusJson {
    version: String,
    boot: String,
    phase: &'static str,
    uptime_ms: u64,
    /// What the service takes the time to be.
    time: String,
    /// What counts that time on; by any but kvm-clock, expiry is judged by a clock that may run wrong.
    clock_source: String,
    policy_sha384: Option<String>,
    /// What PCR16 is under this policy.
    pcr16: Option<String>,
    keys: usize,
    /// By where they came from.
    origins: Vec<OriginJson>,
    egress: Option<EgressJson>,
    aws: Option<AwsJson>,
    logs: Option<LogsJson>,
    /// What is in the replay directory and AWS has not opened.
    waiting: Vec<WaitingJson>,
}

#[derive(Serialize)]
struct OriginJson {
    origin: String,
    keys: usize,
    /// Who else may have the keys.
    promise: &'static str,
    /// Of how many the service began with a state that the parent chose: a newer one may exist.
    freshness_unproven: usize,
}

#[derive(Serialize)]
struct EgressJson {
    hosts: usize,
    connections_now: u64,
    connections: u64,
    refused: u64,
}

#[derive(Serialize)]
struct AwsJson {
    credentials: bool,
    expires: Option<String>,
    installed: u64,
    failure: Option<String>,
}

#[derive(Serialize)]
pub(super) struct WaitingJson {
    name: String,
    kind: &'static str,
    /// Whether it is tried again by itself.
    retried: bool,
    why: String,
}

pub(super) fn status(session: &Session) -> Result<(), CommandError> {
    let (Reply::Status(status), _) = session.client.ask(Request::Status).inspect_err(|why| {
        if matches!(why, ClientError::Unable(Unable::Away)) {
            last_words(session);
        }
    })?
    else {
        return Err(ClientError::Unexpected.into());
    };
    let keys = session.keys()?;
    let parent = session.client.parent()?;
    let json = gather(&status, &keys, &parent);
    session.show(|| text(&json), &json)
}

/// Why the service is away, where its log said so.
fn last_words(session: &Session) {
    let logs = session.client.parent().ok().and_then(|parent| parent.logs);
    if let Some(last) = logs.and_then(|logs| logs.last_error) {
        eprintln!("the enclave's last error: {}", last.as_str());
    }
}

fn gather(status: &Status, keys: &[KeyInfo], parent: &protocol::Parent) -> StatusJson {
    StatusJson {
        version: status.version.as_str().to_owned(),
        boot: status.boot.to_string(),
        phase: stats::phase(status.phase),
        uptime_ms: status.uptime_ms,
        time: time::utc(status.now),
        clock_source: status.clock_source.as_str().to_owned(),
        policy_sha384: status.policy_sha384.map(|hash| hex::encode(&hash)),
        pcr16: status.policy_sha384.map(|hash| hex::encode(&pcr16(&hash))),
        keys: keys.len(),
        origins: origins(keys),
        egress: parent.egress.as_ref().map(egress),
        aws: parent.aws.as_ref().map(|aws| AwsJson {
            credentials: aws.loaded,
            expires: aws.expires.map(time::utc),
            installed: aws.installed,
            failure: aws.failure.as_ref().map(|why| why.as_str().to_owned()),
        }),
        logs: parent.logs.as_ref().map(LogsJson::from),
        waiting: parent.waiting.iter().map(WaitingJson::from).collect(),
    }
}

/// A register that was extended once.
fn pcr16(policy: &[u8; 48]) -> [u8; 48] {
    Sha384::new()
        .chain_update([0; 48])
        .chain_update(policy)
        .finalize()
        .into()
}

fn origins(keys: &[KeyInfo]) -> Vec<OriginJson> {
    let all = [Origin::Born, Origin::Imported, Origin::Bundle].map(|origin| [(origin, false), (origin, true)]);
    let of = |(origin, sealed): (Origin, bool)| {
        let these: Vec<_> = keys
            .iter()
            .filter(|key| key.origin == origin && key.sealed.is_some() == sealed)
            .collect();
        OriginJson {
            origin: format!("{origin}{}", if sealed { "-sealed" } else { "" }),
            keys: these.len(),
            promise: promise::who_else(origin, sealed),
            freshness_unproven: these.iter().filter(|key| is_unproven(key)).count(),
        }
    };
    all.into_iter()
        .flatten()
        .map(of)
        .filter(|origin| origin.keys > 0)
        .collect()
}

/// Whether a newer state of the key's name may exist.
pub(super) fn is_unproven(key: &KeyInfo) -> bool {
    key.sealed
        .as_ref()
        .is_some_and(|sealed| sealed.freshness == Freshness::Unproven)
}

fn egress(egress: &protocol::Egress) -> EgressJson {
    let sum = |count: fn(&protocol::Host) -> u64| egress.hosts.iter().map(count).fold(0, u64::saturating_add);
    let strangers = egress.strangers.iter().map(|stranger| stranger.refused);
    let refused = [
        sum(|h| h.unreachable),
        sum(|h| h.busy),
        sum(|h| h.not_tls),
        sum(|h| h.other_name),
        strangers.fold(0, u64::saturating_add),
        egress.more_strangers,
        egress.malformed,
        egress.dropped,
    ];
    EgressJson {
        hosts: egress.hosts.len(),
        connections_now: sum(|h| h.open),
        connections: sum(|h| h.connections),
        refused: refused.into_iter().fold(0, u64::saturating_add),
    }
}

impl From<&protocol::Waiting> for WaitingJson {
    fn from(waiting: &protocol::Waiting) -> Self {
        let (retried, why) = match waiting.standing {
            protocol::Standing::Queued => (true, "its turn has not come"),
            protocol::Standing::Later(why) => (true, advice::refused(why)),
            protocol::Standing::Refused(why) => (false, advice::refused(why)),
            protocol::Standing::Unreadable => (false, "its file cannot be used; the agent's log has the reason"),
        };
        Self {
            name: waiting.name.to_string(),
            kind: match waiting.kind {
                protocol::Kind::State => "sealed",
                protocol::Kind::Bundle => "bundle",
            },
            retried,
            why: why.to_owned(),
        }
    }
}

fn text(status: &StatusJson) -> String {
    let none = || "none yet".to_owned();
    let rows = [
        ("version", status.version.clone()),
        ("boot", status.boot.clone()),
        ("phase", status.phase.to_owned()),
        ("uptime", format!("{} s", status.uptime_ms.div_euclid(1000))),
        ("time", status.time.clone()),
        ("clock source", status.clock_source.clone()),
        ("policy SHA-384", status.policy_sha384.clone().unwrap_or_else(none)),
        ("PCR16", status.pcr16.clone().unwrap_or_else(none)),
        ("egress", egress_text(status.egress.as_ref())),
        ("AWS credentials", aws_text(status.aws.as_ref())),
        ("logs", status.logs.as_ref().map_or("off".to_owned(), LogsJson::counted)),
        ("keys", status.keys.to_string()),
    ];
    let mut text = table::render(["SERVICE", ""], &rows.map(|(what, value)| [what.to_owned(), value]));
    if status.clock_source != KVM_CLOCK {
        text.push_str("\nThe clock source is not kvm-clock: expiry is judged by a clock that may run wrong.\n");
    }
    if let Some(logs) = &status.logs {
        text.push_str(&logs.last());
    }
    for origin in &status.origins {
        text.push_str(&format!("\n{} ({}): {}.\n", origin.origin, origin.keys, origin.promise));
        if origin.freshness_unproven > 0 {
            text.push_str(&format!(
                "  freshness: unproven ({}): they were restored from a state that this machine chose; it may have chosen an older one.\n",
                origin.freshness_unproven
            ));
        }
    }
    text + &waiting_text(&status.waiting)
}

fn egress_text(egress: Option<&EgressJson>) -> String {
    egress.map_or("off".to_owned(), |egress| {
        format!(
            "{} hosts allowed, {} connections ({} now), {} refused",
            egress.hosts, egress.connections, egress.connections_now, egress.refused
        )
    })
}

fn aws_text(aws: Option<&AwsJson>) -> String {
    let Some(aws) = aws else { return "off".to_owned() };
    let found = match (aws.credentials, &aws.expires) {
        (false, _) => "none".to_owned(),
        (true, None) => format!("installed {} times", aws.installed),
        (true, Some(end)) => format!("installed {} times, these until {end}", aws.installed),
    };
    match &aws.failure {
        None => found,
        Some(why) => format!("{found}; the last attempt failed: {why}"),
    }
}

/// What AWS has not opened, for people.
pub(super) fn waiting_text(waiting: &[WaitingJson]) -> String {
    if waiting.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = waiting
        .iter()
        .map(|item| {
            let retried = if item.retried { "yes" } else { "no" };
            [
                item.name.clone(),
                item.kind.to_owned(),
                retried.to_owned(),
                item.why.clone(),
            ]
        })
        .collect();
    format!(
        "\nStored, and not opened since the service started (what is not retried is tried when the agent starts again):\n{}",
        table::render(["NAME", "KIND", "RETRIED", "WHY"], &rows)
    )
}

/// The hypervisor's clock, as an enclave's kernel calls it.
const KVM_CLOCK: &str = "kvm-clock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pcr16_is_the_extension_of_zeros() {
        // (head -c48 /dev/zero; head -c48 /dev/zero) | sha384sum
        assert_eq!(hex::encode(&pcr16(&[0; 48])), OF_ZEROS);
    }

    const OF_ZEROS: &str =
        "f57bb7ed82c6ae4a29e6c9879338c592c7d42a39135583e8ccbe3940f2344b0eb6eb8503db0ffd6a39ddd00cd07d8317";
}
