//! The part of `stats` that is about egress: what the agent carried, and what it refused.

use serde::Serialize;

use enclave_tls_admin::protocol;

use crate::table;

#[derive(Serialize)]
pub(super) struct EgressJson {
    hosts: Vec<HostJson>,
    /// Hosts that the allow-list does not name.
    not_allowed: Vec<StrangerJson>,
    not_allowed_beyond_these: u64,
    malformed: u64,
    dropped: u64,
}

#[derive(Serialize)]
struct HostJson {
    host: String,
    connections_now: u64,
    connections: u64,
    bytes_up: u64,
    bytes_down: u64,
    refused: RefusedJson,
}

/// By reason.
#[derive(Serialize)]
struct RefusedJson {
    unreachable: u64,
    busy: u64,
    not_tls: u64,
    other_name: u64,
}

#[derive(Serialize)]
struct StrangerJson {
    host: String,
    refused: u64,
}

impl From<&protocol::Egress> for EgressJson {
    fn from(egress: &protocol::Egress) -> Self {
        let stranger = |stranger: &protocol::Stranger| StrangerJson {
            host: format!("{}:{}", stranger.host, stranger.port),
            refused: stranger.refused,
        };
        Self {
            hosts: egress.hosts.iter().map(HostJson::from).collect(),
            not_allowed: egress.strangers.iter().map(stranger).collect(),
            not_allowed_beyond_these: egress.more_strangers,
            malformed: egress.malformed,
            dropped: egress.dropped,
        }
    }
}

impl From<&protocol::Host> for HostJson {
    fn from(host: &protocol::Host) -> Self {
        Self {
            host: format!("{}:{}", host.host, host.port),
            connections_now: host.open,
            connections: host.connections,
            bytes_up: host.up,
            bytes_down: host.down,
            refused: RefusedJson {
                unreachable: host.unreachable,
                busy: host.busy,
                not_tls: host.not_tls,
                other_name: host.other_name,
            },
        }
    }
}

impl EgressJson {
    /// For people.
    pub(super) fn text(&self) -> String {
        let rows: Vec<_> = self.hosts.iter().map(HostJson::row).collect();
        let mut text = format!("\n{}", table::render(HEAD, &rows));
        for stranger in &self.not_allowed {
            text.push_str(&format!("not allowed: {}, {} times\n", stranger.host, stranger.refused));
        }
        for (what, count) in [
            ("not allowed: other hosts", self.not_allowed_beyond_these),
            ("malformed requests", self.malformed),
            ("dropped, for there were too many", self.dropped),
        ] {
            if count > 0 {
                text.push_str(&format!("{what}: {count}\n"));
            }
        }
        text
    }
}

impl HostJson {
    fn row(&self) -> [String; 9] {
        let refused = &self.refused;
        let counts = [
            self.connections_now,
            self.connections,
            self.bytes_up,
            self.bytes_down,
            refused.unreachable,
            refused.busy,
            refused.not_tls,
            refused.other_name,
        ];
        let [now, all, up, down, unreachable, busy, not_tls, other_name] = counts.map(|count| count.to_string());
        [
            self.host.clone(),
            now,
            all,
            up,
            down,
            unreachable,
            busy,
            not_tls,
            other_name,
        ]
    }
}

const HEAD: [&str; 9] = [
    "EGRESS",
    "NOW",
    "CONNECTIONS",
    "UP",
    "DOWN",
    "UNREACHABLE",
    "BUSY",
    "NOT TLS",
    "OTHER NAME",
];
