//! From the enclave to the web servers: generations, what became of older ones, and the public objects.

use std::collections::{BTreeMap, BTreeSet};

use enclave_tls_admin::report;
use enclave_tls_apply::{Deployed, Deployment, Generation, ObjectsFile, Outcome};
use enclave_tls_config::{Config, Server};
use enclave_wire::control::{KeyInfo, Reply, Request};
use enclave_wire::objects::{Object, Objects};
use enclave_wire::signing::Entry;
use enclave_wire::{Chain, KeyId, Name, State};
use sha2::{Digest, Sha256};

use super::Keeper;
use super::whose::Whose;
use super::world::{Enclave, EnclaveError, Helper};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has the helper make live what is newer than what servers have, all at once; if that is refused, one by one, so that one bad
    /// certificate holds up no other.
    pub(super) fn deploy(&mut self, config: &Config, keys: &[KeyInfo]) {
        if self.state.is_none() {
            return;
        }
        let mut wanted = Vec::new();
        for certificate in config.certificates.values() {
            let Some(live) = self.look(config, certificate, keys, false).live else {
                continue;
            };
            match self.deployment(live) {
                Ok(deployment) if self.is_live(&deployment) => {}
                Ok(_) if self.is_early(&certificate.name) => {}
                Ok(deployment) => wanted.push(deployment),
                Err(why) => self.trouble(&certificate.name, &why),
            }
        }
        for part in wanted.chunks(enclave_tls_apply::MAX_CERTIFICATES) {
            if self.try_deploy(part).is_err() && part.len() > 1 {
                for one in part {
                    if let Err(why) = self.try_deploy(std::slice::from_ref(one)) {
                        self.trouble(one.name(), &why);
                    }
                }
            }
        }
        // A server that was not reloaded when it should have been, or that was started meanwhile.
        if wanted.is_empty() && self.lags_behind(config) {
            drop(self.try_deploy(&[]));
        }
    }

    fn try_deploy(&mut self, part: &[Deployment]) -> Result<(), String> {
        let outcome = self.helper.deploy(part.to_vec());
        let deployed = match outcome {
            Ok(deployed) => deployed,
            Err(error) => {
                if !error.is_ours || part.len() == 1 {
                    self.trouble_all(part, &error.why);
                }
                return Err(error.why);
            }
        };
        self.note_servers(&deployed);
        let is_back = |deployment: &Deployment| deployed.put_back.iter().any(|back| back.name == *deployment.name());
        if !deployed.put_back.is_empty() {
            let why = refusal(&deployed);
            if part.len() == 1 {
                self.trouble_all(part, &why);
            }
            self.look_at_helper();
            return Err(why);
        }
        for deployment in part.iter().filter(|deployment| !is_back(deployment)) {
            self.troubles.remove(deployment.name());
            self.memory.did_deploy(deployment.name(), self.clock.now());
            let generation = deployment.generation();
            let deployed = Event::CertificateDeployed.about().certificate(deployment.name());
            deployed
                .generation(generation.generation)
                .key(generation.id)
                .say(format_args!(
                    "{} generation {} is what servers use from now on",
                    deployment.name(),
                    generation.generation
                ));
        }
        self.look_at_helper();
        Ok(())
    }

    fn trouble_all(&mut self, part: &[Deployment], why: &str) {
        for deployment in part {
            self.trouble(deployment.name(), why);
        }
    }

    fn note_servers(&mut self, deployed: &Deployed) {
        let now = self.clock.now();
        for server in &deployed.servers {
            let whose = Whose::Server(server.server.clone());
            match &server.outcome {
                Outcome::Reloaded { .. } => {
                    self.memory.did_reload(&server.server, now);
                    self.well(&whose);
                    let reloaded = Event::ServerReloaded.about().server(&server.server);
                    reloaded.say(format_args!("server {} reloads", server.server));
                }
                Outcome::Unchanged {} | Outcome::NotRunning {} | Outcome::Undone {} => self.well(&whose),
                Outcome::Failed { message, .. } => self.trouble_with(whose, message),
            }
        }
    }

    /// Whether a server that runs has not been given what is live.
    fn lags_behind(&self, config: &Config) -> bool {
        let Some(state) = &self.state else { return false };
        let now = self.clock.monotonic();
        state.servers.iter().any(|server| {
            let early = self
                .others
                .get(&Whose::Server(server.server.clone()))
                .is_some_and(|t| t.not_before > now);
            let its: Vec<_> = config
                .certificates_of(&server.server)
                .map(|certificate| &certificate.name)
                .collect();
            let live = state.live.iter().filter(|live| its.contains(&&live.name));
            let with = server.reloaded_with.as_deref().unwrap_or_default();
            !early && server.pid.is_some() && live.clone().any(|live| !with.contains(live))
        })
    }

    fn deployment(&mut self, key: &KeyInfo) -> Result<Deployment, String> {
        let chain = self
            .chain(key)?
            .ok_or("its certificate is gone from the enclave; install it again")?;
        let generation = Generation {
            generation: key.generation,
            id: key.id,
        };
        Deployment::new(key.name.clone(), generation, key.usage, chain).map_err(|error| error.to_string())
    }

    fn is_live(&self, deployment: &Deployment) -> bool {
        let directory = deployment.directory();
        let mut live = self.state.iter().flat_map(|state| &state.live);
        live.any(|live| live.name == *deployment.name() && live.directory == directory)
    }

    /// The generation that servers have, where the enclave holds its key. Numbers begin anew when an enclave forgets a name, so a number
    /// alone says nothing.
    pub(super) fn given<'a>(&self, mut its: impl Iterator<Item = &'a KeyInfo>) -> Option<u32> {
        let live: Vec<_> = self.state.iter().flat_map(|state| &state.live).collect();
        let is_given = |key: &&KeyInfo| {
            let generation = Generation {
                generation: key.generation,
                id: key.id,
            };
            live.iter()
                .any(|live| live.name == key.name && live.directory.is_of(&generation))
        };
        its.find(is_given).map(|key| key.generation)
    }

    /// A key's chain, asked for once.
    fn chain(&mut self, key: &KeyInfo) -> Result<Option<Chain>, String> {
        let validity = key.validity.map(|validity| (validity.not_before, validity.not_after));
        if let Some((known, chain)) = self.chains.get(&key.id)
            && *known == validity
        {
            return Ok(Some(chain.clone()));
        }
        match self.enclave.ask(&Request::Chain(key.id)) {
            Ok(Reply::Chain(Some(chain))) => {
                self.chains.insert(key.id, (validity, chain.clone()));
                Ok(Some(chain))
            }
            Ok(Reply::Chain(None)) => Ok(None),
            Ok(_) => Err(EnclaveError::Unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Supersedes what servers no longer get, and retires it after its grace time.
    pub(super) fn retire(&mut self, config: &Config, keys: &[KeyInfo]) {
        let ids: BTreeSet<_> = keys.iter().map(|key| key.id).collect();
        self.chains.retain(|id, _| ids.contains(id));
        let now = self.clock.now();
        let grace = i64::try_from(config.agent.grace.as_secs()).unwrap_or(i64::MAX);
        for key in keys {
            let its = keys.iter().filter(|other| other.name == key.name);
            let Some(given) = self.given(its).filter(|_| config.certificates.contains_key(&key.name)) else {
                continue;
            };
            // A key without a certificate may be one that an administrator is about to use.
            if key.generation >= given || key.validity.is_none() {
                continue;
            }
            let since = self.memory.superseded(key.id, now);
            let request = match key.state {
                State::Live => Request::Supersede(key.id),
                State::Superseded if now.saturating_sub(since) >= grace => Request::Retire(key.id),
                State::Superseded => continue,
            };
            let is_retired = matches!(request, Request::Retire(_));
            match self.enclave.ask(&request) {
                Ok(_) if is_retired => {
                    self.memory.forget(key.id);
                    let retired = Event::CertificateRetired.about().certificate(&key.name);
                    let retired = retired.generation(key.generation).key(key.id);
                    retired.say(format_args!("{} generation {} is retired", key.name, key.generation));
                    self.prune(&key.name, keys, key.id);
                }
                Ok(_) => {}
                Err(error) => self.trouble(&key.name, &error.to_string()),
            }
        }
    }

    fn prune(&mut self, name: &Name, keys: &[KeyInfo], but: KeyId) {
        let keep = keys.iter().filter(|key| key.name == *name && key.id != but);
        let keep = keep.map(|key| Generation {
            generation: key.generation,
            id: key.id,
        });
        if let Err(error) = self.helper.prune(name.clone(), keep.collect()) {
            self.trouble(name, &error.why);
        }
    }

    /// Has each client's public objects written, where they are others than before. While something stored is still to be opened,
    /// they stay as they are: servers start with what comes back.
    pub(super) fn objects(&mut self, config: &Config, keys: &[KeyInfo]) {
        if self.enclave.is_incomplete() {
            return;
        }
        let Some(state) = self.state.take() else { return };
        for client in config.clients.keys() {
            let whose = Whose::Objects(client.clone());
            let older = state
                .clients
                .iter()
                .find(|found| found.client == *client)
                .and_then(|found| found.objects);
            match self.objects_of(client, keys) {
                Ok(file) if older == Some(Sha256::digest(&file).into()) => self.well(&whose),
                Ok(file) => {
                    let written = ObjectsFile::new(file)
                        .ok_or_else(|| "more keys than fit the file".to_owned())
                        .and_then(|file| self.helper.objects(client.clone(), file).map_err(|error| error.why));
                    match written {
                        Ok(()) => self.well(&whose),
                        Err(why) => self.trouble_with(whose, &why),
                    }
                }
                Err(why) => self.trouble_with(whose, &why),
            }
        }
        self.state = Some(state);
    }

    fn objects_of(&mut self, client: &Name, keys: &[KeyInfo]) -> Result<Vec<u8>, String> {
        let mut objects = Vec::new();
        for key in keys.iter().filter(|key| key.clients.items().contains(client)) {
            let chain = match key.validity {
                None => None,
                Some(_) => self.chain(key)?,
            };
            let Some(chain) = chain else { continue };
            objects.push(Object {
                entry: Entry {
                    id: key.id,
                    name: key.name.clone(),
                    generation: key.generation,
                    key_type: key.key_type,
                    usage: key.usage,
                    state: key.state,
                    spki: key.spki.clone(),
                },
                chain,
            });
        }
        Objects::try_from(objects)
            .map(|objects| objects.to_file())
            .map_err(|error| error.to_string())
    }

    pub(super) fn report_servers(&self, config: &Config) -> Vec<report::Server> {
        let report = |(name, server): (&Name, &Server)| report::Server {
            name: name.to_string(),
            kind: server.kind.as_str().to_owned(),
            reloaded: self.memory.reloaded(name),
            problem: self
                .problem(&Whose::Server(name.clone()))
                .or_else(|| self.problem(&Whose::Helper)),
        };
        config.servers.iter().map(report).collect()
    }
}

/// Why nothing was made live: the words of the servers that refused.
fn refusal(deployed: &Deployed) -> String {
    let said: BTreeMap<_, _> = deployed
        .servers
        .iter()
        .filter_map(|server| match &server.outcome {
            Outcome::Failed { message, .. } => Some((server.server.as_str(), message.trim())),
            Outcome::Reloaded { .. } | Outcome::Unchanged {} | Outcome::NotRunning {} | Outcome::Undone {} => None,
        })
        .collect();
    let said: Vec<_> = said.iter().map(|(server, why)| format!("{server}: {why}")).collect();
    format!(
        "its files were taken back, since a server refuses them: {}",
        said.join("; ")
    )
}
