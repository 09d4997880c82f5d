//! What became of older generations: superseded once servers have a newer one and clients see it, retired after their grace time, their
//! files removed.

use std::time::Duration;

use enclave_tls_apply::{Directory, Generation};
use enclave_tls_config::{Certificate, Config};
use enclave_wire::control::{ControlError, KeyInfo, Reply, Request};
use enclave_wire::{Name, State};

use super::history::What as Happened;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Supersedes what servers no longer get, and retires it after its grace time.
    pub(super) fn retire(&mut self, config: &Config, keys: &mut Keys) -> Result<(), EnclaveError> {
        if !self.machine.is_here {
            return Ok(());
        }
        for certificate in config.certificates.values() {
            let what = What::Retire(certificate.name.clone());
            if self.troubles.is_early(&what) {
                continue;
            }
            let older = self.replaced(config, certificate, keys);
            let mut outcome = Ok(());
            for key in older {
                let one = its_own(self.follow(config, &key, keys))?;
                outcome = outcome.and(one);
            }
            match outcome {
                Ok(()) => self.troubles.well(&what),
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        self.prune(keys);
        Ok(())
    }

    /// The generations that a newer one has replaced: it is what servers shall have, what they have, what those that run were reloaded
    /// with, and, where somebody can look, what clients see.
    fn replaced(&mut self, config: &Config, certificate: &Certificate, keys: &Keys) -> Vec<KeyInfo> {
        let name = &certificate.name;
        let its = keys.of(name);
        if its.len() < 2 {
            return Vec::new();
        }
        let Some(live) = self.plan(config, certificate, keys, false).live else {
            return Vec::new();
        };
        let directory = self.machine.live(name).copied().filter(|_| self.machine.gives(live));
        let Some(directory) = directory.filter(|_| self.is_served(certificate)) else {
            return Vec::new();
        };
        // Its time begins anew, should another replace it again.
        self.memory.forget(live.id);
        // A key without a certificate may be one that an administrator is about to use.
        let is_older = |key: &&KeyInfo| {
            let is_to_end = key.validity.is_some() || self.memory.rotations().urgent(key.id).is_some();
            key.generation < live.generation && is_to_end
        };
        let older: Vec<_> = its.iter().filter(is_older).cloned().collect();
        let is_urgent = older.iter().any(|key| self.memory.rotations().urgent(key.id).is_some());
        let has_looked = certificate.listeners.is_empty() || self.memory.rotations().has_looked(name, &directory);
        if older.is_empty() || !has_looked || !self.has_settled(config, certificate, &directory, is_urgent) {
            return Vec::new();
        }
        older
    }

    /// Whether no worker has anything older, or none was waited for any longer.
    fn has_settled(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        directory: &Directory,
        is_urgent: bool,
    ) -> bool {
        let name = &certificate.name;
        let now = self.memory.counted();
        let known = self.memory.rotations().settles_since(name, directory);
        let since = known.unwrap_or_else(|| self.memory.rotations_mut().settling(name, directory, now));
        let older = self.machine.older(certificate);
        if older.is_empty() {
            return true;
        }
        // Older workers take no new connection, and those that they have need no signature.
        let patience = match (is_urgent, certificate.listeners.is_empty()) {
            (true, false) => Duration::ZERO,
            (true, true) => URGENT,
            (false, _) => config.agent.grace,
        };
        if !self.memory.has_passed_since(since, patience) {
            return false;
        }
        if !self.memory.rotations().has_said(name) && self.memory.rotations_mut().is_unsaid(name) {
            let event = Event::WorkersRemain.about().certificate(name);
            event.say(format_args!(
                "older workers still run and are waited for no longer, server and process: {}",
                older.join(", ")
            ));
        }
        true
    }

    fn follow(&mut self, config: &Config, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        let since = self.memory.superseded(key.id);
        let is_urgent = self.memory.rotations().urgent(key.id).is_some();
        match key.state {
            State::Live => match self.enclave.ask(&Request::Supersede(key.id))? {
                Reply::Superseded(now) if now.id == key.id => {
                    keys.put(now);
                    self.happened(Happened::Superseded, key, None, None);
                    if is_urgent { self.end(config, key, keys) } else { Ok(()) }
                }
                _ => Err(EnclaveError::Unexpected),
            },
            State::Superseded if is_urgent => self.end(config, key, keys),
            State::Superseded if self.memory.has_passed(since, config.agent.grace) => {
                self.retire_once_revoked(key, keys)
            }
            State::Superseded => Ok(()),
        }
    }

    /// Ends a key that is not to be trusted. A certificate that it is still to get has to be revoked, so it is waited for.
    fn end(&mut self, config: &Config, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        if key.validity.is_none() && self.is_being_ordered(config, key, keys)? {
            return Ok(());
        }
        self.revoke_by_its_ca(config, key);
        self.retire_once_revoked(key, keys)
    }

    /// A key has to stay until its certificate is revoked: the enclave asks by the certificate that it holds.
    fn retire_once_revoked(&mut self, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        if self.memory.rotations().is_revoking(key.id) {
            return Ok(());
        }
        self.retire_one(key, keys)
    }

    fn retire_one(&mut self, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        match self.enclave.ask(&Request::Retire(key.id)) {
            // An administrator was first.
            Ok(Reply::Retired) | Err(EnclaveError::Refused(ControlError::NoSuchKey)) => {}
            Ok(_) => return Err(EnclaveError::Unexpected),
            Err(error) => return Err(error),
        }
        let reason = self.memory.rotations().urgent(key.id).map(str::to_owned);
        self.happened(Happened::Retired, key, None, reason);
        self.memory.forget(key.id);
        let rotations = self.memory.rotations_mut();
        rotations.not_urgent(key.id);
        rotations.not_revoking(&key.id.to_string());
        self.memory.leave_files(&key.name, true);
        keys.remove(&key.name, key.id);
        let event = Event::CertificateRetired.about().certificate(&key.name);
        event
            .generation(key.generation)
            .key(key.id)
            .say(format_args!("{} generation {} is retired", key.name, key.generation));
        Ok(())
    }

    fn prune(&mut self, keys: &Keys) {
        for name in self.memory.unpruned() {
            let what = What::Prune(name.clone());
            if self.troubles.is_early(&what) {
                continue;
            }
            match self.prune_one(name.clone(), keys) {
                Ok(()) => {
                    self.troubles.well(&what);
                    self.memory.leave_files(&name, false);
                }
                Err(why) => self.troubles.failed(what, &why),
            }
        }
    }

    fn prune_one(&self, name: Name, keys: &Keys) -> Result<(), String> {
        let keep = keys.of(&name).iter().map(|key| Generation {
            generation: key.generation,
            id: key.id,
        });
        let keep = keep.collect();
        self.helper.prune(name, keep).map_err(|error| error.why)
    }
}

/// How long old workers are waited for where a key is not to be trusted and nobody can look.
const URGENT: Duration = Duration::from_secs(60);
