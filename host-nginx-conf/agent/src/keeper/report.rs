//! What a pass found, as `status` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use enclave_tls_admin::{hex, promise, report};
use enclave_tls_config::{Certificate, Config, Source};
use enclave_wire::control::{KeyInfo, Origin};
use enclave_wire::{Name, State};

use super::Keeper;
use super::keys::Keys;
use super::plan::Note;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};

/// What the last pass found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) certificates: Vec<report::Certificate>,
    pub(crate) clients: Vec<report::Client>,
    pub(crate) servers: Vec<report::Server>,
    pub(crate) outage: Vec<String>,
    /// When servers were last given another generation of a certificate, by its name, UTC.
    pub(crate) deployed: BTreeMap<String, i64>,
    /// When a pass last reached its end, whatever it found, in [`Clock::monotonic`](crate::clock::Clock::monotonic).
    pub(crate) passed: Option<Duration>,
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Puts what was found where the report takes it from.
    pub(super) fn publish(&mut self, config: &Config, keys: Result<&Keys, EnclaveError>) {
        let certificates = config.certificates.values();
        let certificates = match keys {
            Ok(keys) => certificates
                .map(|certificate| self.report(config, certificate, keys))
                .collect(),
            Err(error) => {
                // What was known stays known: servers serve it.
                let older = std::mem::take(&mut self.found.lock().certificates);
                let mut older: BTreeMap<_, _> = older.into_iter().map(|one| (one.name.clone(), one)).collect();
                certificates
                    .map(|certificate| away(certificate, older.remove(certificate.name.as_str()), error))
                    .collect()
            }
        };
        let found = Found {
            certificates,
            clients: self.report_clients(config),
            servers: self.report_servers(config),
            outage: outage(config),
            deployed: self.memory.deployed().clone(),
            passed: Some(self.clock.monotonic()),
        };
        *self.found.lock() = found;
    }

    fn report(&self, config: &Config, certificate: &Certificate, keys: &Keys) -> report::Certificate {
        let plan = self.plan(config, certificate, keys, false);
        let is_given = |key: &KeyInfo| self.machine.gives(key);
        let trouble = self.trouble_of(certificate);
        let its = keys.of(&certificate.name).iter();
        let is_any_given = its.clone().any(is_given);
        let state = match (&trouble, plan.live.map(is_given), &plan.note) {
            (None, Some(true), None) => "served",
            (_, Some(true), _) => "served-with-a-problem",
            (None, Some(false), _) => "being-deployed",
            // Servers keep what they have.
            (Some(_), _, _) if is_any_given => "served-with-a-problem",
            (None, None, Some(Note::NeedsChain(_))) => "waiting-for-certificate",
            (None, None, Some(Note::NotOpen(_))) => "waiting-for-kms",
            (None, None, _) => "being-made",
            (Some(_), _, _) => "failed",
        };
        let mut generations: Vec<_> = its.map(|key| generation(key, is_given(key))).collect();
        generations.sort_by_key(|generation| generation.generation);
        let (origin, is_sealed) = match (plan.live, &certificate.source) {
            (Some(key), _) => (key.origin, key.sealed.is_some()),
            (None, Source::Csr { .. }) => (Origin::Born, certificate.sealed.is_some()),
            (None, Source::Bundle { .. }) => (Origin::Bundle, certificate.sealed.is_some()),
        };
        report::Certificate {
            state: state.to_owned(),
            note: trouble.or_else(|| plan.note.map(|note| note.to_string())),
            generations,
            promise: promise::who_else(origin, is_sealed).to_owned(),
            ..described(certificate)
        }
    }

    /// The first trouble of a certificate: by what comes first on the way to servers.
    fn trouble_of(&self, certificate: &Certificate) -> Option<String> {
        let name = &certificate.name;
        let its = [What::Make, What::Deploy, What::Retire].map(|what| what(name.clone()));
        // A server that serves it all the same is in trouble for another.
        let is_served = self.machine.is_served(certificate);
        let of_servers = certificate
            .servers
            .iter()
            .filter(|_| !is_served)
            .map(|server| What::Server(server.clone()));
        let own = its.iter().find_map(|what| self.troubles.why(what)).map(str::to_owned);
        own.or_else(|| {
            let mut said = of_servers.filter_map(|what| Some(format!("{what}: {}", self.troubles.why(&what)?)));
            said.next()
        })
    }

    fn report_clients(&self, config: &Config) -> Vec<report::Client> {
        let report = |(name, client): (&Name, &enclave_tls_config::Client)| {
            let credential = self.machine.client(name).and_then(|found| found.credential);
            let problem = [What::Credential(name.clone()), What::Objects(name.clone())];
            report::Client {
                name: name.to_string(),
                group: client.group.to_string(),
                credential: credential.map(|id| hex::encode(&id.0)),
                since: credential.and_then(|_| self.memory.credential_made(name)),
                older: self.pending.older(name).map(|id| hex::encode(&id.0)),
                problem: problem.iter().find_map(|what| self.problem(what)),
            }
        };
        config.clients.iter().map(report).collect()
    }

    fn report_servers(&self, config: &Config) -> Vec<report::Server> {
        let report = |(name, server): (&Name, &enclave_tls_config::Server)| {
            let problem = [What::Server(name.clone()), What::Deployments, What::Helper];
            report::Server {
                name: name.to_string(),
                kind: server.kind.as_str().to_owned(),
                reloaded: self.memory.reloaded(name),
                problem: problem.iter().find_map(|what| self.problem(what)),
            }
        };
        config.servers.iter().map(report).collect()
    }

    fn problem(&self, what: &What) -> Option<String> {
        self.troubles.why(what).map(str::to_owned)
    }
}

fn generation(key: &KeyInfo, is_live: bool) -> report::Generation {
    report::Generation {
        generation: key.generation,
        id: key.id.to_string(),
        state: match (key.state, key.validity) {
            (State::Superseded, _) => "superseded",
            (State::Live, None) => "pending",
            (State::Live, Some(_)) => "live",
        }
        .to_owned(),
        not_before: key.validity.map(|validity| validity.not_before),
        not_after: key.validity.map(|validity| validity.not_after),
        is_live,
    }
}

/// What the configuration alone says of a certificate.
fn described(certificate: &Certificate) -> report::Certificate {
    report::Certificate {
        name: certificate.name.to_string(),
        source: match &certificate.source {
            Source::Csr { .. } => "csr",
            Source::Bundle { .. } => "bundle",
        }
        .to_owned(),
        usage: certificate.usage.to_string(),
        servers: certificate.servers.iter().map(Name::to_string).collect(),
        ..report::Certificate::default()
    }
}

/// A certificate while the enclave cannot be asked.
fn away(certificate: &Certificate, known: Option<report::Certificate>, error: EnclaveError) -> report::Certificate {
    report::Certificate {
        state: "waiting-for-enclave".to_owned(),
        note: Some(error.to_string()),
        ..known.unwrap_or_else(|| described(certificate))
    }
}

/// What an outage of KMS together with a restart of the enclave would mean.
fn outage(config: &Config) -> Vec<String> {
    let names = |is: fn(&&Certificate) -> bool| {
        let its = config.certificates.values().filter(is);
        its.map(|certificate| certificate.name.as_str()).collect::<Vec<_>>()
    };
    let lost = names(|certificate| matches!(certificate.source, Source::Csr { .. }) && certificate.sealed.is_none());
    let later =
        names(|certificate| certificate.sealed.is_some() || matches!(certificate.source, Source::Bundle { .. }));
    let mut says = Vec::new();
    if !lost.is_empty() {
        says.push(format!(
            "A restart of the enclave ends the keys of {}: they are born and not sealed. New ones are made, which need new certificates.",
            list(&lost)
        ));
    }
    if !later.is_empty() {
        says.push(format!(
            "If the enclave restarts while KMS cannot be reached, {} cannot be served until it can; nothing is lost. A sealing key in a \
             second region (`[sealing] keys` in the policy) opens them meanwhile.",
            list(&later)
        ));
    }
    says
}

fn list(names: &[&str]) -> String {
    match names {
        [one, two, three, rest @ ..] if !rest.is_empty() => format!("{one}, {two}, {three} and {} more", rest.len()),
        names => names.join(", "),
    }
}
