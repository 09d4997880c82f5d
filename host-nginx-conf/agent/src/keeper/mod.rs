//! The keeper: makes the enclave and the web servers into what the configuration says, again and again.
//!
//! A pass looks at what is there and at what shall be, and does what is missing; it keeps nothing in mind that it could not look up,
//! but for when it did what ([`memory`]), so it may be cut off at any point. Whatever fails concerns one certificate, client or server, is said
//! once and tried again with growing waits, and the others go on. Servers keep what they have until something better has been tested.

mod beating;
mod clients;
mod deploy;
mod memory;
mod plan;
mod whose;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_admin::report;
use enclave_tls_admin::{files, promise};
use enclave_tls_config::{BundlePlace, Certificate, Config, Source};
use enclave_wire::control::{BundleSource, ControlError, Create, KeyInfo, Provision, Reply, Request};
use enclave_wire::log::Text;
use enclave_wire::{Chain, KeyId, Name, State};
use sha2::{Digest, Sha256};

use crate::Shared;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::log::{About, Event};
pub(crate) use beating::Beating;
use memory::Memory;
use plan::{Plan, Step, plan};
use whose::Whose;
use world::EnclaveError;
pub(crate) use world::{Enclave, Helper};

/// What the keeper works with.
pub(crate) struct Keeper<E, H> {
    enclave: Arc<E>,
    helper: H,
    clock: Arc<dyn Clock>,
    memory: Memory,
    /// By certificate.
    troubles: BTreeMap<Name, Trouble>,
    /// Of the helper, of a client's credential or objects, of a server.
    others: BTreeMap<Whose, Trouble>,
    /// Those that were asked for, with their certificate as it was then.
    chains: BTreeMap<KeyId, (Option<(i64, i64)>, Chain)>,
    pending: clients::Pending,
    state: Option<enclave_tls_apply::State>,
    /// What the last pass found, for the report.
    pub(crate) found: Arc<Shared<Found>>,
}

/// What the last pass found.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) certificates: Vec<report::Certificate>,
    pub(crate) clients: Vec<report::Client>,
    pub(crate) servers: Vec<report::Server>,
    pub(crate) outage: Vec<String>,
    /// When servers were last given another generation of a certificate, by its name, UTC.
    pub(crate) deployed: BTreeMap<String, i64>,
    /// When a pass last reached its end, whatever it found, in [`Clock::monotonic`].
    pub(crate) passed: Option<Duration>,
}

/// Something that failed, and when it is tried again.
#[derive(Default)]
struct Trouble {
    why: String,
    backoff: Backoff,
    /// In [`Clock::monotonic`].
    not_before: Duration,
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    pub(crate) fn new(enclave: Arc<E>, helper: H, clock: Arc<dyn Clock>, directory: &Path) -> Self {
        Self {
            enclave,
            helper,
            clock,
            memory: Memory::open(directory),
            troubles: BTreeMap::new(),
            others: BTreeMap::new(),
            chains: BTreeMap::new(),
            pending: clients::Pending::default(),
            state: None,
            found: Arc::default(),
        }
    }

    /// Looks at everything once, and does what is missing. How long until the next look, unless something changes before.
    pub(crate) fn pass(&mut self, config: &Config) -> Duration {
        // What the configuration no longer names is tried again by nobody.
        self.others.retain(|whose, _| whose.is_in(config));
        let keys = self.enclave.keys();
        self.look_at_helper();
        match &keys {
            Ok(keys) => {
                self.clients(config);
                let keys = self.certificates(config, keys.clone());
                self.deploy(config, &keys);
                self.retire(config, &keys);
                self.objects(config, &keys);
                self.publish(config, Ok(&keys));
            }
            Err(error) => self.publish(config, Err(*error)),
        }
        match self.memory.save() {
            Ok(()) => self.well(&Whose::Memory),
            Err(error) => self.trouble_with(Whose::Memory, &error.to_string()),
        }
        self.until_next()
    }

    /// What the helper has. Without it servers keep what they have.
    fn look_at_helper(&mut self) {
        match self.helper.state() {
            Ok(state) => {
                self.well(&Whose::Helper);
                self.state = Some(state);
            }
            Err(error) => {
                self.trouble_with(Whose::Helper, &error.why);
                self.state = None;
            }
        }
    }

    /// Makes what is missing, each certificate by itself. All keys, as they are afterwards.
    fn certificates(&mut self, config: &Config, mut keys: Vec<KeyInfo>) -> Vec<KeyInfo> {
        self.troubles.retain(|name, _| config.certificates.contains_key(name));
        for certificate in config.certificates.values() {
            if self.is_early(&certificate.name) {
                continue;
            }
            match self.step(config, certificate, &keys) {
                Ok(None) => {
                    self.troubles.remove(&certificate.name);
                }
                Ok(Some(key)) => {
                    self.troubles.remove(&certificate.name);
                    keys.retain(|old| old.id != key.id);
                    keys.push(key);
                }
                Err(why) => self.trouble(&certificate.name, &why),
            }
        }
        keys
    }

    fn step(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        keys: &[KeyInfo],
    ) -> Result<Option<KeyInfo>, String> {
        let bundle = match &certificate.source {
            Source::Bundle {
                from: BundlePlace::File(path),
                ..
            } => Some(files::read_public(path, MAX_BUNDLE).map_err(|error| format!("{}: {error}", path.display()))?),
            Source::Bundle {
                from: BundlePlace::S3(_),
                ..
            }
            | Source::Csr { .. } => None,
        };
        let digest = bundle
            .as_ref()
            .map(|bundle| enclave_tls_admin::hex::encode(&Sha256::digest(bundle)));
        let is_new = digest
            .as_deref()
            .is_some_and(|digest| self.memory.bundle(&certificate.name) != Some(digest));
        let made = match self.look(config, certificate, keys, is_new).step {
            None => return Ok(None),
            Some(Step::Create) => self.create(config, certificate)?,
            Some(Step::Provision) => self.provision(config, certificate, bundle)?,
        };
        if let Some(digest) = digest {
            self.memory.gave_bundle(&certificate.name, digest);
        }
        Ok(made)
    }

    fn look<'a>(&self, config: &Config, certificate: &Certificate, keys: &'a [KeyInfo], is_new: bool) -> Plan<'a> {
        let its: Vec<_> = keys.iter().filter(|key| key.name == certificate.name).collect();
        plan(
            certificate,
            &config.clients_of(certificate),
            &its,
            self.enclave.not_open(&certificate.name),
            is_new,
            self.clock.now(),
        )
    }

    fn create(&self, config: &Config, certificate: &Certificate) -> Result<Option<KeyInfo>, String> {
        let Source::Csr { key_type } = certificate.source else {
            return Ok(None);
        };
        let request = Request::Create(Create {
            name: certificate.name.clone(),
            key_type,
            usage: certificate.usage,
            dns_names: certificate.dns_names.clone().try_into().map_err(|_| TOO_MANY)?,
            clients: clients_of(config, certificate).try_into().map_err(|_| TOO_MANY)?,
            sealed: certificate.sealed.clone(),
        });
        match self.enclave.ask(&request) {
            Ok(Reply::Created(key)) => {
                let born = Event::CertificateCreated.about().certificate(&key.name);
                born.generation(key.generation).key(key.id).say(format_args!(
                    "{} generation {} is born ({}); it waits for its certificate",
                    key.name, key.generation, key.id
                ));
                Ok(Some(key))
            }
            Ok(_) => Err(EnclaveError::Unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn provision(
        &self,
        config: &Config,
        certificate: &Certificate,
        bundle: Option<Vec<u8>>,
    ) -> Result<Option<KeyInfo>, String> {
        let Source::Bundle { from, kms_key } = &certificate.source else {
            return Ok(None);
        };
        let source = match (from, bundle) {
            (BundlePlace::File(_), Some(bundle)) => BundleSource::Document(bundle.try_into().map_err(|_| TOO_MANY)?),
            (BundlePlace::File(_), None) => return Ok(None),
            (BundlePlace::S3(object), _) => BundleSource::S3(object.clone()),
        };
        let request = Request::Provision(Provision {
            name: certificate.name.clone(),
            usage: certificate.usage,
            dns_names: certificate.dns_names.clone().try_into().map_err(|_| TOO_MANY)?,
            clients: clients_of(config, certificate).try_into().map_err(|_| TOO_MANY)?,
            sealed: certificate.sealed.clone(),
            kms_key: Text::lossy(kms_key.as_str()),
            source,
        });
        match self.enclave.ask(&request) {
            Ok(Reply::Provisioned(key)) => {
                let came = Event::CertificateProvisioned.about().certificate(&key.name);
                came.generation(key.generation).key(key.id).say(format_args!(
                    "{} generation {} came from its bundle",
                    key.name, key.generation
                ));
                Ok(Some(key))
            }
            // The enclave has it already, and the file was only written again.
            Err(EnclaveError::Refused(ControlError::KeyExists)) => Ok(None),
            Ok(_) => Err(EnclaveError::Unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Whether a certificate that failed waits for its next attempt.
    fn is_early(&self, name: &Name) -> bool {
        let now = self.clock.monotonic();
        self.troubles.get(name).is_some_and(|trouble| trouble.not_before > now)
    }

    fn trouble(&mut self, name: &Name, why: &str) {
        let now = self.clock.monotonic();
        let trouble = self.troubles.entry(name.clone()).or_default();
        let failed = Event::CertificateFailed.about().certificate(name);
        trouble.again(why, now, &format!("certificate {name}"), failed);
    }

    fn trouble_with(&mut self, whose: Whose, why: &str) {
        let now = self.clock.monotonic();
        let (named, failed) = (whose.to_string(), whose.failed());
        self.others.entry(whose).or_default().again(why, now, &named, failed);
    }

    fn well(&mut self, whose: &Whose) {
        if self.others.remove(whose).is_some() {
            whose.well().say(format_args!("{whose}: well again"));
        }
    }

    fn problem(&self, whose: &Whose) -> Option<String> {
        self.others.get(whose).map(|trouble| trouble.why.clone())
    }

    /// Puts what was found where the report takes it from.
    fn publish(&mut self, config: &Config, keys: Result<&[KeyInfo], EnclaveError>) {
        let certificates = config.certificates.values();
        let certificates = match keys {
            Ok(keys) => certificates
                .map(|certificate| self.report(config, certificate, keys))
                .collect(),
            Err(error) => {
                // What was known stays known: servers serve it.
                let older = std::mem::take(&mut self.found.lock().certificates);
                certificates
                    .map(|certificate| away(certificate, &older, error))
                    .collect()
            }
        };
        let found = Found {
            certificates,
            clients: self.report_clients(config),
            servers: self.report_servers(config),
            outage: outage(config),
            deployed: self.memory.deployed(config),
            passed: Some(self.clock.monotonic()),
        };
        *self.found.lock() = found;
    }

    fn report(&self, config: &Config, certificate: &Certificate, keys: &[KeyInfo]) -> report::Certificate {
        let plan = self.look(config, certificate, keys, false);
        let given = self.given(keys.iter().filter(|key| key.name == certificate.name));
        let trouble = self.troubles.get(&certificate.name).map(|trouble| trouble.why.clone());
        let is_served = plan.live.is_some_and(|live| given == Some(live.generation));
        let state = match (&trouble, plan.live, is_served, &plan.note) {
            (None, Some(_), true, None) => "served",
            (_, Some(_), true, _) => "served-with-a-problem",
            (None, Some(_), false, _) => "being-deployed",
            (None, None, _, Some(plan::Note::NeedsChain(_))) => "waiting-for-certificate",
            (None, None, _, Some(plan::Note::NotOpen(_))) => "waiting-for-kms",
            (None, None, _, _) => "being-made",
            (Some(_), _, _, _) => "failed",
        };
        let mut generations: Vec<_> = keys
            .iter()
            .filter(|key| key.name == certificate.name)
            .map(|key| generation(key, given))
            .collect();
        generations.sort_by_key(|generation| generation.generation);
        let promise = match (plan.live, &certificate.source) {
            (Some(key), _) => promise::who_else(key.origin, key.sealed.is_some()),
            (None, Source::Csr { .. }) => {
                promise::who_else(enclave_wire::control::Origin::Born, certificate.sealed.is_some())
            }
            (None, Source::Bundle { .. }) => {
                promise::who_else(enclave_wire::control::Origin::Bundle, certificate.sealed.is_some())
            }
        };
        report::Certificate {
            state: state.to_owned(),
            note: trouble.or_else(|| plan.note.map(|note| note.to_string())),
            generations,
            promise: promise.to_owned(),
            ..described(certificate)
        }
    }

    /// Until the next look: soon where something failed, else now and then.
    fn until_next(&self) -> Duration {
        let now = self.clock.monotonic();
        let troubles = self.troubles.values().chain(self.others.values());
        let next = troubles.map(|trouble| trouble.not_before.saturating_sub(now)).min();
        next.unwrap_or(NOW_AND_THEN).clamp(AT_LEAST, NOW_AND_THEN)
    }
}

impl Trouble {
    fn again(&mut self, why: &str, now: Duration, whose: &str, failed: About) {
        if self.why != why {
            failed.say(format_args!("{whose}: {why}"));
            why.clone_into(&mut self.why);
        }
        self.not_before = now.saturating_add(self.backoff.after_failure());
    }
}

fn clients_of(config: &Config, certificate: &Certificate) -> Vec<Name> {
    config.clients_of(certificate).into_iter().cloned().collect()
}

fn generation(key: &KeyInfo, given: Option<u32>) -> report::Generation {
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
        is_live: given == Some(key.generation),
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
fn away(certificate: &Certificate, older: &[report::Certificate], error: EnclaveError) -> report::Certificate {
    let known = older.iter().find(|older| older.name == certificate.name.as_str());
    report::Certificate {
        state: "waiting-for-enclave".to_owned(),
        note: Some(error.to_string()),
        ..known.cloned().unwrap_or_else(|| described(certificate))
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

const TOO_MANY: &str = "more than a key takes: at most 100 DNS names, 64 clients, and a bundle of 64 KiB";
/// What the protocol carries of a bundle.
const MAX_BUNDLE: usize = 65_536;
/// Files of bundles, servers that were started, and whatever else nobody rings the bell for.
const NOW_AND_THEN: Duration = Duration::from_secs(30);
/// So that what fails at once does not become a lack of CPU.
const AT_LEAST: Duration = Duration::from_millis(500);
