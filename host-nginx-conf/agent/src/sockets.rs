//! The sockets of the agent, and who may connect to them.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enclave_wire::address::Address;
use vsock::{VsockListener, VsockStream};

use crate::Shared;
use crate::log::Event;
use enclave_tls_admin::frames::Socket;
use enclave_tls_admin::{files, peer};
use enclave_tls_config::Group;

/// Where the enclave dials.
pub(crate) struct EnclaveListener {
    plane: Plane,
    socket: Listener,
    strangers: Shared<Strangers>,
}

enum Listener {
    Unix(UnixListener),
    /// With this machine's own CID: who dials from it is a local process.
    Vsock(VsockListener, u32),
}

/// What the enclave dials for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    Control,
    Egress,
    Logs,
}

impl std::fmt::Display for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Control => "control",
            Self::Egress => "egress",
            Self::Logs => "logs",
        })
    }
}

/// A connection of the enclave's.
pub(crate) enum Stream {
    Unix(UnixStream),
    Vsock(VsockStream),
}

/// Why a socket was not opened.
#[derive(Debug)]
pub enum BindError {
    /// An abstract socket has no permissions: any user could pose as the enclave.
    Abstract(Plane),
    /// The directory of the socket lets others in.
    Directory(Plane, PathBuf),
    /// Somebody answers on it.
    InUse(PathBuf),
    /// A file that is no socket has its name.
    NotASocket(PathBuf),
    /// The kernel does not tell this machine's own CID, so that a local process could pose as the enclave.
    OwnCid(io::Error),
    /// The kernel refuses.
    Io(String, io::Error),
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Abstract(plane) => write!(
                f,
                "an abstract socket has no permissions, so any user could pose as the service; set `{plane}` under [enclave] to \
                 unix:/PATH or vsock:any:PORT",
            ),
            Self::Directory(plane, path) => write!(
                f,
                "{} must be a directory of mode 0700 that belongs to the user of the agent; who can reach the {plane} socket in \
                 it can pose as the service",
                path.display()
            ),
            Self::InUse(path) => write!(f, "another agent answers on {}; stop it first", path.display()),
            Self::NotASocket(path) => write!(f, "{} exists and is no socket; remove it", path.display()),
            Self::OwnCid(error) => write!(
                f,
                "/dev/vsock does not tell this machine's own CID, without which a local process could pose as the service: {error}; \
                 `modprobe vsock`, and let this user read /dev/vsock"
            ),
            Self::Io(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl EnclaveListener {
    pub(crate) fn bind(plane: Plane, address: &Address) -> Result<Self, BindError> {
        let socket = match address {
            Address::UnixPath(path) => {
                let path = Path::new(path);
                private_directory(plane, path)?;
                Listener::Unix(bind_path(path)?)
            }
            Address::UnixAbstract(_) => return Err(BindError::Abstract(plane)),
            // To listen, a CID says nothing: the address may be the one that the enclave dials.
            Address::Vsock { cid: _, port } => {
                let failed = |error| BindError::Io(address.to_string(), error);
                let own = vsock::get_local_cid().map_err(BindError::OwnCid)?;
                Listener::Vsock(
                    VsockListener::bind_with_cid_port(vsock::VMADDR_CID_ANY, *port).map_err(failed)?,
                    own,
                )
            }
        };
        Ok(Self {
            plane,
            socket,
            strangers: Shared::default(),
        })
    }

    /// The next connection of somebody who may be the enclave.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        loop {
            match &self.socket {
                Listener::Unix(listener) => {
                    let (stream, _) = listener.accept()?;
                    if peer::is_root_or_self(peer::uid(&stream)?) {
                        return Ok(Stream::Unix(stream));
                    }
                    self.turn_away("a stranger dialled its socket");
                }
                Listener::Vsock(listener, own) => {
                    let (stream, peer) = listener.accept()?;
                    if is_foreign(peer.cid(), *own) {
                        return Ok(Stream::Vsock(stream));
                    }
                    self.turn_away("a process of this machine dialled its port");
                }
            }
        }
    }

    /// Says so at most once a minute, and how many there were: any local user can dial without end.
    fn turn_away(&self, what: &str) {
        let mut strangers = self.strangers.lock();
        strangers.count = strangers.count.saturating_add(1);
        if strangers.said.is_none_or(|said| said.elapsed() >= SAID_EVERY) {
            Event::PlaneStranger.say(format_args!(
                "{} plane: {what} and was sent away ({} since the agent's start)",
                self.plane, strangers.count
            ));
            strangers.said = Some(Instant::now());
        }
        drop(strangers);
        std::thread::sleep(AFTER_STRANGER);
    }
}

/// Who was sent away.
#[derive(Default)]
struct Strangers {
    count: u64,
    said: Option<Instant>,
}

/// The admin socket: for the agent's user and one group. Where there is no such group, or this user is not of it, for the user alone.
pub(crate) fn bind_admin(path: &Path, group: &Group) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Io(path.display().to_string(), error);
    let parent = files::directory(path);
    if !parent.exists() {
        DirBuilder::new().mode(0o755).create(parent).map_err(failed)?;
    }
    let listener = bind_path(path)?;
    let given = files::group_id(&group.to_string()).and_then(|gid| chown(path, None, Some(gid)));
    let mode = match given {
        Ok(()) => 0o660,
        Err(error) => {
            Event::AdminGroup.say(format_args!(
                "{}: only this user and root may administer: group {group}: {error}",
                path.display()
            ));
            0o600
        }
    };
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    Ok(listener)
}

/// The socket of metrics: for the agent's user and group.
pub(crate) fn bind_metrics(path: &Path) -> Result<UnixListener, BindError> {
    let listener = bind_path(path)?;
    let shared = fs::set_permissions(path, Permissions::from_mode(0o660));
    shared.map_err(|error| BindError::Io(path.display().to_string(), error))?;
    Ok(listener)
}

/// Whether a CID is another machine's. Ports below 1024 keep a local user from listening, not from dialling through vsock's
/// loopback and posing as an enclave.
fn is_foreign(cid: u32, own: u32) -> bool {
    cid > vsock::VMADDR_CID_HOST && cid != own
}

fn private_directory(plane: Plane, socket: &Path) -> Result<(), BindError> {
    let parent = socket.parent().unwrap_or(Path::new("/"));
    let refused = || BindError::Directory(plane, parent.to_owned());
    let found = fs::symlink_metadata(parent).map_err(|_| refused())?;
    let ours = found.uid() == rustix::process::geteuid().as_raw();
    if found.is_dir() && ours && found.mode() & 0o7777 == 0o700 {
        Ok(())
    } else {
        Err(refused())
    }
}

/// Listens on a path. A socket that nobody answers on is left over, and is replaced.
fn bind_path(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |error| BindError::Io(path.display().to_string(), error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(failed)?,
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(BindError::InUse(path.to_owned())),
        },
    }
    UnixListener::bind(path).map_err(failed)
}

impl Stream {
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Vsock(stream) => stream.try_clone().map(Self::Vsock),
        }
    }

    /// Ends the connection for all its clones. One that has ended already is as good.
    pub(crate) fn end(&self) {
        drop(self.shutdown(Shutdown::Both));
    }

    /// Ends one direction, or both.
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Vsock(stream) => stream.shutdown(how),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Vsock(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buffer),
            Self::Vsock(stream) => stream.write(buffer.get(..VSOCK_WRITE).unwrap_or(buffer)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for Stream {
    fn read_within(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(time)),
            Self::Vsock(stream) => stream.set_read_timeout(Some(time)),
        }
    }

    fn write_within(&self, time: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_write_timeout(Some(time)),
            Self::Vsock(stream) => stream.set_write_timeout(Some(time)),
        }
    }
}

/// How often it is said that strangers dial.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// Whoever dials without end costs little CPU; the enclave dials again within a tenth of a second.
const AFTER_STRANGER: Duration = Duration::from_millis(5);
/// The most that is written to a vsock at a time.
const VSOCK_WRITE: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_from_this_machine_is_no_enclave() {
        for local in [0, 1, 2, 3] {
            assert!(!is_foreign(local, 3));
        }
        assert!(is_foreign(16, 3));
        assert!(is_foreign(3, 2), "the first guest of a host that is no Nitro parent");
    }
}
