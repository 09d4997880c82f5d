//! A request that takes its time: it has a thread, and no other such request runs beside it.

use std::sync::Arc;

use enclave_wire::control::{ControlError, InstallChain, KeyInfo, Reply, Request};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::agent::Agent;
use super::operations;
use crate::serve::State;

/// A request that is being worked on.
pub(super) struct Work {
    request_id: u64,
    /// One task. Dropped before its turn has come, it never begins.
    task: JoinSet<Reply>,
}

impl Work {
    /// Begins when whatever an earlier connection began has ended: a thread cannot be stopped, and the keys have one writer.
    pub(super) fn begin(state: &Arc<State>, agent: &Agent, request_id: u64, request: Request) -> Self {
        let (state, agent) = (Arc::clone(state), agent.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let turn = Arc::clone(&state.turn).lock_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                // Held by the thread itself: whoever waits for it may be gone by then.
                let _turn = turn;
                operations::answer(&state, &agent, request)
            });
            // If it panicked, the hook of `boot` has logged where.
            work.await.unwrap_or(Reply::Error(ControlError::Failed))
        });
        Self { request_id, task }
    }

    /// Waits for the reply. Nothing is lost if this is dropped halfway.
    pub(super) async fn done(&mut self) -> (u64, Reply) {
        let reply = self.task.join_next().await;
        let reply = reply.and_then(Result::ok).unwrap_or(Reply::Error(ControlError::Failed));
        (self.request_id, reply)
    }
}

/// Installs a chain that a job brings, in its turn among the requests.
pub(in crate::serve) async fn install(
    state: &Arc<State>,
    agent: &Agent,
    chain: InstallChain,
) -> Result<KeyInfo, ControlError> {
    let (state, agent) = (Arc::clone(state), agent.clone());
    let turn = Arc::clone(&state.turn).lock_owned().await;
    let work = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        operations::install(&state, &agent, &chain)
    });
    // If it panicked, the hook of `boot` has logged where.
    work.await.unwrap_or(Err(ControlError::Failed))
}

/// Work of the service's own, between requests: a request that comes meanwhile waits for its turn.
pub(super) struct Upkeep {
    task: JoinSet<()>,
    begun: Instant,
}

impl Upkeep {
    pub(super) fn new() -> Self {
        Self {
            task: JoinSet::new(),
            begun: Instant::now(),
        }
    }

    /// Begins, where there is something to do and nothing is being done. Not on a new connection: its agent may be giving back all states
    /// that it has, and one that became newer meanwhile would make what it read an older one.
    pub(super) fn go_on(&mut self, state: &Arc<State>, agent: &Agent) {
        while self.task.try_join_next().is_some() {}
        let new = self.begun.elapsed() < state.platform.limits.kms_pause;
        if new || !self.task.is_empty() || !state.is_behind() {
            return;
        }
        let (state, agent) = (Arc::clone(state), agent.clone());
        self.task.spawn(async move {
            let turn = Arc::clone(&state.turn).lock_owned().await;
            let work = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                operations::catch_up(&state, &agent);
            });
            // If it panicked, the hook of `boot` has logged where.
            let _ = work.await;
        });
    }
}
