//! What the service says of itself, and what the agent carries for it.

use std::collections::BTreeSet;

use enclave_policy::aws::KeyArn;
use enclave_tls_admin::outage::Regions;
use enclave_wire::control::{Freshness, KeyInfo, KmsAnswer, Origin, Phase, SealingKey, Status};
use serde::Serialize;
use sha2::{Digest, Sha384};

use super::super::logs::LogsJson;
use super::super::stats;
use enclave_tls_admin::{advice, hex, promise, protocol};

use crate::show::plain;
use crate::{table, time};

/// The service. Absent while it is away.
#[derive(Serialize)]
pub(super) struct ServiceJson {
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
    /// The KMS keys of the policy that states are sealed under.
    sealing_keys: Vec<SealingKeyJson>,
    #[serde(skip)]
    now: i64,
}

/// A KMS key of the policy that states are sealed under.
#[derive(Serialize)]
pub(super) struct SealingKeyJson {
    pub(super) arn: String,
    /// Whether it answered when it was asked last; true too where it was not asked in this run.
    pub(super) answers: bool,
    /// How many names have a state that it does not open.
    pub(super) missing: u32,
}

/// What the agent carries between the service and the world.
#[derive(Serialize)]
pub(super) struct CarriedJson {
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
pub(in crate::commands) struct WaitingJson {
    name: String,
    kind: &'static str,
    /// Whether it is tried again by itself.
    retried: bool,
    why: String,
}

impl ServiceJson {
    pub(super) fn of(status: &Status, keys: &[KeyInfo]) -> Self {
        Self {
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
            sealing_keys: status.sealing.items().iter().map(SealingKeyJson::from).collect(),
            now: status.now,
        }
    }

    /// What the service takes the time to be.
    pub(super) fn now(&self) -> i64 {
        self.now
    }

    /// The KMS keys that do not answer, or do not open all that is sealed.
    pub(super) fn lacking(&self) -> impl Iterator<Item = &SealingKeyJson> {
        self.sealing_keys.iter().filter(|key| !key.answers || key.missing > 0)
    }

    pub(super) fn sealing_regions(&self) -> Regions {
        if self.policy_sha384.is_none() {
            return Regions::NotKnown;
        }
        let keys = self
            .sealing_keys
            .iter()
            .filter_map(|key| key.arn.parse::<KeyArn>().ok());
        let regions: BTreeSet<_> = keys.map(|key| key.region().to_string()).collect();
        Regions::Known(regions.len())
    }

    pub(super) fn serves(&self) -> bool {
        self.phase == stats::phase(Phase::Serving)
    }

    pub(super) fn phase(&self) -> &'static str {
        self.phase
    }

    pub(super) fn boot(&self) -> &str {
        &self.boot
    }

    /// Whether expiry is judged by a clock that may run wrong.
    pub(super) fn has_doubtful_clock(&self) -> bool {
        self.clock_source != KVM_CLOCK
    }
}

impl From<&protocol::Parent> for CarriedJson {
    fn from(parent: &protocol::Parent) -> Self {
        Self {
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
}

impl CarriedJson {
    /// Why there are no AWS credentials, or no new ones.
    pub(super) fn aws_failure(&self) -> Option<&str> {
        self.aws.as_ref()?.failure.as_deref()
    }

    /// What will not be opened without somebody's doing.
    pub(super) fn stuck(&self) -> impl Iterator<Item = (&str, &str)> {
        let stuck = self.waiting.iter().filter(|item| !item.retried);
        stuck.map(|item| (item.name.as_str(), item.why.as_str()))
    }

    /// Why the last boot ended, where its log said so.
    pub(super) fn last_words(&self) -> Option<&str> {
        self.logs.as_ref()?.last_error()
    }
}

impl From<&SealingKey> for SealingKeyJson {
    fn from(key: &SealingKey) -> Self {
        Self {
            arn: key.kms_key.as_str().to_owned(),
            answers: match key.answers {
                KmsAnswer::Well => true,
                KmsAnswer::Failed => false,
            },
            missing: key.missing,
        }
    }
}

impl SealingKeyJson {
    /// How it stands, in words.
    pub(super) fn said(&self) -> String {
        let states = match self.missing {
            0 => String::new(),
            1 => "the state of 1 name does not open by it".to_owned(),
            many => format!("the states of {many} names do not open by it"),
        };
        match (self.answers, states.is_empty()) {
            (true, true) => "answers".to_owned(),
            (true, false) => states,
            (false, true) => "did not answer, or refused, when it was asked last".to_owned(),
            (false, false) => format!("did not answer, or refused, when it was asked last, and {states}"),
        }
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
pub(in crate::commands) fn is_unproven(key: &KeyInfo) -> bool {
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

/// For people: the table, and what must be said about the keys.
pub(super) fn text(service: Option<&ServiceJson>, carried: &CarriedJson) -> String {
    let none = || "none yet".to_owned();
    let mut rows = Vec::new();
    if let Some(service) = service {
        rows.extend([
            ("version", service.version.clone()),
            ("boot", service.boot.clone()),
            ("phase", service.phase.to_owned()),
            ("uptime", format!("{} s", service.uptime_ms.div_euclid(1000))),
            ("time", service.time.clone()),
            ("clock source", service.clock_source.clone()),
            ("policy SHA-384", service.policy_sha384.clone().unwrap_or_else(none)),
            ("PCR16", service.pcr16.clone().unwrap_or_else(none)),
        ]);
    }
    rows.extend([
        ("egress", egress_text(carried.egress.as_ref())),
        ("AWS credentials", aws_text(carried.aws.as_ref())),
        (
            "logs",
            carried.logs.as_ref().map_or("off".to_owned(), LogsJson::counted),
        ),
    ]);
    let sealing = service.iter().flat_map(|service| &service.sealing_keys);
    rows.extend(sealing.map(|key| ("sealing key", format!("{}: {}", plain(&key.arn), key.said()))));
    rows.extend(service.map(|service| ("keys", service.keys.to_string())));
    let rows: Vec<_> = rows.into_iter().map(|(what, value)| [what.to_owned(), value]).collect();
    let mut text = table::render(["SERVICE", ""], &rows);
    if service.is_some_and(ServiceJson::has_doubtful_clock) {
        text.push_str("\nThe clock source is not kvm-clock: expiry is judged by a clock that may run wrong.\n");
    }
    if let Some(logs) = &carried.logs {
        text.push_str(&logs.last());
    }
    for origin in service.iter().flat_map(|service| &service.origins) {
        text.push_str(&format!("\n{} ({}): {}.\n", origin.origin, origin.keys, origin.promise));
        if origin.freshness_unproven > 0 {
            text.push_str(&format!(
                "  freshness: unproven ({}): they were restored from a state that this machine chose; it may have chosen an older one.\n",
                origin.freshness_unproven
            ));
        }
    }
    text + &waiting_text(&carried.waiting)
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
pub(in crate::commands) fn waiting_text(waiting: &[WaitingJson]) -> String {
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
