//! What became of older generations: superseded once servers have a newer one, retired after their grace time, their files removed.

use enclave_tls_apply::Generation;
use enclave_tls_config::{Certificate, Config};
use enclave_wire::control::{ControlError, KeyInfo, Reply, Request};
use enclave_wire::{Name, State};

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

    /// The generations that a newer one has replaced: it is what servers shall have, what they have, and what those that run were
    /// reloaded with.
    fn replaced(&self, config: &Config, certificate: &Certificate, keys: &Keys) -> Vec<KeyInfo> {
        let its = keys.of(&certificate.name);
        if its.len() < 2 {
            return Vec::new();
        }
        let Some(live) = self.plan(config, certificate, keys, false).live else {
            return Vec::new();
        };
        if !self.machine.gives(live) || !self.is_served(certificate) {
            return Vec::new();
        }
        // A key without a certificate may be one that an administrator is about to use.
        let is_older = |key: &&KeyInfo| key.generation < live.generation && key.validity.is_some();
        its.iter().filter(is_older).cloned().collect()
    }

    fn follow(&mut self, config: &Config, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        let since = self.memory.superseded(key.id);
        match key.state {
            State::Live => match self.enclave.ask(&Request::Supersede(key.id))? {
                Reply::Superseded(now) if now.id == key.id => {
                    keys.put(now);
                    Ok(())
                }
                _ => Err(EnclaveError::Unexpected),
            },
            State::Superseded if self.memory.has_passed(since, config.agent.grace) => {
                match self.enclave.ask(&Request::Retire(key.id)) {
                    // An administrator was first.
                    Ok(Reply::Retired) | Err(EnclaveError::Refused(ControlError::NoSuchKey)) => {}
                    Ok(_) => return Err(EnclaveError::Unexpected),
                    Err(error) => return Err(error),
                }
                self.memory.forget(key.id);
                self.memory.leave_files(&key.name, true);
                keys.remove(&key.name, key.id);
                let event = Event::CertificateRetired.about().certificate(&key.name);
                event
                    .generation(key.generation)
                    .key(key.id)
                    .say(format_args!("{} generation {} is retired", key.name, key.generation));
                Ok(())
            }
            State::Superseded => Ok(()),
        }
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
