//! An enclave and a root helper as they answer, with their troubles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use enclave_tls_admin::protocol::Unable;
use enclave_tls_apply::{
    ClientState, Deployed, Deployment, Directory, Generation, LiveCertificate, ObjectsFile, Outcome, ServerOutcome,
    ServerState, State, Step,
};
use enclave_tls_config::Config;
use enclave_wire::control::{ControlError, CredentialInfo, KeyInfo, KeyPage, Reply, Request, Validity};
use enclave_wire::credential::{CredentialId, Secret};
use enclave_wire::objects::Objects;
use enclave_wire::{Chain, KeyId, Name, State as Standing};

use super::super::clients::derive;
use super::super::outside::{Leaf, Outside, Unseen, View};
use super::super::world::{Enclave, EnclaveError, Helper, HelperError};
use super::{Made, Simulated, key, leaf};

/// An enclave.
#[derive(Default)]
pub(super) struct FakeEnclave(Mutex<EnclaveState>);

#[derive(Default)]
pub(super) struct EnclaveState {
    pub(super) keys: Vec<KeyInfo>,
    pub(super) chains: BTreeMap<KeyId, Chain>,
    pub(super) credentials: Vec<CredentialInfo>,
    pub(super) last_generation: BTreeMap<Name, u32>,
    /// Distinguishes the keys of one run from those of another.
    pub(super) run: u32,
    pub(super) away: bool,
    /// What it says the time is.
    pub(super) time: Option<i64>,
    pub(super) not_open: BTreeMap<Name, String>,
    newer: BTreeSet<KeyId>,
    retired: Vec<(KeyId, u32)>,
    /// Requests of this name are done, and their answer is lost.
    pub(super) cut_off: Option<&'static str>,
    /// The agent is killed when it has asked this.
    pub(super) kills: Option<&'static str>,
    /// Requests of this name are done, and cannot be written down.
    pub(super) unrecorded: Option<&'static str>,
    /// Requests of this name are refused.
    pub(super) refuses: Option<(&'static str, ControlError)>,
    pub(super) asked: BTreeMap<String, u64>,
    pub(super) installed: BTreeSet<[u8; 16]>,
    pub(super) most_credentials: usize,
    /// What its jobs come to.
    pub(super) ca: super::ca::Ca,
}

impl FakeEnclave {
    pub(super) fn state(&self) -> MutexGuard<'_, EnclaveState> {
        self.0.lock().unwrap()
    }

    /// A CA gives each key that waits its certificate.
    pub(super) fn install_all(&self, now: i64) {
        let waiting: Vec<_> = self
            .state()
            .keys
            .iter()
            .filter(|key| key.validity.is_none())
            .cloned()
            .collect();
        for key in waiting {
            self.install(&key, now, 1);
        }
    }

    /// An administrator installs a chain of so many certificates.
    pub(super) fn install(&self, of: &KeyInfo, now: i64, certificates: usize) {
        let mut state = self.state();
        let run = state.run;
        let leaf = leaf(&seed(run, of.name.as_str(), of.generation));
        let chain = vec![leaf.try_into().unwrap(); certificates];
        state.chains.insert(of.id, Chain::try_from(chain).unwrap());
        state.newer.insert(of.id);
        let key = state.keys.iter_mut().find(|key| key.id == of.id).unwrap();
        key.validity = Some(Validity {
            not_before: now - 10,
            not_after: now + 90 * 86_400,
        });
    }

    /// An administrator has another key made.
    pub(super) fn create_next(&self, name: &str, now: i64) -> KeyInfo {
        let like = self
            .state()
            .keys
            .iter()
            .find(|key| key.name.as_str() == name)
            .unwrap()
            .clone();
        let made = self.state().insert(like);
        self.install(&made, now, 1);
        made
    }

    /// Each credential that is there is used by a server.
    /// An administrator has a key wiped.
    pub(super) fn retire(&self, id: KeyId, by: u32) {
        let mut state = self.state();
        state.keys.retain(|key| key.id != id);
        state.retired.push((id, by));
    }

    pub(super) fn connect_all(&self) {
        for credential in &mut self.state().credentials {
            credential.authenticated += 1;
            credential.connections = 4;
        }
    }

    /// All servers use the newest credential.
    pub(super) fn move_servers(&self) {
        let mut state = self.state();
        let count = state.credentials.len();
        for (at, credential) in state.credentials.iter_mut().enumerate() {
            let is_newest = at + 1 == count;
            credential.authenticated += u64::from(is_newest);
            credential.connections = if is_newest { 4 } else { 0 };
        }
    }

    /// It restarts. Keys that are not sealed are gone, credentials come back.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.keys.clear();
        state.chains.clear();
        state.last_generation.clear();
        state.run += 1;
        for credential in &mut state.credentials {
            credential.connections = 0;
            credential.authenticated = 0;
        }
    }

    pub(super) fn ids(&self) -> Vec<CredentialId> {
        self.state().credentials.iter().map(|one| one.id).collect()
    }
}

pub(super) fn seed(run: u32, name: &str, generation: u32) -> String {
    format!("{name}.{run} {generation}")
}

impl EnclaveState {
    fn insert(&mut self, like: KeyInfo) -> KeyInfo {
        let generation = self.last_generation.entry(like.name.clone()).or_default();
        *generation += 1;
        // The key's id is of its seed.
        let of_seed = key(&Made::of(&format!("{}.{}", like.name, self.run), *generation));
        let made = KeyInfo {
            id: of_seed.id,
            spki: of_seed.spki,
            generation: *generation,
            state: Standing::Live,
            validity: None,
            ..like
        };
        self.keys.push(made.clone());
        made
    }

    fn change(&mut self, id: KeyId, change: impl FnOnce(&mut KeyInfo)) -> Result<KeyInfo, ControlError> {
        let key = self
            .keys
            .iter_mut()
            .find(|key| key.id == id)
            .ok_or(ControlError::NoSuchKey)?;
        change(key);
        Ok(key.clone())
    }

    fn answer(&mut self, request: &Request) -> Result<Reply, ControlError> {
        Ok(match request {
            Request::List(from) => {
                let from = usize::try_from(*from).unwrap();
                let page: Vec<_> = self.keys.iter().skip(from).take(PAGE).cloned().collect();
                let next = from + page.len();
                Reply::Keys(KeyPage {
                    total: self.keys.len().try_into().unwrap(),
                    next: (next < self.keys.len()).then(|| next.try_into().unwrap()),
                    keys: page.try_into().unwrap(),
                })
            }
            Request::Credentials => Reply::Credentials(self.credentials.clone().try_into().unwrap()),
            Request::InstallCredential(install) => {
                self.installed.insert(install.id.0);
                self.credentials.retain(|one| one.id != install.id);
                self.credentials.push(CredentialInfo {
                    client: install.client.clone(),
                    id: install.id,
                    connections: 0,
                    authenticated: 0,
                    last_authenticated_ms: None,
                });
                self.most_credentials = self.most_credentials.max(self.credentials.len());
                // Of one client, which is all there is here.
                let extra = self.credentials.len().saturating_sub(2);
                drop(self.credentials.drain(..extra));
                Reply::CredentialInstalled
            }
            Request::RevokeCredential(revoke) => {
                self.credentials.retain(|one| one.id != revoke.id);
                Reply::CredentialRevoked
            }
            Request::Create(create) => {
                let like = KeyInfo {
                    name: create.name.clone(),
                    key_type: create.key_type,
                    usage: create.usage,
                    dns_names: create.dns_names.clone(),
                    clients: create.clients.clone(),
                    ..key(&Made::of("like", 1))
                };
                Reply::Created(self.insert(like))
            }
            Request::Provision(provision) => {
                if self.keys.iter().any(|key| key.name == provision.name) {
                    return Err(ControlError::KeyExists);
                }
                let like = KeyInfo {
                    name: provision.name.clone(),
                    dns_names: provision.dns_names.clone(),
                    clients: provision.clients.clone(),
                    ..key(&Made::of("like", 1))
                };
                Reply::Provisioned(self.insert(like))
            }
            Request::Chain(id) => Reply::Chain(self.chains.get(id).cloned()),
            Request::Begin(job) => self.begin(job),
            Request::Job(id) => self.job(*id),
            Request::Reinstate(id) => Reply::Reinstated(self.change(*id, |key| key.state = Standing::Live)?),
            Request::Supersede(id) => Reply::Superseded(self.change(*id, |key| key.state = Standing::Superseded)?),
            Request::Retire(id) => {
                self.change(*id, |_| ())?;
                self.keys.retain(|key| key.id != *id);
                Reply::Retired
            }
            _ => panic!("{} is asked", request.name()),
        })
    }
}

impl Enclave for FakeEnclave {
    fn ask(&self, request: &Request) -> Result<Reply, EnclaveError> {
        let mut state = self.state();
        *state.asked.entry(request.name().to_owned()).or_default() += 1;
        if state.away {
            return Err(EnclaveError::Away(Unable::Away));
        }
        if let Some((name, error)) = state.refuses
            && name == request.name()
        {
            return Err(EnclaveError::Refused(error));
        }
        state.advance();
        let answer = state.answer(request);
        if state.kills == Some(request.name()) {
            drop(state);
            panic!("killed");
        }
        if state.unrecorded == Some(request.name()) {
            return Err(EnclaveError::Unrecorded);
        }
        if state.cut_off == Some(request.name()) {
            return Err(EnclaveError::Away(Unable::Cut));
        }
        answer.map_err(EnclaveError::Refused)
    }

    fn not_open(&self) -> BTreeMap<Name, String> {
        self.state().not_open.clone()
    }

    fn newer_chains(&self) -> BTreeSet<KeyId> {
        std::mem::take(&mut self.state().newer)
    }

    fn retired(&self) -> Vec<(KeyId, u32)> {
        std::mem::take(&mut self.state().retired)
    }

    fn now(&self) -> Option<i64> {
        let state = self.state();
        state.time.or_else(|| state.ca.time())
    }
}

/// A root helper.
#[derive(Clone)]
pub(super) struct FakeHelper(Arc<Mutex<HelperState>>);

#[derive(Default)]
pub(super) struct HelperState {
    servers: BTreeMap<Name, BTreeSet<Name>>,
    pub(super) live: BTreeMap<Name, Directory>,
    pub(super) with: BTreeMap<Name, BTreeMap<Name, Directory>>,
    pub(super) runs: BTreeSet<Name>,
    pub(super) credential: Option<CredentialId>,
    pub(super) objects: Option<Vec<u8>>,
    pub(super) pruned: Vec<(Name, Vec<Generation>)>,
    pub(super) away: bool,
    pub(super) full: bool,
    /// Credentials are said to be written, and are not.
    pub(super) lies: bool,
    /// A server refuses its configuration with these.
    pub(super) bad: BTreeSet<Name>,
    /// Servers refuse their configuration with whatever certificates.
    pub(super) broken: bool,
    /// Servers that cannot be told to reload.
    pub(super) deaf: bool,
    /// Workers from before the last reload, of each server.
    pub(super) older: Vec<u32>,
    pub(super) asked: BTreeMap<String, u64>,
    pub(super) deployments: Vec<usize>,
}

impl FakeHelper {
    pub(super) fn new(config: &Config) -> Self {
        let its = |name: &Name| config.certificates_of(name).map(|one| one.name.clone()).collect();
        let servers: BTreeMap<_, _> = config.servers.keys().map(|name| (name.clone(), its(name))).collect();
        Self(Arc::new(Mutex::new(HelperState {
            runs: servers.keys().cloned().collect(),
            servers,
            ..HelperState::default()
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, HelperState> {
        self.0.lock().unwrap()
    }

    fn ask(&self, what: &str) -> Result<MutexGuard<'_, HelperState>, HelperError> {
        let mut state = self.state();
        *state.asked.entry(what.to_owned()).or_default() += 1;
        let refused = |why: &str| HelperError {
            why: why.to_owned(),
            is_of_request: false,
        };
        if state.away {
            return Err(refused("nobody listens"));
        }
        if state.full && what != "state" {
            return Err(refused("no space left on device"));
        }
        Ok(state)
    }
}

impl HelperState {
    fn serves(&self, server: &Name) -> BTreeMap<Name, Directory> {
        let its = self.servers.get(server).unwrap();
        let live = self.live.iter().filter(|(name, _)| its.contains(name));
        live.map(|(name, directory)| (name.clone(), *directory)).collect()
    }

    fn objects(&self) -> usize {
        self.objects
            .as_ref()
            .map_or(0, |file| Objects::parse(file).unwrap().as_slice().len())
    }

    pub(super) fn object_count(&self) -> usize {
        self.objects()
    }
}

impl Helper for FakeHelper {
    fn state(&self) -> Result<State, HelperError> {
        let state = self.ask("state")?;
        let list = |all: &BTreeMap<Name, Directory>| -> Vec<_> {
            let one = |(name, directory): (&Name, &Directory)| LiveCertificate {
                name: name.clone(),
                directory: *directory,
            };
            all.iter().map(one).collect()
        };
        Ok(State {
            base: "/etc/enclave-tls".to_owned(),
            live: list(&state.live),
            servers: (state.servers.keys())
                .map(|server| ServerState {
                    server: server.clone(),
                    reloaded_with: state.with.get(server).map(list),
                    older: state.older.clone(),
                    pid: state.runs.contains(server).then_some(7),
                })
                .collect(),
            clients: vec![ClientState {
                client: "nginx".parse().unwrap(),
                credential: state.credential,
                objects: state.objects.as_ref().map(|file| {
                    use sha2::{Digest, Sha256};
                    Sha256::digest(file).into()
                }),
            }],
        })
    }

    fn credential(&self, _: Name, secret: Secret) -> Result<(), HelperError> {
        let mut state = self.ask("credential")?;
        if !state.lies {
            state.credential = Some(derive(&secret).0);
        }
        Ok(())
    }

    fn objects(&self, _: Name, objects: ObjectsFile) -> Result<(), HelperError> {
        self.ask("objects")?.objects = Some(objects.as_bytes().to_vec());
        Ok(())
    }

    fn deploy(&self, certificates: Vec<Deployment>) -> Result<Deployed, HelperError> {
        let mut state = self.ask("deploy")?;
        state.deployments.push(certificates.len());
        let before = state.live.clone();
        let shown = state.objects.as_deref().map(Objects::parse);
        let shown = shown.map(|objects| objects.unwrap());
        for one in &certificates {
            let mut objects = shown.iter().flat_map(|objects| objects.as_slice());
            assert!(
                objects.any(|object| object.entry.id == one.generation().id),
                "{} is deployed, and no module shows it while the enclave is away",
                one.name()
            );
        }
        for one in &certificates {
            state.live.insert(one.name().clone(), one.directory());
        }
        let (mut outcomes, mut put_back, mut withdrawn) = (Vec::new(), Vec::new(), Vec::new());
        for server in state.servers.keys().cloned().collect::<Vec<_>>() {
            let serves = state.serves(&server);
            if state.with.get(&server) == Some(&serves) {
                continue;
            }
            let is_new = |name: &&Name| before.get(*name) != serves.get(*name) || !before.contains_key(*name);
            let bad = state
                .bad
                .iter()
                .filter(is_new)
                .find(|name| serves.contains_key(*name))
                .cloned();
            let outcome = match bad {
                None if state.broken => Outcome::Failed {
                    step: Step::Test,
                    message: "nginx: [emerg] unknown directive".to_owned(),
                },
                Some(name) => {
                    let names = certificates.iter().map(|one| one.name());
                    withdrawn.extend(names.filter(|name| !before.contains_key(*name)).cloned());
                    let had = certificates.iter().filter_map(|one| before.get_key_value(one.name()));
                    put_back.extend(had.map(|(name, directory)| LiveCertificate {
                        name: name.clone(),
                        directory: *directory,
                    }));
                    Outcome::Failed {
                        step: Step::Test,
                        message: format!("nginx: [emerg] {}#0: cannot load {name}", state.deployments.len()),
                    }
                }
                None if state.deaf => Outcome::Failed {
                    step: Step::Reload,
                    message: "the process is another program's".to_owned(),
                },
                None if state.runs.contains(&server) => {
                    state.with.insert(server.clone(), serves);
                    Outcome::Reloaded { pid: 7 }
                }
                None => Outcome::NotRunning {},
            };
            outcomes.push(ServerOutcome { server, outcome });
        }
        for back in &put_back {
            state.live.insert(back.name.clone(), back.directory);
        }
        state.live.retain(|name, _| !withdrawn.contains(name));
        Ok(Deployed {
            put_back,
            withdrawn,
            servers: outcomes,
        })
    }

    fn prune(&self, certificate: Name, keep: Vec<Generation>) -> Result<(), HelperError> {
        self.ask("prune")?.pruned.push((certificate, keep));
        Ok(())
    }
}

/// A client outside, that sees what the server `main` was last reloaded with, or what a test has it see.
#[derive(Clone)]
pub(super) struct FakeOutside {
    enclave: Arc<FakeEnclave>,
    helper: FakeHelper,
    pub(super) state: Arc<Mutex<OutsideState>>,
}

#[derive(Default)]
pub(super) struct OutsideState {
    /// By the name that is asked for: another certificate, or none.
    pub(super) shows: BTreeMap<String, Result<Leaf, Unseen>>,
    /// The same, where the server was given another generation than the first.
    pub(super) breaks: BTreeMap<String, Result<Leaf, Unseen>>,
    /// As many handshakes show the older one first.
    pub(super) lags: u32,
    pub(super) looks: u64,
    /// As long takes one that sees nothing.
    pub(super) takes: Option<(Arc<Simulated>, Duration)>,
    pub(super) views: BTreeSet<String>,
    last: BTreeMap<String, Leaf>,
}

impl FakeOutside {
    pub(super) fn new(enclave: Arc<FakeEnclave>, helper: FakeHelper) -> Self {
        Self {
            enclave,
            helper,
            state: Arc::default(),
        }
    }

    /// The leaf of what the server was given of the certificate that has this name, and its generation.
    fn given(&self, name: &str) -> Option<(Leaf, u32)> {
        let with = self
            .helper
            .state()
            .with
            .get(&"main".parse::<Name>().unwrap())
            .cloned()?;
        let enclave = self.enclave.state();
        let key = enclave.keys.iter().find(|key| {
            let has_it = key
                .dns_names
                .items()
                .iter()
                .any(|own| own.as_str().replacen('*', "enclave-tls", 1) == name);
            let its = Generation {
                generation: key.generation,
                id: key.id,
            };
            has_it && with.get(&key.name).is_some_and(|directory| directory.is_of(&its))
        })?;
        let chain = enclave.chains.get(&key.id)?;
        Some((Leaf::of_der(chain.certificates().first()?.as_bytes()), key.generation))
    }
}

impl Outside for FakeOutside {
    fn look(&self, view: &View) -> Result<Leaf, Unseen> {
        let given = self.given(&view.name);
        let mut state = self.state.lock().unwrap();
        state.looks += 1;
        state.views.insert(view.to_string());
        if let Some(shown) = state.shows.get(&view.name) {
            if let (Err(_), Some((clock, takes))) = (shown, &state.takes) {
                clock.pass(*takes);
            }
            return shown.clone();
        }
        if let Some(shown) = state.breaks.get(&view.name)
            && given.is_some_and(|(_, generation)| generation == 2)
        {
            return shown.clone();
        }
        if state.lags > 0
            && let Some(last) = state.last.get(&view.name).copied()
        {
            state.lags -= 1;
            return Ok(last);
        }
        let (given, _) = given.ok_or_else(|| Unseen("nobody is there".to_owned()))?;
        state.last.insert(view.name.clone(), given);
        Ok(given)
    }
}

/// One that sees nothing.
pub(super) struct Blind;

impl Outside for Blind {
    fn look(&self, _: &View) -> Result<Leaf, Unseen> {
        Err(Unseen("nobody looks".to_owned()))
    }
}

const PAGE: usize = 200;
