//! The service's own requests on a control connection: one in flight, and an agent that does not answer is gone.

use std::time::Duration;

use enclave_wire::control::{AgentReply, EnclaveRequest};
use enclave_wire::frame::FrameError;
use enclave_wire::{DecodeError, Writer};
use tokio::sync::oneshot;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::agent::Ask;
use crate::serve::link::End;

/// The requests of one connection. Any answer shows that the agent is there, so that a ping is sent only when nothing else is.
pub(super) struct Requests {
    heartbeat: Interval,
    last_id: u64,
    in_flight: Option<InFlight>,
}

/// What waits for its answer.
struct InFlight {
    request_id: u64,
    /// Whether this is an answer to it.
    answers: fn(&AgentReply) -> bool,
    /// Heartbeats that it may take, and that it took.
    patience: u32,
    waited: u32,
    /// Who asked. A ping is the conversation's own.
    asker: Option<oneshot::Sender<AgentReply>>,
}

impl Requests {
    pub(super) fn new(every: Duration) -> Self {
        let mut heartbeat = interval(every);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            heartbeat,
            last_id: 0,
            in_flight: None,
        }
    }

    /// Waits for the next heartbeat. Nothing is lost if this is dropped halfway.
    pub(super) async fn beat(&mut self) {
        self.heartbeat.tick().await;
    }

    /// Whether a request may be sent now.
    pub(super) fn is_free(&self) -> bool {
        self.in_flight.is_none()
    }

    /// Counts a heartbeat against the request that is in flight. An agent that lets too many pass is gone.
    pub(super) fn wait(&mut self) -> Result<(), End> {
        let Some(waiting) = &mut self.in_flight else {
            return Ok(());
        };
        waiting.waited = waiting.waited.saturating_add(1);
        if waiting.waited < waiting.patience {
            Ok(())
        } else {
            Err(End::Deadline)
        }
    }

    /// The frame of a request that work asks for.
    pub(super) fn ask(&mut self, ask: Ask) -> Vec<u8> {
        self.begin(&ask.request, Some(ask.answered))
    }

    /// The frame of a request of the conversation's own.
    pub(super) fn begin(&mut self, request: &EnclaveRequest, asker: Option<oneshot::Sender<AgentReply>>) -> Vec<u8> {
        self.last_id = self.last_id.wrapping_add(1);
        let (answers, patience): (fn(&AgentReply) -> bool, u32) = match request {
            EnclaveRequest::Ping => (|reply| matches!(reply, AgentReply::Pong), MISSES),
            EnclaveRequest::StoreState(_) => (|reply| matches!(reply, AgentReply::Stored), STORE_MISSES),
            EnclaveRequest::NeedCredentials => (|reply| matches!(reply, AgentReply::CredentialsNoted), MISSES),
            EnclaveRequest::Publish(_) => (|reply| matches!(reply, AgentReply::Published(_)), MISSES),
            EnclaveRequest::Withdraw(_) => (|reply| matches!(reply, AgentReply::Withdrawn), MISSES),
            EnclaveRequest::Ended(_) => (|reply| matches!(reply, AgentReply::EndNoted), MISSES),
        };
        self.in_flight = Some(InFlight {
            request_id: self.last_id,
            answers,
            patience,
            waited: 0,
            asker,
        });
        let mut frame = Writer::new();
        request.write(&mut frame, self.last_id);
        // Nothing that the agent is asked is secret: a state is sealed.
        frame.into_bytes()
    }

    /// Takes an answer. One to nothing, or of another kind, does not belong here. An error is an answer too.
    pub(super) fn answered(&mut self, request_id: u64, reply: AgentReply) -> Result<(), End> {
        let expected = |waiting: &mut InFlight| {
            let fits = (waiting.answers)(&reply) || matches!(reply, AgentReply::Error(_));
            waiting.request_id == request_id && fits
        };
        let waiting = self.in_flight.take_if(expected).ok_or_else(unexpected)?;
        if let Some(asker) = waiting.asker {
            // Work that panicked meanwhile reads no answer.
            let _ = asker.send(reply);
        }
        Ok(())
    }
}

/// The protocol knows this frame, but not here: a reply to nothing, or a second request.
pub(super) fn unexpected() -> End {
    End::Refused(FrameError::Body(DecodeError::UnknownTag))
}

/// Heartbeats without an answer that end a connection.
const MISSES: u32 = 3;
/// A state must be on a disk, and the directory's entry too, before it is acknowledged.
const STORE_MISSES: u32 = 5;
