//! What a pass found, as `status` shows it.

use std::collections::BTreeMap;
use std::time::Duration;

use enclave_tls_admin::{acme, hex, promise, report};
use enclave_tls_apply::{Directory, Generation};
use enclave_tls_config::{Certificate, Config, Source};
use enclave_wire::control::{KeyInfo, Origin};
use enclave_wire::{Name, State, Usage};

use super::Keeper;
use super::keys::Keys;
use super::plan::{Note, Plan};
use super::reminders;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};

/// What the last pass found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) certificates: Vec<report::Certificate>,
    pub(crate) accounts: Vec<acme::Account>,
    pub(crate) clients: Vec<report::Client>,
    pub(crate) servers: Vec<report::Server>,
    pub(crate) problems: Vec<String>,
    /// Where the helper writes.
    pub(crate) base: Option<String>,
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
        let accounts = self.report_accounts(config, keys.ok());
        let found = Found {
            certificates,
            accounts,
            clients: self.report_clients(config),
            servers: self.report_servers(config),
            problems: self.problems(config, keys.ok()),
            base: self.machine.base().map(str::to_owned),
            deployed: self.memory.deployed().clone(),
            passed: Some(self.clock.monotonic()),
        };
        *self.found.lock() = found;
    }

    fn report(&self, config: &Config, certificate: &Certificate, keys: &Keys) -> report::Certificate {
        let plan = self.plan(config, certificate, keys, false);
        let trouble = self
            .trouble_of(certificate, &plan)
            .or_else(|| self.taken_back(certificate));
        let trouble = match (self.revocations_of(certificate, keys), trouble) {
            (Some(said), Some(trouble)) => Some(format!("{said}; {trouble}")),
            (said, trouble) => said.or(trouble),
        };
        let its = keys.of(&certificate.name);
        // Key and chain, and in use.
        let is_as_planned = |key: &KeyInfo| {
            let directory = self.chains.known(key);
            directory.is_some() && self.machine.live(&key.name) == directory && self.is_served(certificate)
        };
        let state = match (&trouble, plan.live.map(is_as_planned), &plan.note) {
            (None, Some(true), None) => "served",
            (_, Some(true), _) => "served-with-a-problem",
            (None, Some(false), _) => "being-deployed",
            // Servers keep what they have.
            (Some(_), _, _) if self.has_some(certificate, its) => "served-with-a-problem",
            (None, None, Some(Note::NeedsChain(_) | Note::IsOrdered)) => "waiting-for-certificate",
            (None, None, Some(Note::NotOpen(_))) => "waiting-for-kms",
            (None, None, _) => "being-made",
            (Some(_), _, _) => "failed",
        };
        let mut generations: Vec<_> = its.iter().map(|key| self.generation(key)).collect();
        generations.sort_by_key(|generation| generation.generation);
        let (origin, is_sealed) = match (plan.live, &certificate.source) {
            (Some(key), _) => (key.origin, key.sealed.is_some()),
            (None, Source::Csr { .. } | Source::Acme(_)) => (Origin::Born, certificate.sealed.is_some()),
            (None, Source::Bundle { .. }) => (Origin::Bundle, certificate.sealed.is_some()),
        };
        let note = trouble
            .or_else(|| plan.note.map(|note| note.to_string()))
            .or_else(|| self.reminder(certificate, plan.live));
        report::Certificate {
            state: state.to_owned(),
            note: self.with_what_waits(&certificate.name, note),
            outside: self.outside_of(certificate),
            renewal: self.renewal(certificate, keys),
            generations,
            promise: promise::who_else(origin, is_sealed).to_owned(),
            ..described(certificate)
        }
    }

    /// Whether each of its servers has what is live of a certificate, or will start with it.
    pub(super) fn is_served(&self, certificate: &Certificate) -> bool {
        let live = self.machine.live(&certificate.name);
        live.is_some()
            && certificate
                .servers
                .iter()
                .all(|server| self.with(server, certificate) == live)
    }

    /// Whether each of its servers has some generation of a certificate whose key is there.
    fn has_some(&self, certificate: &Certificate, its: &[KeyInfo]) -> bool {
        let is_there = |directory: &Directory| {
            its.iter().any(|key| {
                directory.is_of(&Generation {
                    generation: key.generation,
                    id: key.id,
                })
            })
        };
        let mut servers = certificate.servers.iter();
        servers.all(|server| self.with(server, certificate).is_some_and(is_there))
    }

    /// What a server has of a certificate. One that does not run has nothing where it would not start with what is live.
    fn with(&self, server: &Name, certificate: &Certificate) -> Option<&Directory> {
        let would_start = || self.troubles.own(&What::Server(server.clone())).is_none();
        let with = self.machine.with(server, &certificate.name)?;
        (self.machine.runs(server) || would_start()).then_some(with)
    }

    /// The first trouble of a certificate: by what comes first on the way to servers.
    fn trouble_of(&self, certificate: &Certificate, plan: &Plan<'_>) -> Option<String> {
        let name = &certificate.name;
        let its = [What::Make, What::Order, What::Deploy, What::Look, What::Retire].map(|what| what(name.clone()));
        // A server that serves it all the same is in trouble for another, and one that there is nothing for yet does not hold it up.
        let is_held_up = !self.is_served(certificate)
            && match plan.note {
                Some(Note::NeedsChain(_) | Note::IsOrdered | Note::NotOpen(_)) => plan.live.is_some(),
                Some(Note::LacksClients(_) | Note::Expired | Note::SealedOtherwise) | None => true,
            };
        let of_servers = certificate
            .servers
            .iter()
            .filter(|_| is_held_up)
            .map(|server| What::Server(server.clone()));
        let own = its.iter().find_map(|what| self.troubles.why(what)).map(str::to_owned);
        own.or_else(|| {
            let mut said = of_servers.filter_map(|what| Some(format!("{what}: {}", self.troubles.why(&what)?)));
            said.next()
        })
    }

    /// What was taken back and is not live again.
    fn taken_back(&self, certificate: &Certificate) -> Option<String> {
        let name = &certificate.name;
        let taken = self.memory.rotations().taken_back(name)?;
        Some(format!(
            "generation {0} was taken back, servers have the one before: {1}. When that is mended: `enclave-tlsctl rollback {name} --to {0}`, \
             or `enclave-tlsctl rotate {name}` for a newer one",
            taken.generation, taken.why
        ))
    }

    fn reminder(&self, certificate: &Certificate, live: Option<&KeyInfo>) -> Option<String> {
        let validity = live
            .filter(|_| matches!(certificate.source, Source::Csr { .. }))?
            .validity?;
        let days = reminders::near(validity, self.now)?;
        Some(reminders::says(certificate.name.as_str(), days))
    }

    /// What clients were seen to get.
    fn outside_of(&self, certificate: &Certificate) -> Option<String> {
        let name = &certificate.name;
        let live = self
            .machine
            .live(name)
            .filter(|_| certificate.usage != Usage::TlsClient)?;
        if certificate.listeners.is_empty() {
            return Some(NOT_LOOKED_AT.to_owned());
        }
        let rotations = self.memory.rotations();
        let older = self.machine.older(certificate);
        let waits = match older.as_slice() {
            [] => String::new(),
            _ => format!("; older workers finish their connections: {}", older.join(", ")),
        };
        let said = match (rotations.has_looked(name, live), self.watches.progress(name)) {
            (true, _) if rotations.unlike(name).is_empty() => {
                "clients see it at each listener, by each name".to_owned()
            }
            (true, _) => format!("clients see it, but as before: {}", rotations.unlike(name).join("; ")),
            (false, Some(progress)) => progress,
            (false, None) => "nobody has looked yet".to_owned(),
        };
        Some(format!("generation {}: {said}{waits}", live.generation()))
    }

    fn generation(&self, key: &KeyInfo) -> report::Generation {
        let its = Generation {
            generation: key.generation,
            id: key.id,
        };
        let live = self.machine.live(&key.name).filter(|live| live.is_of(&its));
        // What servers have may be of an older chain than the enclave's.
        let validity = live
            .and_then(|live| self.memory.validity(&key.name, live))
            .or(key.validity);
        report::Generation {
            generation: key.generation,
            id: key.id.to_string(),
            state: match (key.state, key.validity) {
                (State::Superseded, _) => "superseded",
                (State::Live, None) => "pending",
                (State::Live, Some(_)) => "live",
            }
            .to_owned(),
            not_before: validity.map(|validity| validity.not_before),
            not_after: validity.map(|validity| validity.not_after),
            is_live: live.is_some(),
        }
    }

    /// What is nobody's in particular.
    fn problems(&self, config: &Config, keys: Option<&Keys>) -> Vec<String> {
        let all = [What::Memory, What::History, What::Credentials].into_iter();
        let said = all.filter_map(|what| Some(format!("{what}: {}", self.troubles.why(&what)?)));
        let kept = keys.map(|keys| self.distrusted_of_others(config, keys));
        let of_others = self.revocations_of_others(config).into_iter();
        said.chain(of_others).chain(kept.into_iter().flatten()).collect()
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

/// What the configuration alone says of a certificate.
fn described(certificate: &Certificate) -> report::Certificate {
    report::Certificate {
        name: certificate.name.to_string(),
        source: certificate.source.as_str().to_owned(),
        sealed: certificate.sealed.is_some(),
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

const NOT_LOOKED_AT: &str = "nobody looks at what clients see: it has no `listeners` in the configuration, so an old key goes by servers' workers \
     and grace_hours alone";
