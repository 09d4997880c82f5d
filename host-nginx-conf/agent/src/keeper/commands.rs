//! What administrators ask of the keeper: `rotate`, `rollback`, `history`, `revoke`. Between two passes, so that nothing else changes
//! meanwhile.

use std::time::Duration;

use enclave_tls_admin::report::{Ask, Change, Happening, Revoke, Rollback, Rotate, Told};
use enclave_tls_config::{Certificate, Config, Source};
use enclave_wire::control::{KeyInfo, Reply, Request};
use enclave_wire::{Name, State};

use super::Keeper;
use super::history::What as Happened;
use super::keys::Keys;
use super::plan::fits;
use super::rotations::{Issued, Wanted};
use super::troubles::What;
use super::wanted::{DUE, once_open};
use super::world::{Enclave, EnclaveError, Helper};
use crate::log::Event;

/// Whether a question is the keeper's to answer.
pub(crate) fn is_for_the_keeper(ask: &Ask) -> bool {
    match ask {
        Ask::Rotate(_) | Ask::Rollback(_) | Ask::History { .. } | Ask::Revoke(_) => true,
        Ask::Report | Ask::Logs { .. } | Ask::RotateCredential { .. } => false,
    }
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Does what an administrator asks for.
    pub(crate) fn command(&mut self, config: &Config, ask: Ask, by: u32) -> Told {
        self.now = self.enclave.now().unwrap_or_else(|| self.clock.now());
        let outcome = match ask {
            Ask::Rotate(rotate) => self.rotate_keys(config, &rotate, by).map(Told::Changes),
            Ask::Rollback(rollback) => self
                .roll_back(config, &rollback, by)
                .map(|change| Told::Changes(vec![change])),
            Ask::Revoke(revoke) => self
                .revoke_certificate(config, &revoke, by)
                .map(|change| Told::Changes(vec![change])),
            Ask::History { certificate } => (self.history.of(&certificate))
                .map(Told::History)
                .map_err(|error| format!("history.jsonl: {error}")),
            Ask::Report | Ask::Logs { .. } | Ask::RotateCredential { .. } => {
                Err("this is not for the keeper".to_owned())
            }
        };
        outcome.unwrap_or_else(Told::Failed)
    }

    fn rotate_keys(&mut self, config: &Config, rotate: &Rotate, by: u32) -> Result<Vec<Change>, String> {
        let certificates: Vec<&Certificate> = match &rotate.certificate {
            Some(name) => vec![certificate(config, name)?],
            None => config.certificates.values().collect(),
        };
        let keys = self.list()?;
        if rotate.dry_run {
            let changes = certificates.into_iter().map(|one| {
                let change = self.would(config, one, &keys, rotate);
                let ends = self.ends(config, one, &keys, rotate);
                with(change, &ends)
            });
            return Ok(changes.collect());
        }
        let ends: Vec<_> = certificates
            .iter()
            .map(|one| self.ends(config, one, &keys, rotate))
            .collect();
        let is_at_once = rotate.now || rotate.certificate.is_some();
        let apart = if is_at_once { 0 } else { spread(certificates.len()) };
        let mut turn = self.memory.counted();
        for certificate in &certificates {
            let distrust = rotate.revoke.clone();
            self.want(
                certificate,
                &keys,
                Wanted {
                    turn,
                    apart,
                    by,
                    distrust,
                },
            );
            self.memory.rotations_mut().gave_turns(turn);
            turn = turn.saturating_add(apart);
        }
        // An agent that is killed from here on goes on with it.
        let noted = self.note_distrusted(&keys);
        self.write_down();
        noted.map_err(|error| error.to_string())?;
        for certificate in &certificates {
            self.note_asked(certificate, rotate, by);
        }
        let event = Event::RotationAsked.about().user(by);
        let which = rotate.certificate.as_deref().unwrap_or("all certificates");
        event.say(format_args!("user {by} asks for new keys of {which}"));
        self.pass(config);
        let after = self.list()?;
        let changes = certificates.into_iter().zip(&ends);
        Ok(changes
            .map(|(one, ends)| with(self.became(config, one, &keys, &after), ends))
            .collect())
    }

    /// What an emergency ends, and who revokes it, in words; nothing: it is none.
    fn ends(&mut self, config: &Config, certificate: &Certificate, keys: &Keys, rotate: &Rotate) -> String {
        let mut its: Vec<_> = keys.of(&certificate.name).iter().collect();
        let is_closed = rotate.revoke.is_some() && self.not_open.contains_key(&certificate.name);
        let all = if is_closed { ALL_ONCE_OPEN } else { "" };
        if rotate.revoke.is_none() || its.is_empty() {
            return all.to_owned();
        }
        its.sort_by_key(|key| key.generation);
        let (mut wiped, mut by_ca, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
        for key in its {
            wiped.push(format!("generation {}", key.generation));
            if !self.is_to_revoke(key, rotate.revoke.as_deref()) {
                continue;
            }
            let is_asked = self.is_for_its_ca(config, key, rotate.revoke.as_deref())
                && self.account_of(config, key, keys).is_some();
            let whose = if is_asked { &mut by_ca } else { &mut by_hand };
            whose.push(format!("generation {} ({})", key.generation, self.serial_of(key)));
        }
        let said = [
            ("wiped once servers have a newer key", wiped),
            ("before that, revoked by the CA, which the enclave asks", by_ca),
            ("you must have your CA revoke, by serial number", by_hand),
        ];
        let said = said.into_iter().filter(|(_, which)| !which.is_empty());
        let said = said.map(|(what, which)| format!("; {what}: {}", which.join(", ")));
        said.chain([all.to_owned()]).collect()
    }

    /// A certificate's serial number, which is asked for.
    fn serial_of(&mut self, key: &KeyInfo) -> String {
        let asked = self.chains.deployment(&*self.enclave, key).map(drop);
        match (asked, self.chains.serial(key)) {
            (_, Some(serial)) => format!("serial number {serial}"),
            (Err(error), None) => format!("serial number unknown: {error}"),
            (Ok(()), None) => "serial number unknown".to_owned(),
        }
    }

    fn note_asked(&mut self, certificate: &Certificate, rotate: &Rotate, by: u32) {
        let happening = Happening {
            at: self.clock.now(),
            certificate: certificate.name.to_string(),
            what: Happened::RotationAsked.as_str().to_owned(),
            by: Some(by),
            says: rotate.revoke.clone(),
            ..Happening::default()
        };
        self.note(&happening);
    }

    /// What a rotation would do.
    fn would(&self, config: &Config, certificate: &Certificate, keys: &Keys, rotate: &Rotate) -> Change {
        let waits = self.waiting(certificate, keys.of(&certificate.name));
        let waits = waits.filter(|_| rotate.revoke.is_none());
        let of = |key: Option<&KeyInfo>, outcome: &str, says: String| Change {
            certificate: certificate.name.to_string(),
            outcome: outcome.to_owned(),
            generation: key.map(|key| key.generation),
            key: key.map(|key| key.id.to_string()),
            says,
            ..Change::default()
        };
        match (waits, &certificate.source) {
            (Some(key), Source::Csr { .. }) => of(waits, "waits", next(key)),
            (Some(_), Source::Acme(_)) => self.ordered(config, certificate, of(waits, "waits", String::new()), None),
            (None, Source::Csr { .. }) => of(None, "would-make", WOULD_MAKE.to_owned()),
            (None, Source::Acme(_)) => of(None, "would-make", WOULD_ORDER.to_owned()),
            (_, Source::Bundle { .. }) => of(None, "would-fetch", WOULD_FETCH.to_owned()),
        }
    }

    /// What a request for a new key came to.
    fn became(&self, config: &Config, certificate: &Certificate, before: &Keys, after: &Keys) -> Change {
        let name = &certificate.name;
        let change = |outcome: &str, key: Option<&KeyInfo>, says: String| Change {
            certificate: name.to_string(),
            outcome: outcome.to_owned(),
            generation: key.map(|key| key.generation),
            key: key.map(|key| key.id.to_string()),
            serial: key.and_then(|key| self.chains.serial(key)),
            says,
            ..Change::default()
        };
        if let Some(wanted) = self.memory.rotations().closed(name) {
            let why = self.not_open.get(name).map_or("", String::as_str);
            return change("due", None, format!("{} ({why})", once_open(wanted)));
        }
        if let Some(asked) = self.memory.rotations().asked(name) {
            let why = self.troubles.why(&What::Make(name.clone()));
            return match why {
                Some(why) => change("failed", None, format!("it is tried again by itself: {why}")),
                None => Change {
                    due: Some(self.time_of(asked.due)),
                    ..change("due", None, DUE.to_owned())
                },
            };
        }
        let is_new = |key: &&KeyInfo| !before.of(name).iter().any(|old| old.id == key.id);
        let new = after.of(name).iter().filter(is_new).max_by_key(|key| key.generation);
        let ordered = |outcome: &str, key: &KeyInfo| {
            let turn = self.memory.attempts().of(key.id).map(|attempt| attempt.not_before);
            let change = change(outcome, Some(key), String::new());
            let change = self.ordered(config, certificate, change, turn);
            let failed = Some(key.id).filter(|id| self.orders.just_failed.contains(id));
            // What is left to wait for is no turn, but our own wait after that.
            match failed.and_then(|id| self.memory.attempts().of(id)?.why.as_deref()) {
                Some(why) => Change {
                    says: format!("its order failed, and is tried again by itself: {why}"),
                    ..change
                },
                None => change,
            }
        };
        match (new, self.waiting(certificate, after.of(name)), &certificate.source) {
            (Some(key), _, Source::Csr { .. }) => change("made", Some(key), next(key)),
            (Some(key), _, Source::Acme(_)) => ordered("made", key),
            (Some(key), _, Source::Bundle { .. }) => change("fetched", Some(key), CHANGES_OVER.to_owned()),
            (None, Some(key), Source::Csr { .. }) => change("waits", Some(key), next(key)),
            (None, Some(key), Source::Acme(_)) => ordered("waits", key),
            (None, _, Source::Csr { .. } | Source::Acme(_) | Source::Bundle { .. }) => {
                change("unchanged", None, SAME_BUNDLE.to_owned())
            }
        }
    }

    fn roll_back(&mut self, config: &Config, rollback: &Rollback, by: u32) -> Result<Change, String> {
        let certificate = certificate(config, &rollback.certificate)?;
        let name = &certificate.name;
        let mut keys = self.list()?;
        let live = self.plan(config, certificate, &keys, false).live.cloned();
        let target = target(certificate, keys.of(name), live.as_ref(), rollback.to, self.now)?.clone();
        if let Some(why) = self.distrust(target.id) {
            return Err(format!(
                "servers do not get generation {} of {name} again: {why}. `enclave-tlsctl rotate {name} --now` makes a new key; --to N names \
                 another generation (`enclave-tlsctl certificates {name}`)",
                target.generation
            ));
        }
        let change = |outcome: &str, says: String| Change {
            certificate: name.to_string(),
            outcome: outcome.to_owned(),
            generation: Some(target.generation),
            key: Some(target.id.to_string()),
            serial: self.chains.serial(&target),
            due: None,
            says,
        };
        if rollback.dry_run {
            return Ok(change("would-roll-back", WOULD_ROLL_BACK.to_owned()));
        }
        // First the older one lives, then the newer ones step back: whatever comes between, one of them is live.
        self.change(&Request::Reinstate(target.id), &mut keys)?;
        let newer: Vec<KeyInfo> = keys
            .of(name)
            .iter()
            .filter(|key| is_newer(key, &target))
            .cloned()
            .collect();
        for key in newer {
            self.change(&Request::Supersede(key.id), &mut keys)?;
        }
        self.memory.forget(target.id);
        self.memory.rotations_mut().decided(name);
        self.memory.rotations_mut().answered(name);
        let event = Event::CertificateRolledBack.about().certificate(name).user(by);
        event.generation(target.generation).key(target.id).say(format_args!(
            "user {by} goes back to {name} generation {}",
            target.generation
        ));
        self.happened(Happened::RolledBack, &target, Some(by), None);
        self.run_hook(config, &target, "rolled-back");
        self.pass(config);
        let is_served = self.machine.gives(&target) && self.is_served(certificate);
        let says = if is_served {
            ROLLED_BACK.to_owned()
        } else {
            ROLLING_BACK.to_owned()
        };
        Ok(Change {
            certificate: name.to_string(),
            outcome: "rolled-back".to_owned(),
            generation: Some(target.generation),
            key: Some(target.id.to_string()),
            serial: self.chains.serial(&target),
            due: None,
            says,
        })
    }

    fn revoke_certificate(&mut self, config: &Config, revoke: &Revoke, by: u32) -> Result<Change, String> {
        let keys = self.list()?;
        if let Some(issued) = self.revoked_by_hand(&keys, &revoke.what, revoke.dry_run) {
            if !revoke.dry_run {
                self.write_down();
                let says = format!("{}, by hand", revoke.reason);
                self.happened_to(Happened::Revoked, &revoke.what, &issued, Some(by), says);
            }
            return Ok(by_hand(issued, revoke));
        }
        let key = meant(config, &keys, &revoke.what, |certificate| {
            self.plan(config, certificate, &keys, false).live
        })?
        .clone();
        if key.validity.is_none() {
            return Err(
                "the key has no certificate, so there is nothing to revoke; `enclave-tlsctl retire` ends the key"
                    .to_owned(),
            );
        }
        let is_ordered = config
            .certificates
            .get(&key.name)
            .is_some_and(|one| matches!(one.source, Source::Acme(_)));
        // So that its serial number is known.
        self.chains
            .deployment(&*self.enclave, &key)
            .map(drop)
            .map_err(|error| error.to_string())?;
        let serial = self.chains.serial(&key);
        let would = if revoke.dry_run { "would-" } else { "" };
        let change = Change {
            certificate: key.name.to_string(),
            outcome: format!("{would}ask-ca"),
            generation: Some(key.generation),
            key: Some(key.id.to_string()),
            says: format!(
                "have the CA that issued it revoke serial number {}, reason {}; it is not for the enclave to do. `enclave-tlsctl rotate \
                 {} --revoke --reason {}` also replaces the key and ends it",
                serial.as_deref().unwrap_or("(unknown)"),
                revoke.reason,
                key.name,
                revoke.reason
            ),
            serial,
            due: None,
        };
        if !revoke.dry_run {
            if is_ordered {
                self.note_issued(&key).map_err(|error| error.to_string())?;
                self.memory.rotations_mut().revoke(key.id, &revoke.reason);
                self.troubles.well(&What::Revoke(key.name.clone(), key.generation));
                self.write_down();
            }
            self.happened(Happened::RevocationAsked, &key, Some(by), Some(revoke.reason.clone()));
        }
        if !is_ordered {
            return Ok(change);
        }
        if !revoke.dry_run {
            self.pass(config);
        }
        Ok(Change {
            outcome: format!("{would}revoke"),
            says: REVOKING.to_owned(),
            ..change
        })
    }

    fn list(&mut self) -> Result<Keys, String> {
        self.listed().map_err(|error| error.to_string())
    }

    fn change(&self, request: &Request, keys: &mut Keys) -> Result<(), String> {
        match self.enclave.ask(request) {
            Ok(Reply::Reinstated(key) | Reply::Superseded(key)) => {
                keys.put(key);
                Ok(())
            }
            Ok(_) => Err(EnclaveError::Unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn certificate<'a>(config: &'a Config, name: &str) -> Result<&'a Certificate, String> {
    let parsed: Option<Name> = name.parse().ok();
    let found = parsed.and_then(|name| config.certificates.get(&name));
    found.ok_or_else(|| {
        format!("the configuration has no certificate {name}; `enclave-tlsctl certificates` shows those that it has")
    })
}

/// The key that a name or an id means.
fn meant<'a>(
    config: &Config,
    keys: &'a Keys,
    what: &str,
    live: impl FnOnce(&Certificate) -> Option<&'a KeyInfo>,
) -> Result<&'a KeyInfo, String> {
    let by_id = keys.all().find(|key| key.id.to_string() == what);
    if let Some(key) = by_id {
        return Ok(key);
    }
    live(certificate(config, what)?).ok_or_else(|| format!("nothing is live of {what}; name a key by its id"))
}

/// The same with what an emergency ends.
fn with(change: Change, ends: &str) -> Change {
    // What is not to be trusted is what servers still have.
    let is_in_vain = change.outcome == "unchanged" && !ends.is_empty();
    Change {
        outcome: if is_in_vain {
            "failed".to_owned()
        } else {
            change.outcome
        },
        says: format!("{}{ends}", change.says),
        ..change
    }
}

/// What is left to do of a certificate whose key is gone.
fn by_hand(issued: Issued, revoke: &Revoke) -> Change {
    let outcome = if revoke.dry_run { "would-ask-ca" } else { "ask-ca" };
    Change {
        certificate: issued.certificate,
        outcome: outcome.to_owned(),
        generation: Some(issued.generation),
        key: Some(revoke.what.clone()),
        says: format!(
            "its key is gone, so have the CA revoke serial number {} unless you have; `status` speaks of it no longer",
            issued.serial
        ),
        serial: Some(issued.serial),
        due: None,
    }
}

/// The generation to go back to.
fn target<'a>(
    certificate: &Certificate,
    its: &'a [KeyInfo],
    live: Option<&KeyInfo>,
    to: Option<u32>,
    now: i64,
) -> Result<&'a KeyInfo, String> {
    let name = &certificate.name;
    let good = |key: &&KeyInfo| fits(certificate, key) && key.validity.is_some_and(|validity| validity.not_after > now);
    if let Some(number) = to {
        let key = its.iter().find(|key| key.generation == number);
        let key = key.ok_or_else(|| {
            format!("the enclave has no generation {number} of {name}: what is retired does not come back")
        })?;
        if live.is_some_and(|live| live.id == key.id) {
            return Err(format!("generation {number} of {name} is what is live already"));
        }
        return Some(key).filter(good).ok_or_else(|| {
            format!("generation {number} of {name} has no certificate that is valid now and as the configuration says; name another")
        });
    }
    let live = live.ok_or_else(|| format!("nothing is live of {name}: say --to GENERATION"))?;
    let older = its.iter().filter(|key| key.generation < live.generation).filter(good);
    older
        .max_by_key(|key| key.generation)
        .ok_or_else(|| format!("there is no older generation of {name} with a certificate that is valid now; `enclave-tlsctl rotate {name}` makes a new one"))
}

fn is_newer(key: &KeyInfo, target: &KeyInfo) -> bool {
    key.generation > target.generation && key.validity.is_some() && key.state == State::Live
}

/// Seconds between two certificates, so that neither CAs nor KMS nor servers have all of them at once.
fn spread(count: usize) -> u64 {
    let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
    WITHIN.as_secs().div_euclid(count).min(APART.as_secs())
}

fn next(key: &KeyInfo) -> String {
    let (id, name) = (key.id, &key.name);
    format!(
        "have your CA sign its request: `enclave-tlsctl csr {id} --out {name}.csr`, then `enclave-tlsctl install {id} CHAIN.pem`; servers \
         change over by themselves"
    )
}

const REVOKING: &str = "the enclave asks the CA that issued it, until it is done or the certificate has ended: `enclave-tlsctl status`. The key signs on; `rotate --revoke` \
     replaces it and ends it";
const ALL_ONCE_OPEN: &str = "; of what is stored and not open, all keys: which they are is known once they are";
const CHANGES_OVER: &str = "servers change over by themselves; `enclave-tlsctl certificates` says how far it is";
const SAME_BUNDLE: &str =
    "its bundle is the one that the enclave has: write another (`enclave-tlsctl seal`), then ask again";
const WOULD_MAKE: &str =
    "a new key would be made, for your CA to certify; servers keep the older one until its certificate is installed";
const WOULD_ORDER: &str = "a new key would be made, and the enclave would order its certificate";
const WOULD_FETCH: &str = "its bundle would be read again";
const WOULD_ROLL_BACK: &str =
    "servers would get this generation again; newer ones would still sign, for workers that have them";
const ROLLED_BACK: &str = "servers have it again; newer ones still sign, for workers that have them";
const ROLLING_BACK: &str = "servers do not have it yet; `enclave-tlsctl certificates` says why";
/// Between two certificates of a rotation of all.
const APART: Duration = Duration::from_secs(30);
/// All of them.
const WITHIN: Duration = Duration::from_secs(86_400);
