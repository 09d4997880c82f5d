//! A thread for each core, each with a runtime of its own, and the connections spread over them.
//!
//! One runtime of many threads was measured against this and lost: a result that comes back from an RSA thread passes through a
//! queue that all workers share, which cost some 5 µs a signature, and connections wandered from core to core.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::rsa;
use crate::statistics::{Entered, Gauge};

/// Threads that serve connections. They end when this is dropped.
pub(super) struct Reactors(Vec<Reactor>);

struct Reactor {
    runtime: Handle,
    connections: Gauge,
    /// Dropped with this, which ends the thread.
    _running: oneshot::Sender<()>,
}

impl Reactors {
    /// Starts them. `boot` goes into the threads' names, of which the kernel keeps 15 bytes.
    pub(super) fn start(boot: &str) -> io::Result<Self> {
        let cores = available_parallelism()?.get();
        (0..cores)
            .map(|number| Reactor::start(format!("sign-{number}-{boot:.8}")))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The runtime that has the fewest connections, and a place there.
    pub(super) fn place(&self) -> Option<(&Handle, Entered)> {
        let reactor = self.0.iter().min_by_key(|reactor| reactor.connections.get())?;
        Some((&reactor.runtime, reactor.connections.enter(u32::MAX)?))
    }
}

impl Reactor {
    fn start(name: String) -> io::Result<Self> {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().on_thread_park(rsa::sleeps).build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name(name).spawn(move || {
            // Nothing is ever sent: the wait ends when the other side is gone.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self {
            runtime: handle,
            connections: Gauge::default(),
            _running: running,
        })
    }
}
