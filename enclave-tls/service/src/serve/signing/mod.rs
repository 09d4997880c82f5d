//! The signing plane: bounded admission, and one task a connection.

mod authentication;
mod connection;
mod rsa;

use std::sync::Arc;
use std::time::Duration;

use enclave_wire::Writer;
use enclave_wire::frame::limit;
use enclave_wire::signing::{Reply, SignError};
use tokio::task::{JoinError, JoinSet};

use self::authentication::Authenticator;
use self::rsa::RsaPool;
use super::link::{End, Link, Patience};
use super::{StartError, State};
use crate::transport::{Listener, Stream};

/// The signing plane of one service.
pub(super) struct Plane {
    state: Arc<State>,
    authenticator: Authenticator,
    rsa: RsaPool,
}

impl Plane {
    pub(super) fn new(state: Arc<State>) -> Result<Self, StartError> {
        let rsa = RsaPool::start(&state.statistics, state.platform.limits.rsa_waiting).map_err(StartError::Threads)?;
        Ok(Self {
            authenticator: Authenticator::new()?,
            rsa,
            state,
        })
    }

    /// Serves every connection until the future is dropped, and its connections with it.
    pub(super) async fn serve(self: Arc<Self>, listener: Listener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(stream) => self.admit(stream, &mut connections),
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
    fn admit(self: &Arc<Self>, stream: Stream, connections: &mut JoinSet<End>) {
        let statistics = &self.state.statistics;
        let Some(entered) = statistics.connections.enter(self.state.platform.limits.connections) else {
            statistics.busy.count();
            stream.send_now(&busy());
            return;
        };
        statistics.accepted.count();
        let plane = Arc::clone(self);
        connections.spawn(async move {
            let _entered = entered;
            connection::serve(&plane, plane.link(stream)).await
        });
    }

    fn link(&self, stream: Stream) -> Link {
        let limits = &self.state.platform.limits;
        let patience = Patience {
            idle: limits.idle,
            frame: limits.frame,
            write: limits.write,
        };
        Link::new(stream, limit::SIGNING_REQUEST, patience)
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
            End::Authentication => statistics.authentication_failures.count(),
            End::Busy => statistics.busy.count(),
            End::Failed(_) => statistics.panics.count(),
            End::Closed | End::Replaced | End::Io(_) => (),
        }
        tracing::debug!(reason = %end, "a signing connection ended");
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
    writer.into_bytes()
}

/// When descriptors run out, trying again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
