//! The control plane: the service dials the agent, keeps one connection, and dials again when it ends.

mod agent;
mod conversation;
mod operations;
mod requests;
mod work;

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::jobs::Jobs;
use super::signing::Plane;
use super::{StartError, State};
use crate::transport::{Listener, dial};

use self::conversation::Conversation;

pub(crate) use self::agent::Agent;
pub(super) use self::work::install;

/// Runs the service: control for ever, the jobs that it begins, and the signing plane once it has opened it. Dropping the future ends all. A clock source
/// that is refused ends it.
pub(super) async fn run(state: Arc<State>) -> Result<Infallible, StartError> {
    let machine = state.platform.machine.clone();
    tokio::select! {
        ended = serve(Arc::clone(&state)) => ended,
        source = machine.refused_clock_source(|| state.allows_any_clock_source()) => Err(StartError::ClockSource(source)),
    }
}

async fn serve(state: Arc<State>) -> Result<Infallible, StartError> {
    let mut signing = Signing {
        plane: Arc::new(Plane::new(Arc::clone(&state))?),
        tasks: JoinSet::new(),
    };
    let mut jobs = Jobs::new();
    let limits = state.platform.limits;
    tracing::info!(boot = %state.boot, control = %state.config.control, "waiting for the control peer");
    loop {
        // The peer may be away for days: only its coming is worth a line.
        if let Ok(stream) = dial(&state.config.control, limits.redial).await {
            state.statistics.control_connections.count();
            tracing::info!("control connected");
            let end = Conversation::new(&state, &mut signing, &mut jobs, stream).run().await;
            jobs.meet(None);
            tracing::warn!(reason = %end, "control lost; dialling again");
        }
        tokio::time::sleep(limits.redial).await;
    }
}

/// The signing plane, which listens once it is open.
struct Signing {
    plane: Arc<Plane>,
    /// Its one task; dropped with the service.
    tasks: JoinSet<()>,
}

impl Signing {
    /// Whether the plane is open. A task that ended, which no task does, is none.
    fn is_open(&mut self) -> bool {
        while self.tasks.try_join_next().is_some() {
            tracing::error!("the signing plane ended");
        }
        !self.tasks.is_empty()
    }

    /// Listens, if it does not yet.
    fn open(&mut self, state: &State) -> std::io::Result<()> {
        if !self.is_open() {
            let listener = Listener::bind(&state.config.signing)?;
            tracing::info!(address = %state.config.signing, "the signing plane is open");
            self.tasks.spawn(Arc::clone(&self.plane).serve(listener));
        }
        Ok(())
    }
}
