//! The agent, as a thread that works on a request asks it: the thread waits, the conversation talks.

use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, StoreState};
use tokio::sync::{mpsc, oneshot};

/// The agent at the other end of one control connection. When that ends, everything asked of it fails at once.
#[derive(Clone)]
pub(crate) struct Agent {
    asks: mpsc::Sender<Ask>,
}

/// A request to the agent, and where its answer goes. Dropped unanswered, the one who asks learns that there is none.
pub(super) struct Ask {
    pub(super) request: EnclaveRequest,
    pub(super) answered: oneshot::Sender<AgentReply>,
}

impl Agent {
    /// The agent of a connection, and the end at which its conversation takes what is asked.
    pub(super) fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(1);
        (Self { asks }, asked)
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

    /// Waits until the connection ends: then nobody waits for what is being worked on.
    pub(crate) async fn gone(&self) {
        self.asks.closed().await;
    }

    fn ask(&self, request: EnclaveRequest) -> Option<AgentReply> {
        let (answered, answer) = oneshot::channel();
        self.asks.blocking_send(Ask { request, answered }).ok()?;
        answer.blocking_recv().ok()
    }
}
