//! What the enclave's jobs come to: a CA that answers, is slow, refuses, or is away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use enclave_wire::Chain;
use enclave_wire::KeyId;
use enclave_wire::control::{
    ControlError, Issued, Job, JobError, JobFailure, JobId, JobKind, JobOutcome, JobPhase, JobState, Order,
    RenewalWindow, Reply, Url, Validity,
};
use enclave_wire::log::Text;

use super::leaf;
use super::worlds::{EnclaveState, seed};
use crate::clock::Clock;
use crate::clock::tests::Simulated;

/// A CA, and the jobs of the enclave.
#[derive(Default)]
pub(in super::super) struct Ca {
    clock: Option<Arc<Simulated>>,
    jobs: BTreeMap<JobId, (JobState, Duration)>,
    /// Orders that were begun: when, whose, and what was given to resume.
    pub(in super::super) orders: Vec<(Duration, KeyId, Option<Url>)>,
    /// When it was asked about renewal.
    pub(in super::super) asked: Vec<Duration>,
    /// How orders end, but for those that are right.
    pub(in super::super) fails: Option<JobFailure>,
    /// Only orders of these certificates fail.
    pub(in super::super) only: BTreeSet<String>,
    /// The contacts of each account that was begun.
    pub(in super::super) accounts: Vec<Vec<String>>,
    /// How accounts end.
    pub(in super::super) refuses_accounts: Option<JobFailure>,
    /// Accounts are under way until the jobs are forgotten.
    pub(in super::super) slow_accounts: bool,
    /// Questions about renewal are under way until the jobs are forgotten.
    pub(in super::super) slow_renewals: bool,
    /// How questions about renewal end, but for those that are answered.
    pub(in super::super) refuses_renewals: Option<JobFailure>,
    /// How revocations end, but for those that are right.
    pub(in super::super) refuses_revocations: Option<JobFailure>,
    /// Keys whose certificates it was asked to revoke, each time.
    pub(in super::super) revocations: Vec<KeyId>,
    /// The same: why.
    pub(in super::super) reasons: Vec<u8>,
    /// By which account's key, and at which CA.
    pub(in super::super) revokers: Vec<(KeyId, Url)>,
    /// How long an order takes.
    pub(in super::super) takes: Duration,
    /// How long that of one key takes.
    pub(in super::super) slow: Option<(KeyId, Duration)>,
    pub(in super::super) lifetime: i64,
    /// What it says of renewal.
    pub(in super::super) window: Option<Validity>,
    pub(in super::super) most_at_once: usize,
}

impl Ca {
    pub(in super::super) fn new(clock: Arc<Simulated>) -> Self {
        Self {
            clock: Some(clock),
            lifetime: 90 * 86_400,
            ..Self::default()
        }
    }

    /// The enclave's time of day, which nobody sets.
    pub(in super::super) fn now(&self) -> i64 {
        1_800_000_000 + i64::try_from(self.monotonic().as_secs()).unwrap()
    }

    /// The same, where there is a CA.
    pub(in super::super) fn time(&self) -> Option<i64> {
        self.clock.as_ref().map(|_| self.now())
    }

    fn monotonic(&self) -> Duration {
        self.clock.as_ref().unwrap().monotonic()
    }
}

impl EnclaveState {
    pub(super) fn begin(&mut self, job: &Job) -> Reply {
        let id = job.id();
        let at = self.ca.monotonic();
        let is_running = |phase: &JobPhase| matches!(phase, JobPhase::Waiting | JobPhase::Running(_));
        if let Some((state, _)) = self.ca.jobs.get(&id).filter(|(state, _)| is_running(&state.phase)) {
            return Reply::Begun(state.clone());
        }
        if let Job::Order(order) = job
            && let Some(resume) = &order.resume
            && server(resume) != server(&order.account.directory)
        {
            return Reply::Error(ControlError::DirectoryRefused);
        }
        let (phase, order) = match job {
            Job::Account(account) => {
                assert!(account.terms_agreed);
                let contacts = account.contacts.items().iter();
                let contacts = contacts.map(|contact| contact.as_str().to_owned()).collect();
                self.ca.accounts.push(contacts);
                let is_slow = self.ca.slow_accounts;
                let slow = is_slow.then(|| JobPhase::Running(Text::lossy("waits for the CA")));
                let url = Text::lossy("https://ca.example/account/1");
                let refused = self.ca.refuses_accounts.clone().map(JobPhase::Failed);
                let done = JobPhase::Done(JobOutcome::Account(url));
                (refused.or(slow).unwrap_or(done), None)
            }
            Job::Order(order) => self.ordered(order, at),
            Job::Renewal(_) => {
                self.ca.asked.push(at);
                let window = RenewalWindow {
                    window: self.ca.window,
                    explanation: None,
                    ask_again_s: 43_200,
                };
                let is_slow = self.ca.slow_renewals;
                let slow = is_slow.then(|| JobPhase::Running(Text::lossy("asks when to renew")));
                let refused = self.ca.refuses_renewals.clone().map(JobPhase::Failed);
                (
                    refused.or(slow).unwrap_or(JobPhase::Done(JobOutcome::Renewal(window))),
                    None,
                )
            }
            Job::Revoke(revoke) => {
                assert!(
                    self.keys
                        .iter()
                        .any(|key| key.id == revoke.key && key.validity.is_some())
                );
                self.ca.revocations.push(revoke.key);
                let account = &revoke.account;
                self.ca.revokers.push((account.key, account.directory.clone()));
                self.ca.reasons.push(revoke.reason);
                let refused = self.ca.refuses_revocations.clone().map(JobPhase::Failed);
                (refused.unwrap_or(JobPhase::Done(JobOutcome::Revoked)), None)
            }
            Job::Caa(_) => panic!("nobody asks for CAA"),
        };
        let state = JobState { id, phase, order };
        self.ca.jobs.insert(id, (state.clone(), at));
        let running = self
            .ca
            .jobs
            .values()
            .filter(|(state, _)| is_running(&state.phase))
            .count();
        self.ca.most_at_once = self.ca.most_at_once.max(running);
        Reply::Begun(state)
    }

    fn ordered(&mut self, order: &Order, at: Duration) -> (JobPhase, Option<Url>) {
        self.ca.orders.push((at, order.key, order.resume.clone()));
        let url = format!("{}/order/{}", server(&order.account.directory), self.ca.orders.len());
        let url = order.resume.clone().unwrap_or_else(|| Text::lossy(&url));
        (JobPhase::Running(Text::lossy("waits for the CA")), Some(url))
    }

    pub(super) fn job(&self, id: JobId) -> Reply {
        Reply::Job(self.ca.jobs.get(&id).map(|(state, _)| state.clone()))
    }

    /// The enclave was restarted.
    pub(super) fn forget_jobs(&mut self) {
        self.ca.jobs.clear();
    }

    /// Ends the orders whose time has come.
    pub(super) fn advance(&mut self) {
        if self.ca.clock.is_none() {
            return;
        }
        let now = self.ca.monotonic();
        let takes = |id: &JobId| match self.ca.slow {
            Some((key, takes)) if key == id.key => takes,
            _ => self.ca.takes,
        };
        let over = self.ca.jobs.iter().filter(|(id, (state, since))| {
            let is_over = now.saturating_sub(*since) >= takes(id);
            id.kind == JobKind::Order && matches!(state.phase, JobPhase::Running(_)) && is_over
        });
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        for id in over {
            let phase = self.outcome(id.key);
            if let Some((state, _)) = self.ca.jobs.get_mut(&id) {
                state.phase = phase;
            }
        }
    }

    fn outcome(&mut self, id: KeyId) -> JobPhase {
        let (now, lifetime, run) = (self.ca.now(), self.ca.lifetime, self.run);
        let Some(key) = self.keys.iter_mut().find(|key| key.id == id) else {
            return JobPhase::Failed(failure(JobError::Service));
        };
        let fails = self.ca.only.is_empty() || self.ca.only.contains(key.name.as_str());
        if let Some(failure) = self.ca.fails.clone().filter(|_| fails) {
            return JobPhase::Failed(failure);
        }
        let validity = Validity {
            not_before: now - 10,
            not_after: now + lifetime,
        };
        key.validity = Some(validity);
        let leaf = leaf(&seed(run, key.name.as_str(), key.generation));
        self.chains
            .insert(id, Chain::try_from(vec![leaf.try_into().unwrap()]).unwrap());
        JobPhase::Done(JobOutcome::Certificate(Issued {
            validity,
            issuer: Text::lossy("Example Root"),
            account: Text::lossy("https://ca.example/account/1"),
        }))
    }
}

/// Scheme, host and port.
fn server(url: &Url) -> String {
    url.as_str().split('/').take(3).collect::<Vec<_>>().join("/")
}

pub(in super::super) fn failure(error: JobError) -> JobFailure {
    JobFailure {
        error,
        rule: None,
        detail: Text::lossy("said the CA"),
        retry_at: None,
    }
}
