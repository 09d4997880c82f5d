//! `enclave-tlsctl listen`: holds the control connection that the enclave dials, and answers the other commands.
//!
//! Threads, no runtime: one accepts the enclave's dials, one reads each control connection, one greets a new one ([`replay`]), and one
//! serves each command ([`front`]). One request is under way at a time. The agent of a later release takes this command's place.

mod control;
mod front;
mod link;
mod record;
mod replay;
mod sockets;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use enclave_wire::address::Address;
use rustix::fs::Mode;
use serde::Serialize;

use crate::store::{OpenError, Store};
use crate::{args, show};
use control::Control;
use front::Front;
use sockets::{BindError, ControlListener};
pub(crate) use sockets::{is_trusted, peer_uid};

/// Why `listen` did not start.
#[derive(Debug)]
pub(crate) enum ListenError {
    /// One of its two sockets.
    Bind(BindError),
    /// The replay directory.
    Store(OpenError),
    /// Standard output.
    Output(io::Error),
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output: {error}"),
        }
    }
}

/// Runs until it is ended.
pub(crate) fn run(options: &args::Listen, socket: PathBuf, json: bool) -> Result<(), ListenError> {
    // Nothing that this process makes is for others.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let store = options
        .replay
        .as_deref()
        .map(Store::open)
        .transpose()
        .map_err(ListenError::Store)?;
    let commands = sockets::bind_commands(&socket).map_err(ListenError::Bind)?;
    let enclave = ControlListener::bind(&options.control).map_err(ListenError::Bind)?;
    announce(&options.control, socket, json).map_err(ListenError::Output)?;

    let store = Arc::new(store.map(Shared::new));
    let control = Arc::new(Control::default());
    let dials = (Arc::clone(&control), Arc::clone(&store));
    std::thread::spawn(move || control::accept(&enclave, &dials.0, &dials.1));
    Arc::new(Front::new(control, store)).accept(&commands);
    Ok(())
}

/// A value that threads use in turn. A thread that panicked while it had it leaves it as it is: files are replaced whole, and
/// connections are closed by their readers.
#[derive(Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announce(control: &Address, socket: PathBuf, json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listening {
        control: String,
        socket: PathBuf,
    }
    say(&format!(
        "the service may dial {control}; commands are taken on {}",
        socket.display()
    ));
    if json {
        show::json(&Listening {
            control: control.to_string(),
            socket,
        })?;
    }
    Ok(())
}

/// One line of the log of `listen`, which is its standard error.
fn say(line: &str) {
    eprintln!("listen: {line}");
}
