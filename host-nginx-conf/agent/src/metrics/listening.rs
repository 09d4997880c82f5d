//! One place at a time on which connections are taken: bound, tried again while it is not free, and closed before the next is bound.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use enclave_tls_config::Metrics as Place;

use crate::clock::Bell;
use crate::{Shared, sockets};

/// Whoever has connections taken for him.
pub(super) trait Takes: Send + Sync + 'static {
    /// Somebody connected.
    fn take(&self, stream: Stream);

    /// A connection was not to be had; the next may be.
    fn failed(&self, error: &io::Error);

    /// Whether the place is listened on; said after each attempt.
    fn bound(&self, outcome: Result<(), &str>);
}

/// A thread that listens on a place, or tries to.
pub(super) struct Listening {
    ending: Arc<Ending>,
    thread: JoinHandle<()>,
}

/// How it is told to end.
#[derive(Default)]
struct Ending {
    state: Shared<State>,
    bell: Bell,
}

#[derive(Default)]
struct State {
    is_over: bool,
    socket: Option<Arc<Listener>>,
}

impl Listening {
    /// Tries once before it returns, so that a place that is free is listened on then.
    pub(super) fn on(place: Place, takes: impl Takes) -> Self {
        let ending = Arc::<Ending>::default();
        let first = attempt(&place, &takes);
        let its = Arc::clone(&ending);
        let thread = std::thread::spawn(move || {
            let Some(listener) = first.or_else(|| again(&place, &takes, &its.bell)) else {
                return;
            };
            accept(listener, &takes, &its);
        });
        Self { ending, thread }
    }

    /// Once this returns its place is free for the next.
    pub(super) fn end(self) {
        {
            let mut state = self.ending.state.lock();
            state.is_over = true;
            if let Some(socket) = state.socket.take() {
                socket.end();
            }
        }
        self.ending.bell.ring();
        drop(self.thread.join());
    }
}

fn attempt(place: &Place, takes: &impl Takes) -> Option<Listener> {
    let outcome = Listener::bind(place);
    takes.bound(outcome.as_ref().map(drop).map_err(String::as_str));
    outcome.ok()
}

/// Until it succeeds or the bell rings.
fn again(place: &Place, takes: &impl Takes, bell: &Bell) -> Option<Listener> {
    let mut pause = FIRST_PAUSE;
    loop {
        if bell.wait(pause) {
            return None;
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        if let Some(listener) = attempt(place, takes) {
            return Some(listener);
        }
    }
}

fn accept(listener: Listener, takes: &impl Takes, ending: &Ending) {
    let listener = Arc::new(listener);
    {
        let mut state = ending.state.lock();
        if state.is_over {
            return listener.end();
        }
        state.socket = Some(Arc::clone(&listener));
    }
    loop {
        let stream = listener.accept();
        if ending.state.lock().is_over {
            return;
        }
        match stream {
            Ok(stream) => takes.take(stream),
            Err(error) => {
                takes.failed(&error);
                if ending.bell.wait(AFTER_FAILURE) {
                    return;
                }
            }
        }
    }
}

enum Listener {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    fn bind(place: &Place) -> Result<Self, String> {
        match place {
            Place::None => Err("there is no place to listen on".to_owned()),
            Place::Unix(path) => sockets::bind_metrics(path)
                .map(|socket| Self::Unix(socket, path.clone()))
                .map_err(|error| error.to_string()),
            Place::Loopback(address) => TcpListener::bind(address)
                .map(Self::Tcp)
                .map_err(|error| format!("cannot listen on {address}: {error}")),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(listener, _) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
        }
    }

    /// Who waits in [`Self::accept`] gets an error, now and from then on.
    fn end(&self) {
        let ended = match self {
            Self::Unix(listener, path) => {
                drop(std::fs::remove_file(path));
                rustix::net::shutdown(listener, rustix::net::Shutdown::Both)
            }
            Self::Tcp(listener) => rustix::net::shutdown(listener, rustix::net::Shutdown::Both),
        };
        ended.ok(); // Linux has no reason to refuse it.
    }
}

/// A connection. More than one thread may have it, so that another can end it.
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn read(&self, buffer: &mut [u8], within: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream
                .set_read_timeout(Some(within))
                .and_then(|()| (&mut &*stream).read(buffer)),
            Self::Tcp(stream) => stream
                .set_read_timeout(Some(within))
                .and_then(|()| (&mut &*stream).read(buffer)),
        }
    }

    pub(super) fn write(&self, bytes: &[u8], within: Duration) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream
                .set_write_timeout(Some(within))
                .and_then(|()| (&mut &*stream).write(bytes)),
            Self::Tcp(stream) => stream
                .set_write_timeout(Some(within))
                .and_then(|()| (&mut &*stream).write(bytes)),
        }
    }

    /// Who reads or writes gets no further.
    pub(super) fn end(&self) {
        drop(match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        });
    }
}

/// So that a lack of file descriptors does not become a lack of CPU.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// Whoever had the place may be ending just now.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// An order waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
