//! What the agent knows: certificates, clients, servers, and the parent's side of the enclave.

use std::collections::BTreeMap;
use std::time::Duration;

use enclave_tls_admin::protocol::{self, Parent};
use enclave_tls_admin::report::{self, Report};

use super::enclave::Keys;
use super::text::{Kind, Page};
use crate::health::is_served;
use crate::log::Counted;

/// What is known, at a scrape.
pub(super) struct Agent<'a> {
    pub(super) report: &'a Report,
    pub(super) parent: &'a Parent,
    pub(super) deployed: &'a BTreeMap<String, i64>,
    pub(super) events: &'a Counted,
    pub(super) since_pass: Option<Duration>,
    pub(super) is_connected: bool,
    pub(super) has_statistics: bool,
}

pub(super) fn write(page: &mut Page, agent: &Agent<'_>) {
    itself(page, agent);
    enclave(page, agent);
    certificates(page, &agent.report.certificates, agent.deployed);
    renewals(page, agent.report);
    clients_and_servers(page, agent.report);
    if let Some(aws) = &agent.parent.aws {
        credentials(page, aws);
    }
    if let Some(went_out) = &agent.parent.egress {
        egress(page, went_out);
    }
    if let Some(logs) = &agent.parent.logs {
        records(page, logs);
    }
    replay(page, &agent.parent.waiting);
}

/// Which certificate a key is of.
pub(super) fn keys(report: &Report) -> Keys {
    let of = |one: &report::Certificate| {
        let name = one.name.clone();
        let each = |its: &report::Generation| (its.id.clone(), (name.clone(), its.generation.to_string()));
        one.generations.iter().map(each).collect::<Vec<_>>()
    };
    report.certificates.iter().flat_map(of).collect()
}

fn itself(page: &mut Page, agent: &Agent<'_>) {
    let configuration = &agent.report.configuration;
    page.family("enclave_tls_agent_info", Kind::Gauge, "The agent's version.")
        .sample(&[("version", &agent.report.version)], 1);
    page.one(
        "enclave_tls_configuration_refused",
        Kind::Gauge,
        "Whether the configuration in force is older than its file, which was refused.",
        Some(u8::from(configuration.refused.is_some())),
    );
    page.one(
        "enclave_tls_configuration_in_force_timestamp_seconds",
        Kind::Gauge,
        "Since when the configuration is in force.",
        Some(configuration.in_force_since),
    );
    page.one(
        "enclave_tls_keeper_pass_age_seconds",
        Kind::Gauge,
        "Time since the agent last looked at everything.",
        agent.since_pass.map(|since| since.as_secs()),
    );
    let mut events = page.family(
        "enclave_tls_events_total",
        Kind::Counter,
        "Lines of the agent's log, by event.",
    );
    for (event, count, _) in agent.events {
        events.sample(&[("event", event.id()), ("level", event.level().as_str())], count);
    }
    let mut last = page.family(
        "enclave_tls_event_timestamp_seconds",
        Kind::Gauge,
        "When an event was last said.",
    );
    for (event, _, at) in agent.events {
        if let Some(at) = at {
            last.sample(&[("event", event.id())], at);
        }
    }
}

fn enclave(page: &mut Page, agent: &Agent<'_>) {
    let enclave = &agent.report.enclave;
    let gauge = Kind::Gauge;
    page.one(
        "enclave_tls_enclave_running",
        gauge,
        "Whether nitro-cli says that the enclave runs.",
        Some(u8::from(enclave.state.eq_ignore_ascii_case("running"))),
    );
    page.one(
        "enclave_tls_enclave_connected",
        gauge,
        "Whether the service is connected to the agent and open.",
        Some(u8::from(agent.is_connected)),
    );
    page.one(
        "enclave_tls_enclave_connected_timestamp_seconds",
        gauge,
        "Since when it is connected.",
        enclave.connected_since,
    );
    page.one(
        "enclave_tls_enclave_image_matches",
        gauge,
        "Whether the enclave's registers are those of the configured image.",
        enclave.image_matches.map(u8::from),
    );
    page.one(
        "enclave_tls_enclave_stalled_total",
        Kind::Counter,
        "How often the enclave was ended because it no longer answered.",
        Some(enclave.ended_stalled),
    );
    page.one(
        "enclave_tls_enclave_statistics_up",
        gauge,
        "Whether the service answered this scrape; without, its own counts are missing.",
        Some(u8::from(agent.has_statistics)),
    );
}

fn renewals(page: &mut Page, report: &Report) {
    let its = || {
        let all = report.certificates.iter();
        all.filter_map(|one| Some((one.name.as_str(), one.renewal.as_ref()?)))
    };
    let mut family = page.family(
        "enclave_tls_renewal_next_timestamp_seconds",
        Kind::Gauge,
        "When the next order of a certificate begins; missing while one is under way.",
    );
    for (name, at) in its().filter_map(|(name, renewal)| Some((name, renewal.next?))) {
        family.sample(&[("certificate", name)], at);
    }
    let mut family = page.family(
        "enclave_tls_renewal_last_timestamp_seconds",
        Kind::Gauge,
        "When a certificate came last from its CA.",
    );
    for (name, at) in its().filter_map(|(name, renewal)| Some((name, renewal.last?))) {
        family.sample(&[("certificate", name)], at);
    }
    let mut family = page.family(
        "enclave_tls_renewal_failures",
        Kind::Gauge,
        "How often the order that is under way has failed.",
    );
    for (name, renewal) in its() {
        family.sample(&[("certificate", name)], u64::from(renewal.failures));
    }
    let mut family = page.family(
        "enclave_tls_account_registered",
        Kind::Gauge,
        "Whether an account is registered at its CA, as far as is known.",
    );
    for account in &report.accounts {
        family.sample(&[("account", &account.name)], u8::from(account.url.is_some()));
    }
}

fn certificates(page: &mut Page, certificates: &[report::Certificate], deployed: &BTreeMap<String, i64>) {
    let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|state| (*state, 0)).collect();
    for one in certificates {
        let count = counts.entry(one.state.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    let mut family = page.family("enclave_tls_certificates", Kind::Gauge, "Certificates, by state.");
    for (state, count) in counts {
        family.sample(&[("state", state)], count);
    }
    let mut family = page.family(
        "enclave_tls_certificate_served",
        Kind::Gauge,
        "Whether servers have the certificate and its key is there.",
    );
    for one in certificates {
        family.sample(&[("certificate", &one.name)], u8::from(is_served(one)));
    }
    generations(
        page,
        "enclave_tls_certificate_not_before_timestamp_seconds",
        "Since when the certificate that servers have is valid: when it was last renewed.",
        certificates,
        |its| its.not_before,
    );
    generations(
        page,
        "enclave_tls_certificate_not_after_timestamp_seconds",
        "When the certificate that servers have ends.",
        certificates,
        |its| its.not_after,
    );
    let mut family = page.family(
        "enclave_tls_certificate_deployed_timestamp_seconds",
        Kind::Gauge,
        "When servers were last given another generation.",
    );
    for (name, at) in deployed {
        family.sample(&[("certificate", name)], at);
    }
}

/// A time of each generation that servers have.
fn generations(
    page: &mut Page,
    name: &'static str,
    help: &'static str,
    certificates: &[report::Certificate],
    time: fn(&report::Generation) -> Option<i64>,
) {
    let mut family = page.family(name, Kind::Gauge, help);
    for one in certificates {
        for its in one.generations.iter().filter(|its| its.is_live) {
            if let Some(time) = time(its) {
                let generation = its.generation.to_string();
                family.sample(&[("certificate", &one.name), ("generation", &generation)], time);
            }
        }
    }
}

fn clients_and_servers(page: &mut Page, report: &Report) {
    let mut family = page.family(
        "enclave_tls_client_credential_timestamp_seconds",
        Kind::Gauge,
        "When a client's credential was made.",
    );
    for client in &report.clients {
        if let Some(since) = client.since {
            family.sample(&[("client", &client.name)], since);
        }
    }
    let mut family = page.family(
        "enclave_tls_server_reload_timestamp_seconds",
        Kind::Gauge,
        "When a server was last told to reload.",
    );
    for server in &report.servers {
        if let Some(reloaded) = server.reloaded {
            family.sample(&[("server", &server.name)], reloaded);
        }
    }
    let mut family = page.family(
        "enclave_tls_problem",
        Kind::Gauge,
        "Whether something is wrong, by what it is wrong with; `enclave-tlsctl status` says what.",
    );
    let failed = |one: &report::Certificate| matches!(one.state.as_str(), "failed" | "served-with-a-problem");
    for one in &report.certificates {
        family.sample(&[("kind", "certificate"), ("name", &one.name)], u8::from(failed(one)));
    }
    for one in &report.clients {
        family.sample(
            &[("kind", "client"), ("name", &one.name)],
            u8::from(one.problem.is_some()),
        );
    }
    for one in &report.servers {
        family.sample(
            &[("kind", "server"), ("name", &one.name)],
            u8::from(one.problem.is_some()),
        );
    }
    family.sample(
        &[("kind", "agent"), ("name", "enclave-tls-agent")],
        u8::from(!report.problems.is_empty()),
    );
    let enclave = &report.enclave;
    family.sample(
        &[("kind", "enclave"), ("name", &enclave.name)],
        u8::from(enclave.problem.is_some()),
    );
}

fn credentials(page: &mut Page, aws: &protocol::Aws) {
    page.one(
        "enclave_tls_aws_credentials_loaded",
        Kind::Gauge,
        "Whether AWS credentials were found.",
        Some(u8::from(aws.loaded)),
    );
    page.one(
        "enclave_tls_aws_credentials_failing",
        Kind::Gauge,
        "Whether the last attempt to find some failed.",
        Some(u8::from(aws.failure.is_some())),
    );
    page.one(
        "enclave_tls_aws_credentials_expiry_timestamp_seconds",
        Kind::Gauge,
        "When the newest end.",
        aws.expires,
    );
    page.one(
        "enclave_tls_aws_credentials_installed_total",
        Kind::Counter,
        "How often the service took some.",
        Some(aws.installed),
    );
}

fn egress(page: &mut Page, egress: &protocol::Egress) {
    let hosts: Vec<_> = egress
        .hosts
        .iter()
        .map(|host| (format!("{}:{}", host.host, host.port), host))
        .collect();
    type Count = fn(&protocol::Host) -> u64;
    let families: [(_, _, _, Count); 4] = [
        (
            "enclave_tls_egress_open_connections",
            Kind::Gauge,
            "Connections of the enclave to a host, now.",
            |host| host.open,
        ),
        (
            "enclave_tls_egress_connections_total",
            Kind::Counter,
            "Connections of the enclave to a host.",
            |host| host.connections,
        ),
        (
            "enclave_tls_egress_sent_bytes_total",
            Kind::Counter,
            "Bytes from the enclave to a host.",
            |host| host.up,
        ),
        (
            "enclave_tls_egress_received_bytes_total",
            Kind::Counter,
            "Bytes from a host to the enclave.",
            |host| host.down,
        ),
    ];
    for (name, kind, help, count) in families {
        let mut family = page.family(name, kind, help);
        for (label, host) in &hosts {
            family.sample(&[("host", label)], count(host));
        }
    }
    let mut family = page.family(
        "enclave_tls_egress_refused_total",
        Kind::Counter,
        "Connections of the enclave that were refused or closed, by host and reason.",
    );
    for (label, host) in &hosts {
        for (reason, count) in [
            ("unreachable", host.unreachable),
            ("busy", host.busy),
            ("not-tls", host.not_tls),
            ("other-name", host.other_name),
        ] {
            family.sample(&[("host", label), ("reason", reason)], count);
        }
    }
    for stranger in &egress.strangers {
        let label = format!("{}:{}", stranger.host, stranger.port);
        family.sample(&[("host", &label), ("reason", "not-allowed")], stranger.refused);
    }
    family.sample(&[("host", "others"), ("reason", "not-allowed")], egress.more_strangers);
    family.sample(&[("host", ""), ("reason", "malformed")], egress.malformed);
    family.sample(&[("host", ""), ("reason", "too-many")], egress.dropped);
}

fn records(page: &mut Page, logs: &protocol::Logs) {
    for (name, help, count) in [
        (
            "enclave_tls_log_records_total",
            "Records of the enclave's log that were passed on.",
            logs.records,
        ),
        (
            "enclave_tls_log_records_dropped_total",
            "Records of the enclave's log that are missing.",
            logs.dropped,
        ),
        (
            "enclave_tls_log_malformed_total",
            "Connections of the enclave's log that were closed, for what came was no record.",
            logs.malformed,
        ),
    ] {
        page.one(name, Kind::Counter, help, Some(count));
    }
}

fn replay(page: &mut Page, waiting: &[protocol::Waiting]) {
    let mut counts = BTreeMap::from(STANDINGS.map(|standing| (standing, 0_u64)));
    for item in waiting {
        let standing = match item.standing {
            protocol::Standing::Queued => "queued",
            protocol::Standing::Later(_) => "later",
            protocol::Standing::Refused(_) => "refused",
            protocol::Standing::Unreadable => "unreadable",
        };
        let count = counts.entry(standing).or_default();
        *count = count.saturating_add(1);
    }
    let mut family = page.family(
        "enclave_tls_replay_waiting",
        Kind::Gauge,
        "Sealed states and bundles that are not in the service, by whether they are tried again.",
    );
    for (standing, count) in counts {
        family.sample(&[("standing", standing)], count);
    }
}

/// So that a state that nothing is in is 0, and not absent.
const STATES: [&str; 8] = [
    "being-deployed",
    "being-made",
    "failed",
    "served",
    "served-with-a-problem",
    "waiting-for-certificate",
    "waiting-for-enclave",
    "waiting-for-kms",
];
const STANDINGS: [&str; 4] = ["later", "queued", "refused", "unreadable"];
