//! The socket: systemd's, or one that is made here.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use enclave_tls_apply::{Reply, Request};
use listenfd::ListenFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Gid, geteuid};

use crate::exchange;
use crate::failure::Failure;
use crate::places::BaseError;

/// A socket, and how long it is worth waiting at.
pub(crate) struct Listener {
    socket: UnixListener,
    /// The group that the socket's mode lets in.
    group: Option<Gid>,
    /// Whether systemd starts this program again when somebody connects.
    activated: bool,
}

/// Why it does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// Neither has systemd passed a socket, nor does an argument name one.
    NoSocket,
    /// What systemd passed is no listening unix socket.
    Passed(io::Error),
    /// The path cannot be listened on.
    Bind { path: PathBuf, source: io::Error },
    /// No more connections can be taken.
    Accept(io::Error),
    /// `--base` or `--module` is not fit to be written into files.
    Place(BaseError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSocket => {
                f.write_str("no socket was passed; start it by enclave-tls-apply.socket, or give --socket PATH")
            }
            Self::Passed(error) => write!(
                f,
                "what systemd passed cannot be used: {error}; enclave-tls-apply.socket has one ListenStream= and Accept=no"
            ),
            Self::Bind { path, source } => write!(
                f,
                "cannot listen on {}: {source}; name a path in a directory that is there",
                path.display()
            ),
            Self::Accept(error) => write!(f, "cannot take connections: {error}"),
            Self::Place(error) => error.fmt(f),
        }
    }
}

impl Listener {
    /// Takes the socket that systemd passed, or makes one.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, StartError> {
        match path {
            Some(path) => Self::bind(path).map_err(|source| StartError::Bind {
                path: path.to_owned(),
                source,
            }),
            None => Self::passed(),
        }
    }

    fn passed() -> Result<Self, StartError> {
        let socket = ListenFd::from_env().take_unix_listener(0).map_err(StartError::Passed)?;
        let socket = socket.ok_or(StartError::NoSocket)?;
        socket.set_nonblocking(true).map_err(StartError::Passed)?;
        let group = socket
            .local_addr()
            .ok()
            .and_then(|address| fs::metadata(address.as_pathname()?).ok())
            .map(|metadata| Gid::from_raw(metadata.gid()));
        Ok(Self {
            socket,
            group,
            activated: true,
        })
    }

    fn bind(path: &Path) -> io::Result<Self> {
        // A socket that an earlier run left behind; anything else is somebody's and stays.
        if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let socket = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            group: fs::metadata(path).ok().map(|metadata| Gid::from_raw(metadata.gid())),
            activated: false,
        })
    }

    /// Answers one request a connection, one connection after the other: what is asked for is never done twice at a time.
    pub(crate) fn serve(&self, answer: impl Fn(Request) -> Reply) -> Result<(), StartError> {
        while self.wait()? {
            match self.socket.accept() {
                Ok((connection, _)) => exchange::exchange(connection, |connection| self.admit(connection), &answer),
                // The asker has gone again, or a signal came.
                Err(error) if PASSING.contains(&error.kind()) => {}
                Err(error) => return Err(StartError::Accept(error)),
            }
        }
        Ok(())
    }

    /// False where it is time to end.
    fn wait(&self) -> Result<bool, StartError> {
        let idle = self.activated.then_some(Timespec {
            tv_sec: IDLE_SECONDS,
            tv_nsec: 0,
        });
        let mut sockets = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut sockets, idle.as_ref()) {
            Ok(ready) => Ok(ready != 0),
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(StartError::Accept(error.into())),
        }
    }

    /// The socket's mode lets in its group already. This is for the day when it does not: then neither a user of another
    /// group nor one who has the agent's group as one of many may ask.
    fn admit(&self, connection: &UnixStream) -> Result<(), Failure> {
        let peer = socket_peercred(connection.as_fd()).map_err(|error| Failure::Arrival(error.into()))?;
        if peer.uid.is_root() || peer.uid == geteuid() || Some(peer.gid) == self.group {
            Ok(())
        } else {
            Err(Failure::Stranger { uid: peer.uid.as_raw() })
        }
    }
}

/// systemd starts it again in milliseconds. Until then root has one process fewer.
const IDLE_SECONDS: i64 = 30;
/// A request is written at once. Whoever does not is not waited for: nobody else is answered meanwhile.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(10);
/// Not the socket's faults.
const PASSING: [io::ErrorKind; 3] = [
    io::ErrorKind::WouldBlock,
    io::ErrorKind::Interrupted,
    io::ErrorKind::ConnectionAborted,
];
