//! `enclave-tlsctl listen`: holds the control connection that the enclave dials, and answers the other commands.
//!
//! Threads, no runtime: one accepts the enclave's dials, one reads each control connection, one greets a new one ([`replay`]) and then
//! opens what AWS did not open at once, one serves each command ([`front`]), one finds AWS credentials ([`aws`]), one accepts the
//! enclave's connections to AWS, and two carry each of these ([`egress`]); one accepts the connections of the enclave's log, and one
//! reads the newest ([`logs`]). One request is under way at a time. The agent of a later release takes this command's place.

mod aws;
mod backoff;
mod control;
mod egress;
mod front;
mod link;
mod logs;
mod parent;
mod record;
mod replay;
mod settled;
mod sockets;
mod waiting;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use enclave_wire::address::Address;
use rustix::fs::Mode;
use serde::Serialize;

use crate::store::{OpenError, Store};
use crate::{args, show};
use aws::Aws;
use control::Control;
pub(crate) use egress::Allowed;
use egress::Egress;
use front::Front;
use logs::Logs;
use parent::Parent;
use sockets::{BindError, EnclaveListener, Plane};
pub(crate) use sockets::{is_trusted, peer_uid};

/// Why `listen` did not start.
#[derive(Debug)]
pub(crate) enum ListenError {
    /// One of its sockets.
    Bind(BindError),
    /// The replay directory.
    Store(OpenError),
    /// Standard output.
    Output(io::Error),
    /// AWS credentials were asked for, of a build that knows no AWS.
    #[cfg(not(feature = "aws"))]
    Aws(crate::aws::AwsError),
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
            Self::Output(error) => write!(f, "standard output: {error}"),
            #[cfg(not(feature = "aws"))]
            Self::Aws(error) => error.fmt(f),
        }
    }
}

/// Runs until it is ended.
pub(crate) fn run(options: &args::Listen, socket: PathBuf, json: bool) -> Result<(), ListenError> {
    #[cfg(not(feature = "aws"))]
    if options.aws {
        return Err(ListenError::Aws(crate::aws::AwsError::NotBuilt));
    }
    // Nothing that this process makes is for others.
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let store = options
        .replay
        .as_deref()
        .map(Store::open)
        .transpose()
        .map_err(ListenError::Store)?;
    let commands = sockets::bind_commands(&socket).map_err(ListenError::Bind)?;
    let bind = |plane, address| EnclaveListener::bind(plane, address).map_err(ListenError::Bind);
    let control_dials = bind(Plane::Control, &options.control)?;
    let egress_dials = options
        .egress
        .as_ref()
        .map(|address| bind(Plane::Egress, address))
        .transpose()?;
    let log_dials = options
        .logs
        .as_ref()
        .map(|address| bind(Plane::Logs, address))
        .transpose()?;
    announce(options, socket, json).map_err(ListenError::Output)?;

    let aws = options
        .aws
        .then(|| Aws::new(options.kms_host.clone(), options.s3_host.clone()));
    let egress = egress_dials.map(|dials| {
        let egress = Arc::new(Egress::new(&options.egress_allow));
        let serving = Arc::clone(&egress);
        std::thread::spawn(move || egress::accept(&dials, &serving));
        egress
    });
    let logs = log_dials.map(|dials| {
        let logs = Arc::new(Logs::new());
        let serving = Arc::clone(&logs);
        std::thread::spawn(move || logs::accept(&dials, &serving));
        logs
    });
    let parent = Arc::new(Parent::new(store, aws, egress, logs));
    let control = Arc::new(Control::default());
    let shared = || (Arc::clone(&parent), Arc::clone(&control));
    if parent.aws.is_some() {
        let (parent, control) = shared();
        std::thread::spawn(move || parent.aws.as_ref().map(|aws| aws.run(&control)));
    }
    let (its_parent, its_control) = shared();
    std::thread::spawn(move || control::accept(&control_dials, &its_control, &its_parent));
    Arc::new(Front::new(control, parent)).accept(&commands);
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

    fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn announce(options: &args::Listen, socket: PathBuf, json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listening {
        control: String,
        egress: Option<String>,
        logs: Option<String>,
        socket: PathBuf,
    }
    let (control, egress, logs) = (
        options.control.to_string(),
        options.egress.as_ref().map(Address::to_string),
        options.logs.as_ref().map(Address::to_string),
    );
    if let Some(egress) = &egress {
        say(&format!("the service may reach the allow-list through {egress}"));
    }
    if let Some(logs) = &logs {
        say(&format!("the enclave may send its log to {logs}"));
    }
    say(&format!(
        "the service may dial {control}; commands are taken on {}",
        socket.display()
    ));
    if json {
        show::json(&Listening {
            control,
            egress,
            logs,
            socket,
        })?;
    }
    Ok(())
}

/// One line of the log of `listen`, which is its standard error.
fn say(line: &str) {
    eprintln!("listen: {line}");
}
