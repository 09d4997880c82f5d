//! Certificates that the enclave orders: an order for each key that waits, by its account, and the question to the CA when to renew.
//!
//! Who speaks to the CA is the enclave; here is decided when. Each certificate waits by itself. A key whose order failed is ordered for
//! again, so no heap of keys comes of it, and what servers have stays what it is until another has come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use enclave_tls_admin::schedule::Schedule;
use enclave_tls_admin::{acme, hex};
use enclave_tls_config::{Account, Acme, Certificate, Challenge, Config};
use enclave_wire::State;
use enclave_wire::control::{
    self, ChallengeKind, ControlError, Job, JobError, JobFailure, JobId, JobKind, JobOutcome, JobPhase, JobState,
    KeyInfo, Order, Renewal, Reply, Request, Url,
};
use enclave_wire::log::Text;
use enclave_wire::{KeyId, Name};
use sha2::{Digest, Sha256};

use super::attempts::{self, By};
use super::keys::Keys;
use super::plan::fits;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;

/// What is known of jobs in this run of the agent.
#[derive(Default)]
pub(super) struct Orders {
    /// What those that are under way are at, for people.
    pub(super) progress: BTreeMap<KeyId, String>,
    /// Keys of which the CA is being asked when to renew them.
    asking: BTreeSet<KeyId>,
    /// Keys whose order, or account, failed in the last pass.
    pub(super) just_failed: BTreeSet<KeyId>,
    /// Keys whose revocation was begun, and how it ends is not known.
    pub(super) revoking: BTreeSet<KeyId>,
    /// Revocations that failed: how often, and as counted not before when they are begun again.
    not_revoked: BTreeMap<KeyId, (u32, u64)>,
    /// Since when a certificate's order waits for its account, in [`Clock::monotonic`](crate::clock::Clock::monotonic).
    waits: BTreeMap<Name, Duration>,
    /// Accounts that were found or registered, with what of the configuration.
    pub(super) registered: BTreeMap<KeyId, String>,
    /// Whether something came in this pass that the next one, at once, goes on with: an account's key, or that a renewal is due.
    pub(super) is_to_go_on: bool,
    /// The enclave's time of day, and [`Clock::monotonic`](crate::clock::Clock::monotonic) when it said so.
    time: Option<(i64, Duration)>,
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Begins what is to be begun, and looks at what is under way.
    pub(super) fn order(&mut self, config: &Config, keys: &mut Keys) -> Result<(), EnclaveError> {
        self.orders.just_failed.clear();
        self.accounts(config, keys)?;
        let is_there = |name: &Name| config.certificates.contains_key(name);
        self.orders.waits.retain(|name, _| is_there(name));
        self.forget_questions(config, keys);
        for certificate in config.certificates.values() {
            let Some(acme) = certificate.source.acme() else {
                continue;
            };
            let Some(key) = newest(certificate, keys).cloned() else {
                self.has_account(&certificate.name);
                continue;
            };
            let what = What::Order(certificate.name.clone());
            if key.validity.is_some() {
                self.has_come(certificate, &key);
                self.ask_when(config, acme, &key)?;
                continue;
            }
            match its_own(self.order_one(config, certificate, acme, &key, keys))? {
                Ok(()) => {}
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    /// Whether another key is to be made for a certificate, whose renewal is due.
    pub(super) fn is_due(&mut self, certificate: &Certificate, keys: &Keys) -> bool {
        let Some(schedule) = self.schedule(certificate, keys) else {
            return false;
        };
        let validity = newest(certificate, keys).and_then(|key| key.validity);
        let is_early = validity.is_some_and(|validity| schedule.is_early(validity));
        let (attempts, now) = (self.memory.attempts(), self.memory.counted());
        let may_be = !is_early || attempts.may_be_early(certificate.name.as_str(), now);
        may_be && self.enclave_now().is_some_and(|now| schedule.at <= now)
    }

    /// When a certificate is to be renewed; none: it is not the enclave's to order, or is being ordered.
    pub(super) fn schedule(&self, certificate: &Certificate, keys: &Keys) -> Option<Schedule> {
        certificate.source.acme()?;
        let key = newest(certificate, keys)?;
        let window = self.memory.attempts().window(key.id);
        Some(Schedule::of(key.id, key.validity?, window))
    }

    /// The enclave's time of day, by which renewals go: the parent's may be set.
    pub(super) fn enclave_now(&mut self) -> Option<i64> {
        let now = self.clock.monotonic();
        let is_old = self
            .orders
            .time
            .is_none_or(|(_, asked)| now.saturating_sub(asked) >= ASK_TIME_EVERY);
        if is_old && let Some(said) = self.enclave.now() {
            self.orders.time = Some((said, now));
        }
        let (said, asked) = self.orders.time?;
        Some(said.saturating_add_unsigned(now.saturating_sub(asked).as_secs()))
    }

    fn order_one(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        acme: &Acme,
        key: &KeyInfo,
        keys: &Keys,
    ) -> Result<(), EnclaveError> {
        let Some((account, its_key)) = self.ready_account(config, acme, keys) else {
            self.waits_for_account(certificate, &acme.account, key.id);
            return Ok(());
        };
        self.has_account(&certificate.name);
        let id = JobId {
            kind: JobKind::Order,
            key: key.id,
        };
        if self.is_under_way(key.id)
            && let Some(state) = self.job(id)?
        {
            self.follow_order(certificate, key.id, &state);
            return Ok(());
        }
        let with = digest(&(acme, account, &config.dns01, &config.http01, &config.egress.allow));
        let now = self.memory.counted();
        let attempts = self.memory.attempts();
        let directory = account.directory.url();
        if attempts.told_until(&certificate.name, directory, now).is_some()
            || attempts.is_early(key.id, &with, now)
            || attempts.under_way() >= MAX_UNDER_WAY
        {
            return Ok(());
        }
        let its_account = match super::accounts::job_of(account, its_key) {
            Ok(its_account) => its_account,
            Err(why) => {
                self.troubles.failed(What::Account(acme.account.clone()), &why);
                return Ok(());
            }
        };
        let (by, attempts) = (By::of(&its_account), self.memory.attempts());
        if attempts.is_limited(&by, now) {
            self.orders.progress.insert(key.id, LIMITED.to_owned());
            return Ok(());
        }
        let resume = attempts.url(key.id, &by);
        let order = order_of(key.id, its_account, acme, resume);
        let event = Event::CertificateOrdered.about().certificate(&key.name);
        let event = event.generation(key.generation).key(key.id);
        let state = self.begin(Job::Order(order), key.id, &with)?;
        event.say(format_args!(
            "{} generation {} is ordered by {}",
            key.name, key.generation, acme.account
        ));
        if let Some(state) = state {
            self.follow_order(certificate, key.id, &state);
        }
        Ok(())
    }

    /// An order waits for its account, which takes a moment. After a while somebody is told: where the account says nothing of its own, it
    /// does so in one line for all that wait.
    fn waits_for_account(&mut self, certificate: &Certificate, account: &Name, id: KeyId) {
        let waits = format!("it waits for its account {account}");
        let now = self.clock.monotonic();
        let since = *self.orders.waits.entry(certificate.name.clone()).or_insert(now);
        if now.saturating_sub(since) >= WAITS_LONG {
            let of_account = What::Account(account.clone());
            let known = self.troubles.why(&of_account).map(str::to_owned);
            let not_open = || self.not_open.get(account).map(|why| format!("{NOT_OPEN}: {why}"));
            let why = known.or_else(not_open).unwrap_or_else(|| {
                self.troubles.failed(of_account, NOT_REGISTERED);
                NOT_REGISTERED.to_owned()
            });
            let why = format!("{waits}: {why}").into();
            self.troubles.note(What::Order(certificate.name.clone()), &why);
        }
        self.orders.progress.insert(id, waits);
    }

    /// Its order does not wait for its account, or no longer.
    fn has_account(&mut self, certificate: &Name) {
        let since = self.orders.waits.remove(certificate);
        if since.is_some_and(|since| self.clock.monotonic().saturating_sub(since) >= WAITS_LONG) {
            self.troubles.well(&What::Order(certificate.clone()));
        }
    }

    /// Has the enclave begin a job. What it refuses has failed: then there is no state.
    pub(super) fn begin(&mut self, job: Job, id: KeyId, with: &str) -> Result<Option<JobState>, EnclaveError> {
        let by = match &job {
            Job::Order(order) => Some(By::of(&order.account)),
            Job::Account(_) | Job::Renewal(_) | Job::Revoke(_) | Job::Caa(_) => None,
        };
        match self.enclave.ask(&Request::Begin(job)) {
            Ok(Reply::Begun(state)) => {
                self.memory.attempts_mut().began(id, with, by);
                Ok(Some(state))
            }
            Ok(_) => Err(EnclaveError::Unexpected),
            Err(EnclaveError::Refused(rule)) => {
                self.memory.attempts_mut().began(id, with, by);
                self.failed(id, &refused(rule));
                Err(EnclaveError::Refused(rule))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn is_under_way(&self, id: KeyId) -> bool {
        self.memory.attempts().of(id).is_some_and(|attempt| attempt.begun)
    }

    /// Whether a key that no server will get may still get a certificate by an order that was begun. Where an order failed that the CA may
    /// be at work on yet, it is looked at again, some times: the enclave orders nothing new for such a key.
    pub(super) fn is_being_ordered(
        &mut self,
        config: &Config,
        key: &KeyInfo,
        keys: &Keys,
    ) -> Result<bool, EnclaveError> {
        if self.is_under_way(key.id) {
            let kind = JobKind::Order;
            match self.job(JobId { kind, key: key.id })?.map(|state| state.phase) {
                Some(JobPhase::Failed(failure)) => self.failed(key.id, &failure),
                // One that is done has a certificate, which the next list of keys shows.
                Some(_) => return Ok(true),
                None => {}
            }
        }
        let (attempts, now) = (self.memory.attempts(), self.memory.counted());
        let of = attempts.of(key.id).filter(|attempt| attempt.failures <= LOOKS_AGAIN);
        let resume = attempts.by(key.id).and_then(|by| attempts.url(key.id, by));
        let (Some(attempt), Some(resume)) = (of, resume) else {
            return Ok(false);
        };
        if attempt.not_before > now {
            return Ok(true);
        }
        let certificate = config.certificates.get(&key.name);
        let acme = certificate.and_then(|one| one.source.acme());
        let (Some(acme), Some(account)) = (acme, self.account_of(config, key, keys)) else {
            return Ok(false);
        };
        let order = order_of(key.id, account, acme, Some(resume));
        // What is refused is counted as a failure.
        let _counted = its_own(self.begin(Job::Order(order), key.id, LOOKED_AT))?;
        Ok(true)
    }

    /// How far a job is. None: the enclave was restarted since it was begun.
    pub(super) fn job(&mut self, id: JobId) -> Result<Option<JobState>, EnclaveError> {
        match self.enclave.ask(&Request::Job(id))? {
            Reply::Job(Some(state)) => Ok(Some(state)),
            Reply::Job(None) => {
                self.memory.attempts_mut().was_forgotten(id.key);
                Ok(None)
            }
            _ => Err(EnclaveError::Unexpected),
        }
    }

    fn follow_order(&mut self, certificate: &Certificate, id: KeyId, state: &JobState) {
        // The configuration may name another account since it was begun.
        let by = self.memory.attempts().by(id).cloned();
        if let Some(url) = &state.order
            && by.as_ref().and_then(|by| self.memory.attempts().url(id, by)).as_ref() != Some(url)
        {
            self.memory.attempts_mut().is_at(id, url);
        }
        match &state.phase {
            JobPhase::Waiting => drop(self.orders.progress.insert(id, "other orders are before it".to_owned())),
            JobPhase::Running(at) => drop(self.orders.progress.insert(id, at.as_str().to_owned())),
            // The key is listed with its certificate from now on.
            JobPhase::Done(outcome) => {
                self.orders.progress.remove(&id);
                if let (JobOutcome::Certificate(issued), Some(by)) = (outcome, &by) {
                    self.memory.attempts_mut().registered(&by.key, &issued.account);
                }
            }
            JobPhase::Failed(failure) => {
                self.failed(id, failure);
                if let Some(by) = &by {
                    self.told(&certificate.name, &by.directory(), failure);
                    let (now, enclave_now) = (self.memory.counted(), self.enclave_time());
                    self.memory.attempts_mut().limited(by, failure, now, enclave_now);
                }
                self.troubles
                    .failed(What::Order(certificate.name.clone()), &acme::failed(failure));
            }
        }
    }

    pub(super) fn failed(&mut self, id: KeyId, failure: &JobFailure) {
        let (now, enclave_now) = (self.memory.counted(), self.enclave_time());
        self.orders.progress.remove(&id);
        self.orders.just_failed.insert(id);
        self.memory.attempts_mut().failed(id, failure, now, enclave_now);
    }

    /// A CA may have said when to come again.
    pub(super) fn told(&mut self, name: &Name, directory: &Url, failure: &JobFailure) {
        let (now, enclave_now) = (self.memory.counted(), self.enclave_time());
        let attempts = self.memory.attempts_mut();
        attempts.told(name, directory, failure, now, enclave_now);
    }

    /// By which CAs say when to come again: the enclave's time of day, or the parent's where nobody knows that.
    pub(super) fn enclave_time(&mut self) -> i64 {
        self.enclave_now().unwrap_or_else(|| self.clock.now())
    }

    /// A revocation failed. CAs count them too, and what one refuses it refuses again.
    pub(super) fn was_not_revoked(&mut self, id: KeyId, directory: &Url, failure: &JobFailure) {
        let (now, enclave_now) = (self.memory.counted(), self.enclave_time());
        let attempts = self.memory.attempts_mut();
        attempts.told_of_revocation(id, directory, failure, now, enclave_now);
        let (failures, not_before) = self.orders.not_revoked.entry(id).or_default();
        *failures = failures.saturating_add(1);
        *not_before = now.saturating_add(attempts::revocation_waits(*failures));
    }

    /// Whether it is too early to ask a CA again: it said so, or, where that is to be waited for, we did.
    pub(super) fn revokes_later(&self, id: KeyId, directory: &Url, is_waiting: bool) -> bool {
        let now = self.memory.counted();
        let own = self.orders.not_revoked.get(&id);
        let is_early = is_waiting && own.is_some_and(|(_, not_before)| *not_before > now);
        is_early || self.memory.attempts().is_told_of_revocation(id, directory, now)
    }

    /// A key has its certificate: if it was ordered, it has come.
    fn has_come(&mut self, certificate: &Certificate, key: &KeyInfo) {
        self.orders.waits.remove(&certificate.name);
        self.orders.progress.remove(&key.id);
        self.troubles.well(&What::Order(certificate.name.clone()));
        if self.memory.attempts().of(key.id).is_none() {
            return;
        }
        let (at, now) = (self.clock.now(), self.memory.counted());
        self.memory.attempts_mut().has_come(key.id, key.name.as_str(), at, now);
        let event = Event::CertificateIssued
            .about()
            .certificate(&key.name)
            .generation(key.generation);
        event.key(key.id).say(format_args!(
            "{} generation {} has its certificate",
            key.name, key.generation
        ));
    }

    /// Nobody waits for what the CA says of a key that another has taken the place of: others are asked about in its stead. Nor does a key
    /// that is gone have a next attempt to be revoked.
    fn forget_questions(&mut self, config: &Config, keys: &Keys) {
        let ordered = config.certificates.values().filter(|one| one.source.acme().is_some());
        let certified = ordered.filter_map(|one| newest(one, keys).filter(|key| key.validity.is_some()));
        let awaited: BTreeSet<KeyId> = certified.map(|key| key.id).collect();
        self.orders.asking.retain(|id| awaited.contains(id));
        if !self.orders.not_revoked.is_empty() {
            let listed: BTreeSet<KeyId> = keys.all().map(|key| key.id).collect();
            self.orders.not_revoked.retain(|id, _| listed.contains(id));
        }
    }

    /// Asks the CA when to renew, as often as it wants to be asked.
    fn ask_when(&mut self, config: &Config, acme: &Acme, key: &KeyInfo) -> Result<(), EnclaveError> {
        let id = JobId {
            kind: JobKind::Renewal,
            key: key.id,
        };
        let asked = if self.orders.asking.contains(&key.id) {
            self.enclave.ask(&Request::Job(id))?
        } else {
            let now = self.memory.counted();
            let is_asked = !self.memory.attempts().is_to_be_asked(key.id, now);
            let Some(account) = config.accounts.get(&acme.account).filter(|_| !is_asked) else {
                return Ok(());
            };
            if self.orders.asking.len() >= MAX_ASKING {
                return Ok(());
            }
            let directory = account.directory.url().clone();
            self.orders.asking.insert(key.id);
            match self
                .enclave
                .ask(&Request::Begin(Job::Renewal(Renewal { key: key.id, directory })))
            {
                Ok(Reply::Begun(state)) => Reply::Job(Some(state)),
                Err(error) if !error.is_away() => Reply::Error(ControlError::Failed),
                Err(error) => {
                    self.orders.asking.remove(&key.id);
                    return Err(error);
                }
                Ok(_) => Reply::Error(ControlError::Failed),
            }
        };
        let said = match asked {
            Reply::Job(Some(state)) => match state.phase {
                JobPhase::Waiting | JobPhase::Running(_) => return Ok(()),
                JobPhase::Done(JobOutcome::Renewal(window)) => Ok(window),
                JobPhase::Failed(failure) => Err(attempts::told(&failure, self.enclave_time())),
                JobPhase::Done(_) => Err(0),
            },
            // The enclave was restarted.
            Reply::Job(None) => {
                self.orders.asking.remove(&key.id);
                return Ok(());
            }
            _ => Err(0),
        };
        self.orders.asking.remove(&key.id);
        let now = self.memory.counted();
        self.memory
            .attempts_mut()
            .said(key.id, said.as_ref().map_err(|told| *told), now);
        let window = self.memory.attempts().window(key.id);
        let at = key.validity.map(|validity| Schedule::of(key.id, validity, window).at);
        let is_due = at.zip(self.enclave_now()).is_some_and(|(at, now)| at <= now);
        self.orders.is_to_go_on |= is_due;
        Ok(())
    }

    /// The account that orders, and its key, once it is registered.
    fn ready_account<'a>(&self, config: &'a Config, acme: &Acme, keys: &Keys) -> Option<(&'a Account, KeyId)> {
        let account = config.accounts.get(&acme.account)?;
        let key = super::accounts::key_of(&acme.account, keys)?;
        self.memory.attempts().account(key.id).map(|_| (account, key.id))
    }
}

/// The newest key that fits and is not superseded.
pub(super) fn newest<'a>(certificate: &Certificate, keys: &'a Keys) -> Option<&'a KeyInfo> {
    let its = keys.of(&certificate.name).iter();
    let standing = its.filter(|key| key.state == State::Live && fits(certificate, key));
    standing.max_by_key(|key| key.generation)
}

fn order_of(key: KeyId, account: control::Account, acme: &Acme, resume: Option<Url>) -> Order {
    Order {
        key,
        account,
        challenge: match acme.challenge {
            Challenge::Http01 => ChallengeKind::Http01,
            // Where a CA asks for a proof all the same, nobody publishes one.
            Challenge::Dns01 | Challenge::None => ChallengeKind::Dns01,
        },
        profile: acme.profile.clone(),
        preferred_chain: acme.preferred_chain.clone(),
        resume,
    }
}

/// What stands for a part of the configuration: with another it is tried at once.
pub(super) fn digest(part: &impl std::fmt::Debug) -> String {
    let digest = Sha256::digest(format!("{part:?}"));
    hex::encode(digest.get(..16).unwrap_or_default())
}

/// The service's own refusal, as the failure that it is.
pub(super) fn refused(rule: ControlError) -> JobFailure {
    JobFailure {
        error: JobError::Service,
        rule: Some(rule),
        detail: Text::lossy(""),
        retry_at: None,
    }
}

/// Registering takes seconds, and is tried again within a minute.
const WAITS_LONG: Duration = Duration::from_secs(90);
pub(super) const NOT_OPEN: &str = "what is stored of it is not open";
const LIMITED: &str = "the CA limits its account: this order waits for a quarter of an hour at most";
const NOT_REGISTERED: &str =
    "orders wait for it, and it has not been registered for more than a minute; the enclave's log says how far that is";
/// As a part of the configuration: an order that is only looked at.
const LOOKED_AT: &str = "looked at";
/// Failures: within hours a CA has issued or given up.
const LOOKS_AGAIN: u32 = 8;
/// Twice as many as the enclave has at work at once.
const MAX_UNDER_WAY: usize = 16;
/// CAs answer in milliseconds, and there is no hurry.
const MAX_ASKING: usize = 4;
/// The enclave's clock and the parent's drift apart by less than a second in it.
const ASK_TIME_EVERY: Duration = Duration::from_mins(10);
