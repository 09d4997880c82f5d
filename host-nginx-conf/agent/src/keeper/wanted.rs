//! What administrators want of certificates: another key, and that those that there are be trusted no more.
//!
//! Which keys a certificate has is not known while what is stored of it is not open. What is asked for meanwhile is remembered, and
//! begins once it is.

use enclave_tls_admin::report::Change;
use enclave_tls_config::{Certificate, Config};
use enclave_wire::control::{KeyInfo, Reply, Request};
use enclave_wire::{Name, State};

use super::history::What as Happened;
use super::keys::Keys;
use super::plan::fits;
use super::rotations::{Asked, Wanted};
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has another key made once it is its turn, or one that waits ordered then.
    pub(super) fn want(&mut self, certificate: &Certificate, keys: &Keys, wanted: Wanted) {
        let name = &certificate.name;
        if self.not_open.contains_key(name) {
            self.memory.rotations_mut().ask_once_open(name, wanted);
            return;
        }
        let its = keys.of(name);
        if let Some(reason) = &wanted.distrust {
            self.distrust_all(its, reason);
        }
        // A key that waits for its certificate is a new one already.
        if let Some(key) = self.waiting(certificate, its) {
            self.memory.attempts_mut().hurry(key.id, wanted.turn);
            return;
        }
        let above = its.iter().map(|key| key.generation).max().unwrap_or(0);
        let asked = Asked {
            due: wanted.turn,
            above,
            by: wanted.by,
        };
        self.memory.rotations_mut().ask(name, asked);
        self.troubles.well(&What::Make(name.clone()));
    }

    /// A newer key of a certificate, which has no certificate yet and may be trusted.
    pub(super) fn waiting<'a>(&self, certificate: &Certificate, its: &'a [KeyInfo]) -> Option<&'a KeyInfo> {
        let newest = its.iter().max_by_key(|key| key.generation)?;
        let waits = newest.state == State::Live && newest.validity.is_none() && fits(certificate, newest);
        let is_trusted = self.memory.rotations().urgent(newest.id).is_none();
        (waits && is_trusted).then_some(newest)
    }

    /// Begins what was asked for while it was not open.
    pub(super) fn begin_what_is_open(&mut self, config: &Config, keys: &Keys) {
        for certificate in config.certificates.values() {
            let name = &certificate.name;
            let Some(closed) = self.memory.rotations().closed(name) else {
                continue;
            };
            if self.not_open.contains_key(name) {
                // Some of it may be open already.
                if let Some(reason) = closed.distrust.clone() {
                    self.distrust_all(keys.of(name), &reason);
                }
                continue;
            }
            let now = self.memory.counted();
            let rotations = self.memory.rotations_mut();
            if let Some(wanted) = rotations.opened(name) {
                let turn = rotations.missed_turn(&wanted, now);
                self.want(certificate, keys, Wanted { turn, ..wanted });
            }
        }
        self.distrust_others_that_are_open(config, keys);
    }

    /// What left the configuration in an emergency, before it was open.
    fn distrust_others_that_are_open(&mut self, config: &Config, keys: &Keys) {
        let closed = self.memory.rotations().closed_in_an_emergency();
        let others: Vec<_> = closed
            .filter(|(name, _)| !config.certificates.contains_key(name))
            .collect();
        for (name, reason) in others {
            self.distrust_all(keys.of(&name), &reason);
            if !self.not_open.contains_key(&name) {
                self.memory.rotations_mut().opened(&name);
            }
        }
    }

    /// Keys that are not to be trusted and have no certificate get none that servers would have: their orders may be under way.
    pub(super) fn set_aside(&mut self, keys: &mut Keys) -> Result<(), EnclaveError> {
        let rotations = self.memory.rotations();
        let is_meant =
            |key: &&KeyInfo| key.validity.is_none() && key.state == State::Live && rotations.urgent(key.id).is_some();
        let meant: Vec<KeyInfo> = keys.all().filter(is_meant).cloned().collect();
        for key in meant {
            if let Err(why) = its_own(self.set_aside_one(&key, keys))? {
                self.troubles.failed(What::Retire(key.name.clone()), &why);
            }
        }
        Ok(())
    }

    fn set_aside_one(&mut self, key: &KeyInfo, keys: &mut Keys) -> Result<(), EnclaveError> {
        match self.enclave.ask(&Request::Supersede(key.id))? {
            Reply::Superseded(now) if now.id == key.id => {
                keys.put(now);
                self.happened(Happened::Superseded, key, None, None);
                Ok(())
            }
            _ => Err(EnclaveError::Unexpected),
        }
    }

    /// The same with when its certificate is ordered, and why not before.
    pub(super) fn ordered(
        &self,
        config: &Config,
        certificate: &Certificate,
        change: Change,
        turn: Option<u64>,
    ) -> Change {
        let now = self.memory.counted();
        let account = certificate
            .source
            .acme()
            .and_then(|acme| config.accounts.get(&acme.account));
        let told = account.and_then(|account| {
            let directory = account.directory.url();
            self.memory.attempts().told_until(&certificate.name, directory, now)
        });
        let (until, says) = match (told, turn.filter(|turn| *turn > now)) {
            (Some(until), _) => (Some(until), CA_WAITS),
            (None, Some(turn)) => (Some(turn), DUE),
            (None, None) => (None, ORDERED),
        };
        Change {
            due: until.map(|until| self.time_of(until)),
            says: says.to_owned(),
            ..change
        }
    }

    /// What was counted, as a time of day.
    pub(super) fn time_of(&self, counted: u64) -> i64 {
        let left = counted.saturating_sub(self.memory.counted());
        self.clock.now().saturating_add_unsigned(left)
    }

    /// The same with what was asked for and waits.
    pub(super) fn with_what_waits(&self, name: &Name, note: Option<String>) -> Option<String> {
        let rotations = self.memory.rotations();
        let waits = match (rotations.closed(name), rotations.asked(name)) {
            (Some(wanted), _) => once_open(wanted),
            (None, Some(asked)) if asked.due > self.memory.counted() => self.its_turn(asked.due),
            (None, _) => return note,
        };
        Some(note.map_or_else(|| waits.clone(), |note| format!("{note}; {waits}")))
    }

    fn its_turn(&self, due: u64) -> String {
        let minutes = due.saturating_sub(self.memory.counted()).div_ceil(60);
        format!("a new key was asked for, and is made in its turn, within {minutes} minutes")
    }

    fn distrust_all(&mut self, its: &[KeyInfo], reason: &str) {
        for key in its {
            if self.memory.rotations().urgent(key.id) != Some(reason) {
                self.memory.rotations_mut().be_urgent(key.id, reason);
            }
        }
    }
}

/// What begins once what is stored is open, in words.
pub(super) fn once_open(wanted: &Wanted) -> String {
    match &wanted.distrust {
        Some(reason) => format!(
            "its keys were declared not to be trusted ({reason}): once what is stored of it is open, a new one is made and all of them end"
        ),
        None => "a new key was asked for, and is made once what is stored of it is open".to_owned(),
    }
}

pub(super) const DUE: &str = "it waits for its turn, which `--now` does not";
const CA_WAITS: &str = "the CA asked to come again then, and is not asked before, whoever wants it; `enclave-tlsctl certificates` says why";
const ORDERED: &str = "the enclave orders its certificate, and servers change over by themselves; `enclave-tlsctl certificates` says how far it is";
