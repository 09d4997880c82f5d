//! Metrics and health, for who watches many machines: `/metrics`, `/healthz`, `/readyz`.
//!
//! Nothing here is a secret, and names of certificates, hosts and clients are not for every user of the machine: a unix socket by default.

mod agent;
mod enclave;
mod http;
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
