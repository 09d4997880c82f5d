//! One control connection: requests go both ways, one in flight each way.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use enclave_wire::Writer;
use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, Phase, Reply, Request, Status};
use enclave_wire::frame::{FrameError, Header, limit};
use enclave_wire::log::Text;
use tokio::sync::mpsc;

use super::Signing;
use super::agent::{Agent, Ask};
use super::requests::{Requests, unexpected};
use super::work::{Upkeep, Work};
use crate::serve::State;
use crate::serve::jobs::Jobs;
use crate::serve::link::{End, Link, Patience};
use crate::transport::Stream;

/// A control connection.
pub(super) struct Conversation<'a> {
    state: &'a Arc<State>,
    signing: &'a mut Signing,
    jobs: &'a mut Jobs,
    link: Link,
    /// What this service asks of the agent; from the work, by way of `agent` and `asked`, and of its own accord.
    requests: Requests,
    agent: Agent,
    asked: mpsc::Receiver<Ask>,
    /// The agent's request that is being worked on. Only one is in flight.
    work: Option<Work>,
    upkeep: Upkeep,
}

/// What may happen next.
enum Event {
    Frame(Header),
    Done(u64, Reply),
    Ask(Ask),
    Beat,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(state: &'a Arc<State>, signing: &'a mut Signing, jobs: &'a mut Jobs, stream: Stream) -> Self {
        let limits = &state.platform.limits;
        // The heartbeat ends a connection on which nothing comes, long before this.
        let idle = limits.idle;
        let patience = Patience {
            idle,
            frame: limits.frame,
            write: limits.write,
        };
        let (agent, asked) = Agent::new();
        jobs.meet(Some(agent.clone()));
        Self {
            state,
            signing,
            jobs,
            link: Link::new(stream, limit::CONTROL, patience),
            requests: Requests::new(limits.heartbeat),
            agent,
            asked,
            work: None,
            upkeep: Upkeep::new(),
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
                Event::Ask(ask) => {
                    let frame = self.requests.ask(ask);
                    self.link.send(&frame).await?;
                }
                Event::Beat => self.beat().await?,
            }
        }
    }

    async fn event(&mut self) -> Result<Event, End> {
        let Self {
            link,
            requests,
            asked,
            work,
            ..
        } = self;
        let done = pin!(finished(work));
        let free = requests.is_free();
        tokio::select! {
            header = link.next() => header.map(Event::Frame),
            (request_id, reply) = done => Ok(Event::Done(request_id, reply)),
            Some(ask) = asked.recv(), if free => Ok(Event::Ask(ask)),
            () = requests.beat() => Ok(Event::Beat),
        }
    }

    async fn beat(&mut self) -> Result<(), End> {
        if self.work.is_none() {
            self.upkeep.go_on(self.state, &self.agent);
        }
        if !self.requests.is_free() {
            return self.requests.wait();
        }
        let request = if self.state.wants_credentials() {
            EnclaveRequest::NeedCredentials
        } else {
            EnclaveRequest::Ping
        };
        let frame = self.requests.begin(&request, None);
        self.link.send(&frame).await
    }

    fn take_reply(&mut self, header: &Header) -> Result<(), End> {
        let reply = AgentReply::decode(header, self.link.body(header)).map_err(End::Refused)?;
        self.requests.answered(header.request_id, reply)?;
        self.link.consume(header);
        Ok(())
    }

    async fn take_request(&mut self, header: &Header) -> Result<(), End> {
        let request = Request::decode(header, self.link.body(header)).map_err(End::Refused)?;
        // The one that work may wait for comes beside it.
        if self.work.is_some() && !matches!(request, Request::InstallAws(_)) {
            return Err(unexpected());
        }
        self.link.consume(header);
        let phase = self.phase();
        let reply = match (phase, request) {
            (_, Request::Ping) => Reply::Pong,
            (_, Request::Status) => Reply::Status(self.status(phase)),
            (_, Request::Policy(bytes)) => {
                let bytes = bytes.as_ref().map(|bytes| bytes.as_bytes());
                answer(self.state.take_policy(bytes), Reply::PolicyTaken)
            }
            (Phase::AwaitingPolicy, _) => Reply::Error(ControlError::PolicyFirst),
            (_, Request::Ready) => self.open(),
            (_, Request::InstallAws(install)) => answer(self.state.install_aws(install), Reply::AwsInstalled),
            (_, Request::Begin(job)) => {
                let begun = self.jobs.begin(self.state, job);
                begun.map_or_else(Reply::Error, Reply::Begun)
            }
            (_, Request::Job(id)) => Reply::Job(self.jobs.state(&id)),
            (_, request) => {
                self.work = Some(Work::begin(self.state, &self.agent, header.request_id, request));
                return Ok(());
            }
        };
        self.reply(header.request_id, &reply).await
    }

    fn open(&mut self) -> Reply {
        match self.signing.open(self.state) {
            Ok(()) => Reply::Serving,
            Err(error) => {
                tracing::error!(%error, address = %self.state.config.signing, "cannot open the signing plane");
                Reply::Error(ControlError::Failed)
            }
        }
    }

    fn phase(&mut self) -> Phase {
        if self.state.in_force().is_none() {
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
            now: self.state.platform.clock.now_unix(),
            clock_source: Text::lossy(&self.state.platform.machine.clock_source()),
            policy_sha384: self.state.in_force().map(|force| force.policy.sha384()),
            // The list has the bound of what can seal.
            sealing: self.state.sealing().try_into().unwrap_or_default(),
        }
    }

    async fn reply(&mut self, request_id: u64, reply: &Reply) -> Result<(), End> {
        let mut frame = Writer::new();
        reply.write(&mut frame, request_id);
        // No reply carries a secret, so the writer's wiping is not needed.
        self.link.send(&frame.into_bytes()).await
    }
}

/// The reply of the work that is done; never, if there is none.
async fn finished(work: &mut Option<Work>) -> (u64, Reply) {
    let Some(current) = work.as_mut() else {
        return std::future::pending().await;
    };
    let done = current.done().await;
    *work = None;
    done
}

fn answer(result: Result<(), ControlError>, done: Reply) -> Reply {
    result.map_or_else(Reply::Error, |()| done)
}
