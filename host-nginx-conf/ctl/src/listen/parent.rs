//! What the threads of `listen` share, and what it answers when the enclave asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use enclave_wire::Name;
use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, StoreState};

use super::aws::Aws;
use super::egress::Egress;
use super::logs::Logs;
use super::settled::Settled;
use super::waiting::Waiting;
use super::{Shared, say};
use crate::local;
use crate::store::Store;

/// The parent's side of an enclave: its directory, its AWS credentials, its way out, its log.
#[derive(Default)]
pub(super) struct Parent {
    /// The replay directory, if there is one.
    pub(super) store: Option<Shared<Store>>,
    /// Where credentials come from, with `--aws`.
    pub(super) aws: Option<Aws>,
    /// With `--egress`.
    pub(super) egress: Option<Arc<Egress>>,
    /// With `--logs`.
    pub(super) logs: Option<Arc<Logs>>,
    /// What is in the directory and not yet in the service.
    pub(super) waiting: Shared<Waiting>,
    /// Which of the directory's sealed states are the service's own.
    pub(super) settled: Shared<Settled>,
    /// So that what is missing is said once.
    said_no_credentials: AtomicBool,
}

impl Parent {
    pub(super) fn new(
        store: Option<Store>,
        aws: Option<Aws>,
        egress: Option<Arc<Egress>>,
        logs: Option<Arc<Logs>>,
    ) -> Self {
        Self {
            store: store.map(Shared::new),
            aws,
            egress,
            logs,
            ..Self::default()
        }
    }

    /// Answers the enclave. `in_force` says whether who asks still is the service that this directory is for.
    pub(super) fn answer(&self, request: EnclaveRequest, in_force: impl Fn() -> bool) -> AgentReply {
        match request {
            EnclaveRequest::Ping => AgentReply::Pong,
            EnclaveRequest::StoreState(state) => match self.store_state(&state, in_force) {
                Ok(()) => AgentReply::Stored,
                Err(why) => {
                    say(&format!("a sealed state of {} was not stored: {why}", state.name));
                    AgentReply::Error(ControlError::StateNotStored)
                }
            },
            EnclaveRequest::NeedCredentials => {
                self.need_credentials();
                AgentReply::CredentialsNoted
            }
        }
    }

    /// What commands may know of this.
    pub(super) fn report(&self) -> local::Parent {
        local::Parent {
            egress: self.egress.as_deref().map(Egress::counters),
            aws: self.aws.as_ref().map(Aws::report),
            logs: self.logs.as_deref().map(Logs::report),
            waiting: self.waiting.lock().report(),
        }
    }

    fn store_state(&self, state: &StoreState, in_force: impl Fn() -> bool) -> Result<(), String> {
        let store = self
            .store
            .as_ref()
            .ok_or("`listen` has no --replay directory to keep it in")?;
        let store = store.lock();
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
                say("the service needs AWS credentials; start `listen` with --aws");
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
mod tests {
    use super::*;
    use std::path::PathBuf;

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
        let store = Store::open(&path).map_err(|error| error.to_string()).unwrap();
        let parent = Parent::new(Some(store), None, None, None);
        assert_eq!(parent.answer(state(b"newer"), || true), AgentReply::Stored);
        let late = parent.answer(state(b"older"), || false);
        assert_eq!(late, AgentReply::Error(ControlError::StateNotStored));
        assert_eq!(std::fs::read(path.join("sealed/www.sealed")).unwrap(), b"newer");
        std::fs::remove_dir_all(path).unwrap();
    }
}
