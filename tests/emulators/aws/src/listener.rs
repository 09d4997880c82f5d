//! Listeners, and the threads that serve what comes to them.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

/// A bound address that nobody serves yet.
pub struct Listener {
    inner: std::net::TcpListener,
    address: SocketAddr,
}

/// Why nobody listens.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {0}: {1}")]
pub struct ListenError(String, #[source] std::io::Error);

impl Listener {
    /// Binds an address; port 0 takes a free one.
    pub fn bind(address: &str) -> Result<Self, ListenError> {
        let bound = std::net::TcpListener::bind(address).and_then(|inner| {
            inner.set_nonblocking(true)?;
            let address = inner.local_addr()?;
            Ok(Self { inner, address })
        });
        bound.map_err(|error| ListenError(address.to_owned(), error))
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Threads that serve listeners. They end when this is dropped.
pub struct Listening {
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Nothing is served yet.
    pub fn new() -> Result<Self, ListenError> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Ok(Self {
            runtime: Some(runtime.map_err(|error| ListenError("any address".to_owned(), error))?),
            stop: None,
            thread: None,
        })
    }

    /// Hands every connection of a listener to `serve`, as a task of its own.
    pub fn serve<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        listener: Listener,
        serve: impl Fn(TcpStream) -> F + Send + 'static,
    ) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(accept(listener.inner, serve));
        }
    }

    /// A thread of its own drives it from now on, so that whoever starts an emulator may be in a runtime already.
    pub fn start(&mut self) {
        let Some(runtime) = self.runtime.take() else { return };
        let (stop, stopped) = oneshot::channel::<()>();
        self.stop = Some(stop);
        self.thread = Some(std::thread::spawn(move || {
            // An error is the sender's end, which is as good.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        }));
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: std::net::TcpListener,
    serve: impl Fn(TcpStream) -> F,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        match listener.accept().await {
            Ok((connection, _)) => {
                // Only slower without.
                let _ = connection.set_nodelay(true);
                drop(tokio::spawn(serve(connection)));
            }
            // Out of descriptors, perhaps: that passes.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
