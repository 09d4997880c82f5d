//! Certificates that their CA shall revoke: the enclave asks it, with the account that ordered them, again and again until it has.

use std::collections::BTreeSet;

use enclave_tls_admin::acme as words;
use enclave_tls_config::{Certificate, Config, Source};
use enclave_wire::KeyId;
use enclave_wire::control::{self, Job, JobId, JobKind, JobPhase, KeyInfo, Reply, Request, Revoke};

use super::history::What as Happened;
use super::keys::Keys;
use super::plan::Note;
use super::rotations::{Issued, is_graver};
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, absent, its_own};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has what shall be revoked be revoked. It is given up once the certificate has ended, and not before.
    pub(super) fn revocations(&mut self, config: &Config, keys: &Keys) -> Result<(), EnclaveError> {
        self.look_for_lost(keys);
        for (id, reason) in self.memory.rotations().revoking() {
            let key = keys.all().find(|key| key.id.to_string() == id).cloned();
            if let Some(key) = &key {
                self.note_issued(key)?;
            }
            let issued = self.memory.rotations().issued(&id).cloned();
            // It may be stored, and opened later.
            if key.is_none() && !self.not_open.is_empty() {
                continue;
            }
            if has_ended(key.as_ref(), issued.as_ref(), self.now) {
                self.revokes_no_more(&id, what(key.as_ref(), issued.as_ref()).as_ref());
                continue;
            }
            let (Some(what), known) = (what(key.as_ref(), issued.as_ref()), key) else {
                continue;
            };
            if self.troubles.is_early(&what) {
                continue;
            }
            let outcome = match (known, issued) {
                (Some(key), _) => self.revoke_of(config, &key, keys, &what, &reason)?,
                (None, Some(issued)) => Err(by_hand(&issued, &id, &reason)),
                (None, None) => continue,
            };
            match outcome {
                Ok(true) => self.troubles.well(&what),
                Ok(false) => {}
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    /// Notes what a revocation by hand takes of each key that is not to be trusted: it may be gone at any time.
    pub(super) fn note_distrusted(&mut self, keys: &Keys) -> Result<(), EnclaveError> {
        for key in keys.all() {
            let reason = self.memory.rotations().urgent(key.id);
            if reason.is_some() && self.is_to_revoke(key, reason) {
                self.note_issued(key)?;
            }
        }
        Ok(())
    }

    /// What was not to be trusted and was wiped, or lost with the enclave, before its certificate was revoked.
    fn look_for_lost(&mut self, keys: &Keys) {
        // It may be stored, and opened later.
        if !self.not_open.is_empty() {
            return;
        }
        let listed = absent::ids(keys);
        for (id, reason) in self.memory.rotations().lost(|id| listed.contains(id)) {
            if let Some(issued) = self.memory.rotations().issued(&id).cloned() {
                let says = format!("{reason}; before its certificate was revoked");
                self.happened_to(Happened::Gone, &id, &issued, None, says);
            }
            self.memory.rotations_mut().lose(id, reason);
        }
    }

    /// Has a certificate revoked that the enclave ordered, whose key is not to be trusted.
    pub(super) fn revoke_by_its_ca(&mut self, config: &Config, key: &KeyInfo) {
        let rotations = self.memory.rotations();
        let Some(reason) = rotations.urgent(key.id).map(str::to_owned) else {
            return;
        };
        let is_asked = |asked: &str| !is_graver(&reason, asked);
        if rotations.revoking_for(key.id).is_some_and(is_asked) || !self.is_for_its_ca(config, key, Some(&reason)) {
            return;
        }
        self.memory.rotations_mut().revoke(key.id, &reason);
    }

    /// Whether the enclave can have a CA revoke it, and that is still to be done.
    pub(super) fn is_for_its_ca(&self, config: &Config, key: &KeyInfo, reason: Option<&str>) -> bool {
        let certificate = config.certificates.get(&key.name);
        let is_acme = certificate.is_some_and(|certificate| matches!(certificate.source, Source::Acme(_)));
        (is_acme || self.memory.attempts().ordered_by(key.id).is_some()) && self.is_to_revoke(key, reason)
    }

    /// Whether a key has a certificate that is valid, and is not revoked or only for less than this reason.
    pub(super) fn is_to_revoke(&self, key: &KeyInfo, reason: Option<&str>) -> bool {
        let is_valid = key.validity.is_some_and(|validity| validity.not_after > self.now);
        let revoked = self.memory.rotations().revoked(key.id);
        is_valid && revoked.is_none_or(|known| reason.is_some_and(|reason| is_graver(reason, known)))
    }

    /// Why servers shall not have a generation (again), in words.
    pub(super) fn distrust(&self, id: KeyId) -> Option<String> {
        let rotations = self.memory.rotations();
        let revoking = || rotations.revoking().into_iter().find(|(key, _)| *key == id.to_string());
        if let Some(reason) = rotations.revoked(id) {
            Some(format!("its certificate is revoked ({reason})"))
        } else if let Some(reason) = rotations.urgent(id) {
            Some(format!("its key was declared not to be trusted ({reason})"))
        } else {
            revoking().map(|(_, reason)| format!("its CA is asked to revoke its certificate ({reason})"))
        }
    }

    /// What is to be said of a certificate's revocations, and of a key that servers have and should not.
    pub(super) fn revocations_of(&self, certificate: &Certificate, keys: &Keys) -> Option<String> {
        let name = &certificate.name;
        let its = keys.of(name);
        let served = its.iter().find(|key| self.machine.gives(key));
        let distrusted = served.and_then(|key| Some((key, self.distrust(key.id)?)));
        let mut said: Vec<_> = distrusted
            .map(|(key, why)| still_served(certificate, key, self.waiting(certificate, its), &why))
            .into_iter()
            .collect();
        said.extend(self.asked_of(name.as_str()));
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// The same of certificates that left the configuration.
    pub(super) fn revocations_of_others(&self, config: &Config) -> Vec<String> {
        let of = |(id, _): &(String, String)| Some(self.memory.rotations().issued(id)?.certificate.clone());
        let names: BTreeSet<_> = self.memory.rotations().revoking().iter().filter_map(of).collect();
        let is_gone = |name: &String| !config.certificates.keys().any(|known| known.as_str() == name);
        let gone = names.into_iter().filter(is_gone);
        gone.flat_map(|name| {
            let asked = self.asked_of(&name);
            asked
                .into_iter()
                .map(move |said| format!("certificate {name}, which is not in the configuration any more: {said}"))
        })
        .collect()
    }

    /// Keys that are not to be trusted and stay, since nothing takes their place: their certificate is not in the configuration.
    pub(super) fn distrusted_of_others(&self, config: &Config, keys: &Keys) -> Vec<String> {
        let rotations = self.memory.rotations();
        let others = keys.all().filter(|key| !config.certificates.contains_key(&key.name));
        let said = others.filter_map(|key| {
            let reason = rotations.urgent(key.id)?;
            let issued = rotations.issued(&key.id.to_string()).filter(|_| !rotations.is_revoking(key.id));
            let revoke = issued.map_or_else(String::new, |issued| {
                format!("have its CA revoke serial number {}, then ", issued.serial)
            });
            Some(format!(
                "certificate {}, which is not in the configuration any more: the key of generation {} was declared not to be trusted \
                 ({reason}) and is still in the enclave: {revoke}`enclave-tlsctl retire {}`",
                key.name, key.generation, key.id
            ))
        });
        let closed = rotations.closed_in_an_emergency();
        let closed = closed.filter(|(name, _)| !config.certificates.contains_key(name));
        let waits = closed.map(|(name, reason)| {
            format!(
                "certificate {name}, which is not in the configuration any more: its keys were declared not to be trusted ({reason}), and \
                 what is stored of it is not open, so none of them could be looked at yet"
            )
        });
        said.chain(waits).collect()
    }

    /// What was asked of CAs and is not done.
    fn asked_of(&self, name: &str) -> Vec<String> {
        let rotations = self.memory.rotations();
        let asked = rotations.revoking().into_iter();
        let said = asked.filter_map(|(id, reason)| {
            let issued = rotations.issued(&id).filter(|issued| issued.certificate == name)?;
            let what = What::Revoke(name.parse().ok()?, issued.generation);
            let why = match self.troubles.why(&what) {
                Some(why) if why.starts_with(LOST) => format!(": {why}"),
                Some(why) => format!(", and is tried again by itself: {why}"),
                None => String::new(),
            };
            Some(format!(
                "generation {}, serial number {}: its revocation was asked for ({reason}) and is not done{why}",
                issued.generation, issued.serial
            ))
        });
        said.collect()
    }

    /// Somebody had a certificate revoked whose key is gone, so that the enclave cannot. Which it was; none: its key is there, or nobody
    /// wanted it revoked.
    pub(super) fn revoked_by_hand(&mut self, keys: &Keys, id: &str, is_dry_run: bool) -> Option<Issued> {
        let issued = self.memory.rotations().issued(id)?.clone();
        if keys.all().any(|key| key.id.to_string() == id) {
            return None;
        }
        if !is_dry_run {
            self.revokes_no_more(id, what(None, Some(&issued)).as_ref());
        }
        Some(issued)
    }

    fn revokes_no_more(&mut self, id: &str, what: Option<&What>) {
        self.memory.rotations_mut().not_revoking(id);
        if let Some(what) = what {
            self.troubles.well(what);
        }
    }

    /// Notes what a revocation by hand takes.
    pub(super) fn note_issued(&mut self, key: &KeyInfo) -> Result<(), EnclaveError> {
        let known = self.memory.rotations().issued(&key.id.to_string());
        let not_after = key.validity.map(|validity| validity.not_after);
        if known.is_some_and(|known| Some(known.not_after) == not_after) {
            return Ok(());
        }
        if self.chains.deployment(&*self.enclave, key)?.is_err() {
            return Ok(());
        }
        if let (Some(serial), Some(validity)) = (self.chains.serial(key), key.validity) {
            let issued = Issued {
                certificate: key.name.to_string(),
                generation: key.generation,
                serial,
                not_after: validity.not_after,
            };
            self.memory.rotations_mut().is_issued(key.id, issued);
        }
        Ok(())
    }

    fn revoke_of(
        &mut self,
        config: &Config,
        key: &KeyInfo,
        keys: &Keys,
        what: &What,
        reason: &str,
    ) -> Result<Result<bool, String>, EnclaveError> {
        match self.account_of(config, key, keys) {
            Some(account) => Ok(its_own(self.revoke_one(key, account, what, reason))?.and_then(|outcome| outcome)),
            None => Ok(Err(format!("{NO_ACCOUNT}; then `enclave-tlsctl retire {}`", key.id))),
        }
    }

    /// Whether it is revoked.
    fn revoke_one(
        &mut self,
        key: &KeyInfo,
        account: control::Account,
        what: &What,
        reason: &str,
    ) -> Result<Result<bool, String>, EnclaveError> {
        let id = JobId {
            kind: JobKind::Revoke,
            key: key.id,
        };
        let phase = match self.enclave.ask(&Request::Job(id))? {
            Reply::Job(state) => state.map(|state| state.phase),
            _ => return Err(EnclaveError::Unexpected),
        };
        let known = self.troubles.why(what).map(str::to_owned);
        match (phase, known) {
            (Some(JobPhase::Waiting | JobPhase::Running(_)), _) => return Ok(Ok(false)),
            (Some(JobPhase::Done(_)), _) if !self.memory.rotations().told_otherwise(key.id, reason) => {}
            (Some(JobPhase::Failed(failure)), _) if self.orders.revoking.remove(&key.id) => {
                self.was_not_revoked(key.id, &account.directory, &failure);
                return Ok(Err(words::not_revoked(&failure)));
            }
            // After the agent's restart nobody has said it.
            (Some(JobPhase::Failed(failure)), None) if self.revokes_later(key.id, &account.directory, false) => {
                return Ok(Err(words::not_revoked(&failure)));
            }
            (_, known) if self.revokes_later(key.id, &account.directory, known.is_some()) => return Ok(Ok(false)),
            // The service has forgotten it, its wait after a failure is over, or the CA was told less: it begins, and waits longer should it
            // fail again.
            (None | Some(JobPhase::Failed(_) | JobPhase::Done(_)), _) => {
                let revoke = Revoke {
                    key: key.id,
                    account,
                    reason: code(reason),
                };
                match self.enclave.ask(&Request::Begin(Job::Revoke(revoke)))? {
                    Reply::Begun(_) => {
                        self.orders.revoking.insert(key.id);
                        self.memory.rotations_mut().tells(key.id, reason);
                        return Ok(Ok(false));
                    }
                    _ => return Err(EnclaveError::Unexpected),
                }
            }
        }
        self.memory.rotations_mut().did_revoke(key.id, reason);
        let event = Event::CertificateRevoked.about().certificate(&key.name);
        event.generation(key.generation).key(key.id).say(format_args!(
            "the certificate of {} generation {} is revoked by its CA",
            key.name, key.generation
        ));
        self.happened(Happened::Revoked, key, None, Some(reason.to_owned()));
        Ok(Ok(true))
    }
}

/// Whether nothing is left to revoke.
fn has_ended(key: Option<&KeyInfo>, issued: Option<&Issued>, now: i64) -> bool {
    let not_after = match key {
        Some(key) => key.validity.map(|validity| validity.not_after),
        None => issued.map(|issued| issued.not_after),
    };
    not_after.is_none_or(|not_after| not_after <= now)
}

fn what(key: Option<&KeyInfo>, issued: Option<&Issued>) -> Option<What> {
    match (key, issued) {
        (Some(key), _) => Some(What::Revoke(key.name.clone(), key.generation)),
        (None, issued) => issued.and_then(|one| Some(What::Revoke(one.certificate.parse().ok()?, one.generation))),
    }
}

/// What is left where the enclave cannot ask any more.
fn by_hand(issued: &Issued, id: &str, reason: &str) -> String {
    format!(
        "{LOST}: have the CA revoke serial number {}, then say so by `enclave-tlsctl revoke \
         {id} --reason {reason}`",
        issued.serial
    )
}

fn still_served(certificate: &Certificate, key: &KeyInfo, waits: Option<&KeyInfo>, why: &str) -> String {
    let name = &certificate.name;
    let next = match (&certificate.source, waits) {
        (Source::Bundle { .. }, _) => "write another bundle (`enclave-tlsctl seal`)".to_owned(),
        (Source::Csr { .. }, Some(waits)) => Note::NeedsChain(waits.id.to_string()).to_string(),
        (Source::Csr { .. } | Source::Acme(_), _) => format!(
            "`enclave-tlsctl rotate {name} --now` has it replaced, and `enclave-tlsctl certificates {name}` says what the newer \
             one waits for"
        ),
    };
    format!("generation {} is still served, and {why}: {next}", key.generation)
}

/// The codes of RFC 5280, section 5.3.1.
fn code(reason: &str) -> u8 {
    match reason {
        "key-compromise" => 1,
        "affiliation-changed" => 3,
        "superseded" => 4,
        "cessation-of-operation" => 5,
        _ => 0,
    }
}

const LOST: &str = "the enclave has its key no more and cannot ask";
const NO_ACCOUNT: &str = "the account that ordered it is no longer in the configuration or has no key; have the CA revoke it by its serial number";
