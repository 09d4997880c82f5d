//! The agent, as whoever works on a request or a job asks it: a thread or a task waits, the conversation talks.

use std::time::Duration;

use enclave_wire::control::{AgentReply, Challenge, ControlError, EnclaveRequest, JobId, Published, StoreState};
use enclave_wire::log::Text;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The agent at the other end of one control connection. When that ends, everything asked of it fails at once.
#[derive(Clone)]
pub(crate) struct Agent {
    asks: mpsc::Sender<Ask>,
    since: Instant,
}

/// A request to the agent, and where its answer goes. Dropped unanswered, the one who asks learns that there is none.
pub(in crate::serve) struct Ask {
    pub(in crate::serve) request: EnclaveRequest,
    pub(in crate::serve) answered: oneshot::Sender<AgentReply>,
}

impl Agent {
    /// The agent of a connection, and the end at which its conversation takes what is asked.
    pub(in crate::serve) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(1);
        let since = Instant::now();
        (Self { asks, since }, asked)
    }

    /// Has the agent keep a state, and waits until it has. Call it on a thread that may block.
    ///
    /// What the state describes may be used only after this: an agent that did not answer may have kept it or not.
    pub(crate) fn store(&self, state: StoreState) -> Result<(), ControlError> {
        let (name, number) = (state.name.clone(), state.number);
        match self.ask(EnclaveRequest::StoreState(state)) {
            Some(AgentReply::Stored) => Ok(()),
            answer => {
                tracing::warn!(%name, number, ?answer, "the agent did not store the state");
                Err(ControlError::StateNotStored)
            }
        }
    }

    /// Tells the agent that credentials are needed, and whether it heard. They come, if they come, as a request of its own.
    pub(crate) fn need_credentials(&self) -> bool {
        matches!(
            self.ask(EnclaveRequest::NeedCredentials),
            Some(AgentReply::CredentialsNoted)
        )
    }

    /// Has the agent publish a challenge, and says how far it is; none where the connection ended.
    pub(crate) async fn publish(&self, challenge: &Challenge) -> Option<Published> {
        match self.ask_for(EnclaveRequest::Publish(challenge.clone())).await? {
            AgentReply::Published(published) => Some(published),
            refused @ (AgentReply::Pong
            | AgentReply::Withdrawn
            | AgentReply::Stored
            | AgentReply::CredentialsNoted
            | AgentReply::EndNoted
            | AgentReply::Error(_)) => Some(Published::No(Text::lossy(&format!("the agent answers {refused:?}")))),
        }
    }

    /// Has the agent take a challenge away, and says whether it did.
    pub(crate) async fn withdraw(&self, challenge: &Challenge) -> bool {
        let answer = self.ask_for(EnclaveRequest::Withdraw(challenge.clone())).await;
        matches!(answer, Some(AgentReply::Withdrawn))
    }

    /// Tells the agent that a job has ended, and says whether it heard.
    pub(crate) async fn ended(&self, job: JobId) -> bool {
        let answer = self.ask_for(EnclaveRequest::Ended(job)).await;
        matches!(answer, Some(AgentReply::EndNoted))
    }

    /// How long the connection has been there.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits until the connection ends: then nobody waits for what is being worked on.
    pub(crate) async fn gone(&self) {
        self.asks.closed().await;
    }

    fn ask(&self, request: EnclaveRequest) -> Option<AgentReply> {
        let (answered, answer) = oneshot::channel();
        self.asks.blocking_send(Ask { request, answered }).ok()?;
        answer.blocking_recv().ok()
    }

    async fn ask_for(&self, request: EnclaveRequest) -> Option<AgentReply> {
        let (answered, answer) = oneshot::channel();
        self.asks.send(Ask { request, answered }).await.ok()?;
        answer.await.ok()
    }
}
