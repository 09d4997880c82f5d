//! The signing plane: bounded admission, and one task a connection, on one of as many threads as there are cores.

mod authentication;
mod connection;
mod reactors;
mod rsa;
mod turns;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use enclave_wire::Writer;
use enclave_wire::frame::limit;
use enclave_wire::signing::{Reply, SignError};
use tokio::task::{JoinError, JoinSet};

use self::authentication::Authenticator;
pub(super) use self::authentication::Refusal;
use self::reactors::Reactors;
use self::rsa::RsaPool;
use super::link::{End, Link, Patience};
use super::{StartError, State};
use crate::transport::{Accepted, Listener, Stream};

/// The signing plane of one service.
pub(super) struct Plane {
    state: Arc<State>,
    authenticator: Authenticator,
    reactors: Reactors,
    rsa: RsaPool,
    refusals: Occasional,
}

impl Plane {
    pub(super) fn new(state: Arc<State>) -> Result<Self, StartError> {
        let rsa = RsaPool::start(&state.statistics, state.platform.limits.rsa_waiting);
        let reactors = Reactors::start(&state.boot.to_string());
        Ok(Self {
            authenticator: Authenticator::new()?,
            reactors: reactors.map_err(StartError::Threads)?,
            rsa: rsa.map_err(StartError::Threads)?,
            refusals: Occasional::default(),
            state,
        })
    }

    /// Serves every connection until the future is dropped, and its connections with it.
    pub(super) async fn serve(self: Arc<Self>, listener: Listener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => self.admit(accepted, &mut connections),
                    Err(error) => {
                        tracing::error!(%error, "cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = connections.join_next() => self.ended(ended),
            }
        }
    }

    /// Takes a connection, or says that there are too many. Those that are here already are not touched (threat 8).
    fn admit(self: &Arc<Self>, accepted: Accepted, connections: &mut JoinSet<End>) {
        let statistics = &self.state.statistics;
        let place = statistics.connections.enter(self.state.platform.limits.connections);
        let Some((entered, (reactor, placed))) = place.zip(self.reactors.place()) else {
            statistics.busy.count();
            accepted.refuse(&busy());
            return;
        };
        statistics.accepted.count();
        let plane = Arc::clone(self);
        let served = async move {
            let _held = (entered, placed);
            match accepted.into_stream() {
                Ok(stream) => connection::serve(&plane, plane.link(stream)).await,
                Err(error) => End::Io(error),
            }
        };
        connections.spawn_on(served, reactor);
    }

    fn link(&self, stream: Stream) -> Link {
        let limits = &self.state.platform.limits;
        let patience = Patience {
            idle: limits.idle,
            frame: limits.frame,
            write: limits.write,
        };
        Link::new(stream, limit::SIGNING_HANDSHAKE, patience)
    }

    fn ended(&self, ended: Result<End, JoinError>) {
        let statistics = &self.state.statistics;
        let Ok(end) = ended else {
            // The hook of `boot` has logged where.
            statistics.panics.count();
            return;
        };
        match &end {
            End::Deadline => statistics.deadlines.count(),
            End::Refused(_) => statistics.malformed.count(),
            End::Authentication(why) => {
                statistics.authentication_failures.count();
                // Anyone can cause this line.
                if let Some(unsaid) = self.refusals.again() {
                    tracing::warn!(%why, unsaid, "a handshake was refused");
                }
            }
            End::Busy => statistics.busy.count(),
            End::Failed(_) => statistics.panics.count(),
            End::Closed | End::Replaced | End::Io(_) => (),
        }
        tracing::debug!(reason = %end, "a signing connection ended");
    }
}

/// Something that is said at most once a second (threat 12).
#[derive(Default)]
struct Occasional(Mutex<(Option<Instant>, u64)>);

impl Occasional {
    /// How often it was not said since it was said last; none, if it is not to be said now.
    fn again(&self) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = *said;
        if last.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            said.1 = unsaid.saturating_add(1);
            return None;
        }
        *said = (Some(Instant::now()), 0);
        Some(unsaid)
    }
}

/// Tells a connection that there is no place for it. No request of it was read, so the id is 0.
fn busy() -> Vec<u8> {
    frame(&Reply::Error(SignError::Busy), 0)
}

fn frame(reply: &Reply, request_id: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    reply.write(&mut writer, request_id);
    // No reply of this plane is a secret, so the writer's wiping is not needed.
    let mut frame = writer.into_bytes();
    frame.shrink_to_fit();
    frame
}

/// When descriptors run out, trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
