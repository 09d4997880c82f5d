//! From the enclave to the web servers.
//!
//! All that is newer than what servers have is made live at once. Where a server refuses that, the parts of it that it does not refuse
//! are found by halves: of a thousand certificates with a bad one in twenty attempts. Those that are left wait and are tried again
//! together, with fewer attempts: they may all be refused for a reason that has nothing to do with them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use enclave_tls_apply::{Deployed, Deployment, MAX_CERTIFICATES, Outcome, Step};
use enclave_tls_config::Config;
use enclave_wire::Name;

use super::Keeper;
use super::history::What as Happened;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has the helper make live what is newer than what servers have.
    pub(super) fn deploy(&mut self, config: &Config, keys: &Keys) -> Result<(), EnclaveError> {
        if !self.machine.is_here || self.troubles.is_early(&What::Deployments) {
            return Ok(());
        }
        let wanted = self.wanted(config, keys)?;
        let is_fresh = |one: &Deployment| self.troubles.why(&What::Deploy(one.name().clone())).is_none();
        let budget = if wanted.iter().any(is_fresh) {
            ATTEMPTS
        } else {
            ATTEMPTS_AGAIN
        };
        let names = wanted.iter().map(Deployment::name);
        let lost = names
            .filter(|name| self.machine.is_of_none(name, keys.of(name)))
            .cloned()
            .collect();
        let mut round = Round::default();
        if !wanted.is_empty() {
            // Before servers read of a key: should the enclave be away when they do, the module shows it from there. httpd ends when a
            // reload does not find a key.
            self.objects_at_once(config, keys)?;
            self.look_before(config, keys, &wanted);
            self.isolate(wanted, budget, &mut round);
        } else if config.servers.keys().any(|server| self.lags_behind(config, server)) {
            // It was not reloaded when it should have been, refused its configuration, or was started meanwhile.
            match self.try_deploy(&[], &mut round) {
                Ok(()) => {
                    self.troubles.well(&What::Deployments);
                    // The helper leaves out those that have what is live.
                    for server in config
                        .servers
                        .keys()
                        .filter(|server| !round.servers.contains_key(server))
                    {
                        self.troubles.well(&What::Server(server.clone()));
                    }
                }
                Err(Refused::All(why) | Refused::These(why)) => self.troubles.failed(What::Deployments, &why),
            }
        }
        self.note_servers(&round);
        if round.attempts > 0 {
            self.look_at_helper();
            self.leave_lost_files(&lost, &round);
        }
        self.say_used(config, keys);
        if !self.troubles.has_refused() {
            self.troubles.well(&What::Refused);
        }
        Ok(())
    }

    /// What servers do not have, those of the same servers beside each other.
    fn wanted(&mut self, config: &Config, keys: &Keys) -> Result<Vec<Deployment>, EnclaveError> {
        let mut wanted = Vec::new();
        let refused_wait = self.troubles.is_early(&What::Refused);
        for certificate in config.certificates.values() {
            let what = What::Deploy(certificate.name.clone());
            let Some(live) = self.plan(config, certificate, keys, false).live else {
                self.troubles.well(&what);
                continue;
            };
            let is_in_trouble = self.troubles.why(&what).is_some();
            if self.troubles.is_early(&what) {
                continue;
            }
            match self.chains.deployment(&*self.enclave, live)? {
                Ok(deployment) if self.machine.has(deployment) => self.troubles.well(&what),
                Ok(_) if is_in_trouble && refused_wait => {}
                Ok(deployment) => wanted.push((&certificate.servers, deployment.clone())),
                Err(why) => {
                    let why = why.to_owned();
                    self.troubles.failed(what, &why);
                }
            }
        }
        wanted.sort_by_key(|(servers, _)| *servers);
        Ok(wanted.into_iter().map(|(_, deployment)| deployment).collect())
    }

    fn isolate(&mut self, wanted: Vec<Deployment>, budget: usize, round: &mut Round) {
        let mut parts: VecDeque<(Vec<Deployment>, Arc<str>)> = VecDeque::new();
        parts.extend(
            wanted
                .chunks(MAX_CERTIFICATES)
                .map(|part| (part.to_vec(), Arc::from(""))),
        );
        let mut are_refused = false;
        while let Some((mut part, of_whole)) = parts.pop_front() {
            if round.attempts >= budget {
                self.troubles.refused(part.iter().map(Deployment::name), &of_whole);
                are_refused = true;
                continue;
            }
            match self.try_deploy(&part, round) {
                Ok(()) => self.deployed(&part, round),
                Err(Refused::All(why)) => return self.troubles.failed(What::Deployments, &why),
                Err(Refused::These(why)) if part.len() <= 1 => {
                    self.troubles.refused(part.iter().map(Deployment::name), &why);
                    are_refused = true;
                }
                Err(Refused::These(why)) => {
                    let rest = part.split_off(part.len().div_euclid(2));
                    parts.extend([(part, Arc::clone(&why)), (rest, why)]);
                }
            }
        }
        self.troubles.well(&What::Deployments);
        if are_refused {
            self.troubles.wait(What::Refused);
        }
    }

    fn try_deploy(&self, part: &[Deployment], round: &mut Round) -> Result<(), Refused> {
        round.attempts = round.attempts.saturating_add(1);
        match self.helper.deploy(part.to_vec()) {
            Ok(deployed) => {
                let is_back = !deployed.put_back.is_empty() || !deployed.withdrawn.is_empty();
                let why = refusal(&deployed);
                for server in deployed.servers {
                    round.note(server.server, server.outcome, is_back);
                }
                if is_back { Err(Refused::These(why)) } else { Ok(()) }
            }
            Err(error) if error.is_of_request => Err(Refused::These(error.why.into())),
            Err(error) => Err(Refused::All(error.why.into())),
        }
    }

    fn deployed(&mut self, part: &[Deployment], round: &mut Round) {
        for deployment in part {
            self.troubles.well(&What::Deploy(deployment.name().clone()));
            self.given.insert(deployment.name().clone(), deployment.generation());
            round.deployed.push(deployment.name().clone());
        }
    }

    /// Says of what was made live that servers use it, once they do: one that refuses its configuration or is not reloaded may do so
    /// much later.
    fn say_used(&mut self, config: &Config, keys: &Keys) {
        if self.given.is_empty() {
            return;
        }
        for (name, generation) in std::mem::take(&mut self.given) {
            let is_live = self.machine.gives_generation(&name, &generation);
            let Some(certificate) = config.certificates.get(&name).filter(|_| is_live) else {
                continue;
            };
            if !self.is_served(certificate) {
                self.given.insert(name, generation);
                continue;
            }
            let event = Event::CertificateDeployed.about().certificate(&name);
            event
                .generation(generation.generation)
                .key(generation.id)
                .say(format_args!(
                    "{name} generation {} is what servers use from now on",
                    generation.generation
                ));
            self.memory.did_deploy(&name);
            let Some(key) = keys.of(&name).iter().find(|key| key.id == generation.id) else {
                continue;
            };
            self.happened(Happened::Deployed, key, None, None);
            // Where somebody looks, it runs once somebody has seen it.
            if certificate.listeners.is_empty() {
                self.memory.rotations_mut().is_well(&name, key.generation);
                self.run_hook(config, key, "rotated");
            }
        }
    }

    /// Files of a generation whose key the enclave no longer holds are of no use once another is live.
    fn leave_lost_files(&mut self, lost: &BTreeSet<Name>, round: &Round) {
        for name in round.deployed.iter().filter(|name| lost.contains(name)) {
            self.memory.leave_files(name, true);
        }
    }

    fn note_servers(&mut self, round: &Round) {
        for (server, outcome) in &round.servers {
            let what = What::Server(server.clone());
            if let Outcome::Reloaded { .. } = outcome {
                self.memory.did_reload(server);
                let event = Event::ServerReloaded.about().server(server);
                event.say(format_args!("server {server} reloads"));
            }
            match (round.refusing.get(server), outcome) {
                // The line of the certificates that were put back says it.
                (Some(why), _) => self.troubles.note(what, why),
                (None, Outcome::Failed { message, .. }) => self.troubles.failed(what, message),
                (
                    None,
                    Outcome::Reloaded { .. } | Outcome::Unchanged {} | Outcome::NotRunning {} | Outcome::Undone {},
                ) => self.troubles.well(&what),
            }
        }
    }

    fn lags_behind(&self, config: &Config, server: &Name) -> bool {
        let what = What::Server(server.clone());
        let lags =
            self.machine.lags_behind(server, config.certificates_of(server)) || self.troubles.own(&what).is_some();
        lags && !self.troubles.is_early(&what)
    }
}

/// What became of the attempts of one pass.
#[derive(Default)]
struct Round {
    attempts: usize,
    deployed: Vec<Name>,
    /// By server: the last outcome, and a reload before any other.
    servers: BTreeMap<Name, Outcome>,
    /// Servers that refused what was put back, and their words.
    refusing: BTreeMap<Name, Arc<str>>,
}

impl Round {
    fn note(&mut self, server: Name, outcome: Outcome, is_back: bool) {
        if let (
            Outcome::Failed {
                message,
                step: Step::Test,
            },
            true,
        ) = (&outcome, is_back)
        {
            self.refusing.insert(server.clone(), Arc::from(message.trim()));
        }
        let is_reloaded = matches!(self.servers.get(&server), Some(Outcome::Reloaded { .. }));
        if !is_reloaded || matches!(outcome, Outcome::Reloaded { .. }) {
            self.servers.insert(server, outcome);
        }
    }
}

/// Why a part was not made live.
enum Refused {
    /// It was the helper, or the machine: another part would fare no better.
    All(Arc<str>),
    /// A server refuses it, or it is not a request that the helper takes.
    These(Arc<str>),
}

/// Why nothing was made live: the words of the servers that refused.
fn refusal(deployed: &Deployed) -> Arc<str> {
    let said: BTreeMap<_, _> = deployed
        .servers
        .iter()
        .filter_map(|server| match &server.outcome {
            Outcome::Failed { message, .. } => Some((server.server.as_str(), message.trim())),
            Outcome::Reloaded { .. } | Outcome::Unchanged {} | Outcome::NotRunning {} | Outcome::Undone {} => None,
        })
        .collect();
    let said: Vec<_> = said.iter().map(|(server, why)| format!("{server}: {why}")).collect();
    let said = said.join("; ");
    format!("its files were taken back, since a server refuses them: {said}").into()
}

/// For what is new: a bad certificate among a thousand, or a few among fewer. Each is a test of a server's configuration.
const ATTEMPTS: usize = 48;
/// For what was refused before, each minute.
const ATTEMPTS_AGAIN: usize = 8;
