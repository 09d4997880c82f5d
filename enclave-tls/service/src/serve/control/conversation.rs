//! One control connection: requests go both ways, one in flight each way.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, Phase, Reply, Request, Status};
use enclave_wire::frame::{FrameError, Header, limit};
use enclave_wire::log::Text;
use enclave_wire::{DecodeError, Writer};
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Signing, operations};
use crate::serve::State;
use crate::serve::link::{End, Link, Patience};
use crate::transport::Stream;
use enclave_policy::Policy;

/// A control connection.
pub(super) struct Conversation<'a> {
    state: &'a Arc<State>,
    signing: &'a mut Signing,
    link: Link,
    heartbeat: Heartbeat,
    /// The agent's request that is being worked on. Only one is in flight.
    work: Option<Work>,
}

/// A request that takes its time.
struct Work {
    request_id: u64,
    reply: JoinHandle<Reply>,
}

/// What may happen next.
enum Event {
    Frame(Header),
    Done(u64, Reply),
    Tick,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(state: &'a Arc<State>, signing: &'a mut Signing, stream: Stream) -> Self {
        let limits = &state.platform.limits;
        // The heartbeat ends a connection on which nothing comes, long before this.
        let idle = limits.idle;
        let patience = Patience {
            idle,
            frame: limits.frame,
            write: limits.write,
        };
        Self {
            state,
            signing,
            link: Link::new(stream, limit::CONTROL, patience),
            heartbeat: Heartbeat::new(limits.heartbeat),
            work: None,
        }
    }

    /// Talks until the connection ends, and says why it did.
    pub(super) async fn run(mut self) -> End {
        let Err(end) = self.talk().await;
        let error = match &end {
            End::Refused(FrameError::Version) => ControlError::Version,
            End::Refused(_) => ControlError::Malformed,
            End::Closed
            | End::Deadline
            | End::Authentication(_)
            | End::Replaced
            | End::Busy
            | End::Io(_)
            | End::Failed(_) => {
                return end;
            }
        };
        // The connection ends, whether the agent reads this or not.
        let _ = self.reply(self.link.refused_id(), &Reply::Error(error)).await;
        end
    }

    async fn talk(&mut self) -> Result<Infallible, End> {
        loop {
            match self.event().await? {
                Event::Frame(header) if header.is_reply() => self.take_reply(&header)?,
                Event::Frame(header) => self.take_request(&header).await?,
                Event::Done(request_id, reply) => self.reply(request_id, &reply).await?,
                Event::Tick => {
                    if let Some(request_id) = self.heartbeat.beat()? {
                        let mut frame = Writer::new();
                        EnclaveRequest::Ping.write(&mut frame, request_id);
                        self.link.send(&frame.into_bytes()).await?;
                    }
                }
            }
        }
    }

    async fn event(&mut self) -> Result<Event, End> {
        let Self {
            link, heartbeat, work, ..
        } = self;
        let done = pin!(finished(work));
        tokio::select! {
            header = link.next() => header.map(Event::Frame),
            (request_id, reply) = done => Ok(Event::Done(request_id, reply)),
            _ = heartbeat.interval.tick() => Ok(Event::Tick),
        }
    }

    fn take_reply(&mut self, header: &Header) -> Result<(), End> {
        // An error is an answer too: the agent is there.
        AgentReply::decode(header, self.link.body(header)).map_err(End::Refused)?;
        if !self.heartbeat.answered(header.request_id) {
            return Err(unexpected());
        }
        self.link.consume(header);
        Ok(())
    }

    async fn take_request(&mut self, header: &Header) -> Result<(), End> {
        if self.work.is_some() {
            return Err(unexpected());
        }
        let request = Request::decode(header, self.link.body(header)).map_err(End::Refused)?;
        self.link.consume(header);
        let phase = self.phase();
        let reply = match (phase, request) {
            (_, Request::Ping) => Reply::Pong,
            (_, Request::Status) => Reply::Status(self.status(phase)),
            (_, Request::Policy(bytes)) => match self.take_policy(bytes.as_ref().map(|bytes| bytes.as_bytes())) {
                Ok(()) => Reply::PolicyTaken,
                Err(error) => Reply::Error(error),
            },
            (Phase::AwaitingPolicy, _) => Reply::Error(ControlError::PolicyFirst),
            (_, Request::Ready) => match self.signing.open(self.state) {
                Ok(()) => Reply::Serving,
                Err(error) => {
                    tracing::error!(%error, address = %self.state.config.signing, "cannot open the signing plane");
                    Reply::Error(ControlError::Failed)
                }
            },
            (_, request) => {
                let state = Arc::clone(self.state);
                let reply = tokio::task::spawn_blocking(move || operations::answer(&state, request));
                self.work = Some(Work {
                    request_id: header.request_id,
                    reply,
                });
                return Ok(());
            }
        };
        self.reply(header.request_id, &reply).await
    }

    fn take_policy(&self, parents: Option<&[u8]>) -> Result<(), ControlError> {
        if self.state.policy.get().is_some() {
            return Err(ControlError::PolicyAlreadySet);
        }
        let image = &self.state.config.policy;
        let merged = match parents.map(Policy::parse) {
            None => image.clone(),
            Some(Ok(parents)) => image.intersect(&parents),
            Some(Err(error)) => {
                tracing::warn!(%error, "the parent's policy was refused");
                return Err(ControlError::PolicyInvalid);
            }
        };
        tracing::info!(parents = parents.is_some(), "the policy is set for this boot");
        self.state
            .policy
            .set(merged)
            .map_err(|_| ControlError::PolicyAlreadySet)
    }

    fn phase(&mut self) -> Phase {
        if self.state.policy.get().is_none() {
            Phase::AwaitingPolicy
        } else if self.signing.is_open() {
            Phase::Serving
        } else {
            Phase::AwaitingReady
        }
    }

    fn status(&self, phase: Phase) -> Status {
        Status {
            boot: self.state.boot,
            version: Text::lossy(env!("CARGO_PKG_VERSION")),
            phase,
            uptime_ms: u64::try_from(self.state.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn reply(&mut self, request_id: u64, reply: &Reply) -> Result<(), End> {
        let mut frame = Writer::new();
        reply.write(&mut frame, request_id);
        // No reply carries a secret, so the writer's wiping is not needed.
        self.link.send(&frame.into_bytes()).await
    }
}

/// The service's pings: one in flight, and three misses end the connection.
struct Heartbeat {
    interval: Interval,
    last_id: u64,
    unanswered: Option<u64>,
    missed: u32,
}

impl Heartbeat {
    fn new(every: std::time::Duration) -> Self {
        let mut interval = interval(every);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            interval,
            last_id: 0,
            unanswered: None,
            missed: 0,
        }
    }

    /// The id of the ping to send now, if none is in flight.
    fn beat(&mut self) -> Result<Option<u64>, End> {
        if self.unanswered.is_some() {
            self.missed = self.missed.saturating_add(1);
            return if self.missed >= MISSES {
                Err(End::Deadline)
            } else {
                Ok(None)
            };
        }
        self.last_id = self.last_id.wrapping_add(1);
        self.unanswered = Some(self.last_id);
        Ok(self.unanswered)
    }

    fn answered(&mut self, request_id: u64) -> bool {
        self.missed = 0;
        self.unanswered.take() == Some(request_id)
    }
}

/// The reply of the work that is done; never, if there is none.
async fn finished(work: &mut Option<Work>) -> (u64, Reply) {
    let Some(current) = work.as_mut() else {
        return std::future::pending().await;
    };
    // If it panicked, the hook of `boot` has logged where.
    let reply = (&mut current.reply).await.unwrap_or(Reply::Error(ControlError::Failed));
    let request_id = current.request_id;
    *work = None;
    (request_id, reply)
}

/// The protocol knows this frame, but not here: a reply to nothing, or a second request.
fn unexpected() -> End {
    End::Refused(FrameError::Body(DecodeError::UnknownTag))
}

/// Heartbeats without a reply that end a connection.
const MISSES: u32 = 3;
