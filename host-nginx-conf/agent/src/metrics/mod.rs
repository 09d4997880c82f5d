//! Metrics and health, for who watches many machines: `/metrics`, `/healthz`, `/readyz`.
//!
//! Nothing here is a secret, and names of certificates, hosts and clients are not for every user of the machine: a unix socket by default.

mod agent;
mod enclave;
pub(crate) mod http;
mod listening;
mod process;
mod statistics;
mod text;

use std::sync::Arc;
use std::time::SystemTime;

use enclave_tls_admin::protocol::Parent;
use enclave_tls_admin::report::Report;
use enclave_wire::control::{Counters, Reply, Request};

use crate::Shared;
use crate::clock::Clock;
use crate::health::Health;
use crate::keeper::Found;
use crate::log;
use crate::requests::Requests;
use agent::Agent;
pub(crate) use http::Server;
use http::{Answer, Status};
use statistics::Statistics;
use text::Page;

/// Where what is served comes from.
pub(crate) struct Metrics {
    requests: Arc<Requests>,
    health: Arc<Health>,
    clock: Arc<dyn Clock>,
    found: Arc<Shared<Found>>,
    report: Box<dyn Fn() -> Report + Send + Sync>,
    statistics: Arc<Statistics>,
    began: SystemTime,
}

impl Metrics {
    pub(crate) fn new(
        requests: Arc<Requests>,
        health: Arc<Health>,
        clock: Arc<dyn Clock>,
        found: Arc<Shared<Found>>,
        report: impl Fn() -> Report + Send + Sync + 'static,
    ) -> Self {
        let (asks, is_there) = (Arc::clone(&requests), Arc::clone(&health));
        Self {
            requests,
            health,
            clock,
            found,
            report: Box::new(report),
            statistics: Arc::new(Statistics::new(move || {
                is_there.is_connected().then(|| ask(&asks)).flatten()
            })),
            began: SystemTime::now(),
        }
    }

    /// The page of a path.
    pub(crate) fn answer(&self, path: &str) -> Option<Answer> {
        match path {
            "/metrics" => Some(Answer::metrics(self.page())),
            "/healthz" => Some(match self.health.hung() {
                None => Answer::text(Status::Ok, "ok\n".to_owned()),
                Some(why) => Answer::text(Status::Unavailable, format!("{why}\n")),
            }),
            "/readyz" => Some(match self.health.unready() {
                reasons if reasons.is_empty() => Answer::text(Status::Ok, "ok\n".to_owned()),
                reasons => Answer::text(Status::Unavailable, reasons.join("\n") + "\n"),
            }),
            _ => None,
        }
    }

    fn page(&self) -> String {
        let counters = self.statistics.get();
        let report = (self.report)();
        let (passed, deployed) = {
            let found = self.found.lock();
            (found.passed, found.deployed.clone())
        };
        let parent: Parent = self.requests.parent().report();
        let mut page = Page::default();
        agent::write(
            &mut page,
            &Agent {
                report: &report,
                parent: &parent,
                deployed: &deployed,
                events: &log::counted(),
                since_pass: passed.map(|passed| self.clock.monotonic().saturating_sub(passed)),
                is_connected: self.health.is_connected(),
                has_statistics: counters.is_some(),
            },
        );
        if let Some(counters) = counters {
            enclave::write(&mut page, &counters, &agent::keys(&report));
        }
        process::write(&mut page, self.began);
        page.into_text()
    }
}

fn ask(requests: &Requests) -> Option<Counters> {
    match requests.ask(false, &Request::Statistics) {
        Ok((_, Reply::Statistics(counters))) => Some(counters),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::process::{Command, Stdio};

    use enclave_tls_admin::protocol;
    use enclave_tls_admin::report::{Certificate, Client, Generation, Server};
    use enclave_wire::control::{ControlError, Histogram, KeyCounters, MechanismTimes};
    use enclave_wire::{KeyId, Mechanism};

    use super::*;

    fn report() -> Report {
        let generation = |number: u32, is_live| Generation {
            generation: number,
            id: KeyId([7; 32]).to_string(),
            not_before: Some(1_000),
            not_after: Some(2_000),
            is_live,
            ..Generation::default()
        };
        Report {
            version: "1".to_owned(),
            certificates: vec![Certificate {
                name: "www".to_owned(),
                state: "served".to_owned(),
                generations: vec![generation(3, false), generation(4, true)],
                ..Certificate::default()
            }],
            clients: vec![Client {
                name: "nginx".to_owned(),
                since: Some(5),
                ..Client::default()
            }],
            servers: vec![Server {
                name: "main".to_owned(),
                reloaded: Some(6),
                problem: Some("no".to_owned()),
                ..Server::default()
            }],
            problems: vec!["keeper.json: no space left on device".to_owned()],
            ..Report::default()
        }
    }

    fn parent() -> Parent {
        let host = protocol::Host {
            host: "kms.example".parse().unwrap(),
            port: 443,
            open: 1,
            connections: 2,
            up: 3,
            down: 4,
            unreachable: 5,
            busy: 6,
            not_tls: 7,
            other_name: 8,
        };
        let stranger = protocol::Stranger {
            host: "else.example".parse().unwrap(),
            port: 1,
            refused: 9,
        };
        Parent {
            egress: Some(protocol::Egress {
                hosts: vec![host],
                strangers: vec![stranger],
                ..protocol::Egress::default()
            }),
            aws: Some(protocol::Aws {
                loaded: true,
                expires: Some(7),
                ..protocol::Aws::default()
            }),
            logs: Some(protocol::Logs::default()),
            waiting: vec![protocol::Waiting {
                name: "www".parse().unwrap(),
                kind: protocol::Kind::State,
                standing: protocol::Standing::Later(ControlError::AwsUnavailable),
            }],
        }
    }

    fn counters() -> Counters {
        let mut times = Histogram::default();
        (times.counts[3], times.sum_us) = (2, 150);
        let times = |mechanism: &Mechanism| MechanismTimes {
            mechanism: *mechanism,
            execution: times,
            total: times,
        };
        let count = |byte, signed| KeyCounters {
            key: KeyId([byte; 32]),
            mechanism: Mechanism::EcdsaSha256,
            signed,
            refused: 1,
            failed: 0,
        };
        Counters {
            attestation_age_s: Some(60),
            mechanisms: Mechanism::ALL.iter().map(times).collect::<Vec<_>>().try_into().unwrap(),
            keys: vec![count(7, 12), count(8, 13)].try_into().unwrap(),
            ..Counters::default()
        }
    }

    fn whole_page() -> String {
        let (report, parent) = (report(), parent());
        let mut page = Page::default();
        let agent = Agent {
            report: &report,
            parent: &parent,
            deployed: &BTreeMap::from([("www".to_owned(), 9)]),
            events: &log::counted(),
            since_pass: Some(std::time::Duration::from_secs(3)),
            is_connected: true,
            has_statistics: true,
        };
        agent::write(&mut page, &agent);
        enclave::write(&mut page, &counters(), &agent::keys(&report));
        process::write(&mut page, SystemTime::now());
        page.into_text()
    }

    #[test]
    fn a_key_is_named_by_its_certificate_and_only_live_generations_have_an_end() {
        let page = whole_page();
        for line in [
            "enclave_tls_signatures_total{certificate=\"www\",generation=\"4\",key=\"0707070707070707\",mechanism=\"ecdsa-sha256\",result=\"made\"} 12",
            "enclave_tls_signatures_total{certificate=\"\",generation=\"\",key=\"0808080808080808\",mechanism=\"ecdsa-sha256\",result=\"refused\"} 1",
            "enclave_tls_certificate_not_after_timestamp_seconds{certificate=\"www\",generation=\"4\"} 2000",
            "enclave_tls_signing_duration_seconds_count{mechanism=\"ed25519\"} 2",
            "enclave_tls_egress_refused_total{host=\"else.example:1\",reason=\"not-allowed\"} 9",
            "enclave_tls_replay_waiting{standing=\"later\"} 1",
            "enclave_tls_problem{kind=\"agent\",name=\"enclave-tls-agent\"} 1",
            "enclave_tls_attestation_age_seconds 60",
            "enclave_tls_aws_credentials_expiry_timestamp_seconds 7",
            "enclave_tls_certificate_deployed_timestamp_seconds{certificate=\"www\"} 9",
        ] {
            assert!(page.lines().any(|one| one == line), "{line}\n{page}");
        }
        assert!(!page.contains("timestamp_seconds{certificate=\"www\",generation=\"3\"}"));
        let mut families: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let all = families.len();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), all, "each once");
    }

    #[test]
    fn promtool_finds_nothing_wrong_with_a_whole_page() {
        let Some(promtool) = std::env::var_os("ENCLAVE_TLS_PROMTOOL") else {
            println!("SKIPPED promtool_finds_nothing_wrong_with_a_whole_page: no ENCLAVE_TLS_PROMTOOL");
            return;
        };
        let mut promtool = Command::new(promtool);
        promtool.args(["check", "metrics"]).stdin(Stdio::piped());
        let mut child = promtool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(whole_page().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}
