//! Jobs: what takes longer than a request may. Each is a task beside the control plane, which only hears how far it is.
//!
//! A job never holds the turn of control requests while it waits for anybody: it takes it for the moment in which it installs what
//! came. It goes on while control is lost, and ends with the service.

mod account;
mod admission;
mod agents;
mod caa;
mod failure;
mod order;
mod published;
mod renewal;
mod revoke;
mod server;
mod table;

use std::sync::Arc;
use std::time::Duration;

use enclave_wire::control::{ControlError, Job, JobError, JobFailure, JobId, JobOutcome, JobState};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::agents::{Agents, Presence};
use self::failure::failure;
use self::table::{Entered, Progress, Table};
use super::State;
use super::control::Agent;

/// The jobs of this run. Dropping them ends those that run.
pub(super) struct Jobs {
    table: Table,
    /// First come, first served. A CA that takes hours over its orders holds up other orders, and no revocation and no account.
    of_orders: Arc<Semaphore>,
    of_others: Arc<Semaphore>,
    presence: Presence,
    tasks: JoinSet<()>,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self {
            table: Table::default(),
            of_orders: Arc::new(Semaphore::new(AT_ONCE)),
            of_others: Arc::new(Semaphore::new(AT_ONCE)),
            presence: Presence::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Begins a job that the policy allows, or says how far it is. Nothing is waited for.
    pub(super) fn begin(&mut self, state: &Arc<State>, job: Job) -> Result<JobState, ControlError> {
        while self.tasks.try_join_next().is_some() {}
        let id = job.id();
        admission::check(state, &job).inspect_err(|error| {
            tracing::warn!(kind = ?id.kind, key = %id.key, ?error, "a job was refused");
        })?;
        let progress = match self.table.enter(id)? {
            Entered::Known(known) => return Ok(known),
            Entered::New(progress) => progress,
        };
        let begun = progress.state().ok_or(ControlError::Failed)?;
        let places = match job {
            Job::Order(_) => &self.of_orders,
            Job::Account(_) | Job::Renewal(_) | Job::Revoke(_) | Job::Caa(_) => &self.of_others,
        };
        let (places, agents) = (Arc::clone(places), self.presence.agents());
        let worker = Worker {
            state: Arc::clone(state),
            agents: agents.clone(),
            progress,
        };
        self.tasks.spawn(async move {
            let place = places.acquire_owned().await;
            worker.work(job).await;
            drop(place);
            tell(&agents, id).await;
        });
        Ok(begun)
    }

    /// How far a job is; none where there was none, or none that is remembered.
    pub(super) fn state(&self, id: &JobId) -> Option<JobState> {
        self.table.state(id)
    }

    /// This agent is there from now on; none: it has gone.
    pub(super) fn meet(&self, agent: Option<Agent>) {
        self.presence.set(agent);
    }
}

/// Tells the agent that is there. One that comes later asks by itself.
async fn tell(agents: &Agents, id: JobId) {
    if let Some(agent) = agents.now() {
        agent.ended(id).await;
    }
}

/// What a job works with.
struct Worker {
    state: Arc<State>,
    agents: Agents,
    progress: Progress,
}

impl Worker {
    async fn work(self, job: Job) {
        let id = self.progress.id();
        tracing::info!(kind = ?id.kind, key = %id.key, "a job begins");
        let result = timeout(LONGEST, self.result(job)).await;
        let result = result.unwrap_or_else(|_| Err(failure(JobError::Deadline, "the time for the job has passed")));
        match &result {
            Ok(_) => tracing::info!(kind = ?id.kind, key = %id.key, "a job is done"),
            Err(JobFailure {
                error, rule, detail, ..
            }) => {
                tracing::warn!(kind = ?id.kind, key = %id.key, ?error, ?rule, detail = detail.as_str(), "a job failed");
            }
        }
        self.progress.end(result);
    }

    async fn result(&self, job: Job) -> Result<JobOutcome, JobFailure> {
        match job {
            Job::Account(account) => self.account(&account).await,
            Job::Order(order) => self.order(&order).await,
            Job::Renewal(renewal) => self.renewal(&renewal).await,
            Job::Revoke(revoke) => self.revoke(&revoke).await,
            Job::Caa(caa) => self.caa(&caa).await,
        }
    }
}

/// Of each sort. A CA's own limits are of this order, and the enclave has two cores that sign.
const AT_ONCE: usize = 8;
/// For an agent that is needed and away: it restarts, or it is being mended.
const AGENT_TIME: Duration = Duration::from_secs(600);
/// The slowest CAs validate for an hour.
const LONGEST: Duration = Duration::from_secs(2 * 3_600);
