//! What the threads of the agent share, and what it answers when the enclave asks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use enclave_wire::Name;
use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, StoreState};

use crate::Shared;
use crate::aws::Aws;
use crate::challenge::Challenges;
use crate::clock::{Bell, Clock, System};
use crate::egress::Egress;
use crate::log::Event;
use crate::logs::Logs;
use crate::settled::Settled;
use crate::store::Store;
use crate::waiting::Waiting;
use enclave_tls_admin::protocol;

/// The parent's side of an enclave: its directory, its AWS credentials, its way out, its log.
pub(crate) struct Parent {
    /// The replay directory.
    pub(crate) store: Shared<Store>,
    /// Where AWS credentials come from, where the configuration has a section [aws].
    pub(crate) aws: Option<Aws>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) logs: Arc<Logs>,
    /// What is published for CAs.
    pub(crate) challenges: Challenges,
    /// The parent's policy, where there is one; read anew for each run of the service.
    pub(crate) policy: Option<PathBuf>,
    /// What is in the directory and not yet in the service.
    pub(crate) waiting: Shared<Waiting>,
    /// Which of the directory's sealed states are the service's own.
    pub(crate) settled: Shared<Settled>,
    /// What waiting is done by.
    pub(crate) clock: Arc<dyn Clock>,
    /// So that what is missing is said once.
    said_no_credentials: AtomicBool,
}

impl Parent {
    pub(crate) fn new(
        store: Store,
        aws: Option<Aws>,
        egress: Arc<Egress>,
        logs: Arc<Logs>,
        policy: Option<PathBuf>,
    ) -> Self {
        let challenges = Challenges::new(Arc::new(System::default()), Arc::default(), store.directory());
        Self {
            store: Shared::new(store),
            aws,
            egress,
            logs,
            challenges,
            policy,
            waiting: Shared::default(),
            settled: Shared::default(),
            clock: Arc::new(System::default()),
            said_no_credentials: AtomicBool::new(false),
        }
    }

    /// The same, by another clock than the machine's.
    pub(crate) fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same; the bell is rung when a job of the enclave has ended.
    pub(crate) fn with_bell(self, ended: Arc<Bell>) -> Self {
        let challenges = Challenges::new(Arc::clone(&self.clock), ended, self.store.lock().directory());
        Self { challenges, ..self }
    }

    /// Answers the enclave. `in_force` says whether who asks still is the service that this directory is for.
    pub(crate) fn answer(&self, request: EnclaveRequest, in_force: impl Fn() -> bool) -> AgentReply {
        match request {
            EnclaveRequest::Ping => AgentReply::Pong,
            EnclaveRequest::StoreState(state) => match self.store_state(&state, in_force) {
                Ok(()) => AgentReply::Stored,
                Err(why) => {
                    Event::StateNotStored.say(format_args!("a sealed state of {} was not stored: {why}", state.name));
                    AgentReply::Error(ControlError::StateNotStored)
                }
            },
            EnclaveRequest::NeedCredentials => {
                self.need_credentials();
                AgentReply::CredentialsNoted
            }
            // A connection that is no longer in use, or not yet, has nothing published.
            EnclaveRequest::Publish(_) | EnclaveRequest::Withdraw(_) if !in_force() => {
                AgentReply::Error(ControlError::Failed)
            }
            EnclaveRequest::Publish(challenge) => AgentReply::Published(self.challenges.publish(&challenge)),
            EnclaveRequest::Withdraw(challenge) => {
                self.challenges.withdraw(&challenge);
                AgentReply::Withdrawn
            }
            EnclaveRequest::Ended(_) => {
                self.challenges.ended();
                AgentReply::EndNoted
            }
        }
    }

    /// What commands may know of this.
    pub(crate) fn report(&self) -> protocol::Parent {
        protocol::Parent {
            egress: Some(self.egress.counters()),
            aws: self.aws.as_ref().map(Aws::report),
            logs: Some(self.logs.report()),
            waiting: self.waiting.lock().report(),
        }
    }

    fn store_state(&self, state: &StoreState, in_force: impl Fn() -> bool) -> Result<(), String> {
        let store = self.store.lock();
        // Asked while the directory is locked: a state that comes late, over a connection that another has replaced, does not
        // overwrite what came over the newer.
        if !in_force() {
            return Err("its connection is no longer in use".to_owned());
        }
        let found = store.state(&state.name).map_err(|error| error.to_string())?;
        let mut settled = self.settled.lock();
        if found.is_some_and(|found| !settled.has(&state.name, &found)) {
            return Err(unopened(&state.name));
        }
        store
            .put_state(&state.name, &state.blob)
            .map_err(|error| error.to_string())?;
        settled.add(&state.name, &state.blob);
        Ok(())
    }

    fn need_credentials(&self) {
        match &self.aws {
            Some(aws) => aws.need(),
            None if !self.said_no_credentials.swap(true, Ordering::SeqCst) => {
                Event::AwsMissing.say(
                    "the service needs AWS credentials; add a section [aws] to the configuration and restart the agent",
                );
            }
            None => {}
        }
    }
}

/// The one thing that must not happen: keys that this service has not opened overwritten by others of the same name.
fn unopened(name: &Name) -> String {
    format!(
        "sealed/{name}.sealed holds keys that the service has not opened, and they would be lost; wait until it has, or move that \
         file out of the directory"
    )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One with this directory and nothing else.
    pub(crate) fn parent(directory: &std::path::Path) -> Parent {
        Parent::new(
            Store::open(directory).map_err(|error| error.to_string()).unwrap(),
            None,
            Arc::new(Egress::new(&enclave_tls_config::Egress::default())),
            Arc::new(Logs::new()),
            None,
        )
    }

    fn state(text: &[u8]) -> EnclaveRequest {
        EnclaveRequest::StoreState(StoreState {
            name: "www".parse().unwrap(),
            number: 1,
            blob: text.to_vec().try_into().unwrap(),
        })
    }

    fn directory() -> PathBuf {
        let path = std::env::temp_dir().join(format!("ctl-parent-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        path
    }

    #[test]
    fn threat_35_a_state_over_a_connection_that_another_replaced_does_not_overwrite_the_newer() {
        let path = directory();
        let parent = parent(&path);
        assert_eq!(parent.answer(state(b"newer"), || true), AgentReply::Stored);
        let late = parent.answer(state(b"older"), || false);
        assert_eq!(late, AgentReply::Error(ControlError::StateNotStored));
        assert_eq!(std::fs::read(path.join("sealed/www.sealed")).unwrap(), b"newer");
        std::fs::remove_dir_all(path).unwrap();
    }
}
