//! The agent's side of the socket.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use enclave_wire::Name;
use enclave_wire::credential::Secret;
use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use zeroize::Zeroizing;

use crate::{Deployed, Deployment, Generation, ObjectsFile, Refusal, Reply, Request, State};

/// Where the helper listens.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens, or not for us.
    Connect { socket: PathBuf, source: io::Error },
    /// Who listens is neither root nor this user. Nothing was sent.
    Stranger { socket: PathBuf, uid: u32 },
    /// The helper went away or took too long. What it was asked may be done, or may be finished by the next request.
    Socket(io::Error),
    /// The request is longer than the helper reads.
    TooLong,
    /// The helper sent what this release does not understand.
    Answer,
    /// The helper refused.
    Refused(Refusal),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { socket, source } => write!(
                f,
                "cannot reach enclave-tls-apply on {}: {source}; `systemctl start enclave-tls-apply.socket`",
                socket.display()
            ),
            Self::Stranger { socket, uid } => write!(
                f,
                "user {uid} listens on {}, and is neither root nor the agent; nothing was sent: find out who that is",
                socket.display()
            ),
            Self::Socket(error) => write!(
                f,
                "enclave-tls-apply did not answer: {error}; `journalctl -u enclave-tls-apply` says what it was doing"
            ),
            Self::TooLong => f.write_str("the request is too long; deploy fewer certificates at once"),
            Self::Answer => f.write_str(
                "the answer of enclave-tls-apply is not understood; install agent and helper of one release and restart the agent",
            ),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for ClientError {}

impl Client {
    /// A client of the helper behind this socket.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Installs a client's credential.
    pub fn credential(&self, client: Name, secret: Secret) -> Result<(), ClientError> {
        self.done(&Request::Credential { client, secret }, QUICK)
    }

    /// Writes a client's public objects.
    pub fn objects(&self, client: Name, objects: ObjectsFile) -> Result<(), ClientError> {
        self.done(&Request::Objects { client, objects }, QUICK)
    }

    /// Makes generations live, tests and reloads servers.
    pub fn deploy(&self, certificates: Vec<Deployment>) -> Result<Deployed, ClientError> {
        match self.ask(&Request::Deploy { certificates }, DEPLOY)? {
            Reply::Deployed(deployed) => Ok(deployed),
            Reply::Done {} | Reply::State(_) | Reply::Refused(_) => Err(ClientError::Answer),
        }
    }

    /// Removes what is neither kept nor live.
    pub fn prune(&self, certificate: Name, keep: Vec<Generation>) -> Result<(), ClientError> {
        self.done(&Request::Prune { certificate, keep }, QUICK)
    }

    /// What is there.
    pub fn state(&self) -> Result<State, ClientError> {
        match self.ask(&Request::State {}, QUICK)? {
            Reply::State(state) => Ok(state),
            Reply::Done {} | Reply::Deployed(_) | Reply::Refused(_) => Err(ClientError::Answer),
        }
    }

    fn done(&self, request: &Request, within: Duration) -> Result<(), ClientError> {
        match self.ask(request, within)? {
            Reply::Done {} => Ok(()),
            Reply::Deployed(_) | Reply::State(_) | Reply::Refused(_) => Err(ClientError::Answer),
        }
    }

    fn ask(&self, request: &Request, within: Duration) -> Result<Reply, ClientError> {
        let line = line(request)?;
        let mut socket = self.connect()?;
        let until = Instant::now().checked_add(within);
        send(&mut socket, &line).map_err(ClientError::Socket)?;
        let answer = read(&mut socket, until).map_err(ClientError::Socket)?;
        match serde_json::from_slice(&answer).map_err(|_| ClientError::Answer)? {
            Reply::Refused(refusal) => Err(ClientError::Refused(refusal)),
            reply @ (Reply::Done {} | Reply::Deployed(_) | Reply::State(_)) => Ok(reply),
        }
    }

    /// Connects, and makes sure of the peer: a request may hold a credential.
    fn connect(&self) -> Result<UnixStream, ClientError> {
        let failed = |source| ClientError::Connect {
            socket: self.socket.clone(),
            source,
        };
        let socket = UnixStream::connect(&self.socket).map_err(failed)?;
        let uid = socket_peercred(socket.as_fd())
            .map_err(|error| failed(error.into()))?
            .uid;
        if uid.is_root() || uid == geteuid() {
            Ok(socket)
        } else {
            Err(ClientError::Stranger {
                socket: self.socket.clone(),
                uid: uid.as_raw(),
            })
        }
    }
}

/// A request and a line feed, in a buffer that is wiped and never grew, since a buffer that grows leaves copies behind.
fn line(request: &Request) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    let mut length = Counter(0);
    serde_json::to_writer(&mut length, request).map_err(|_| ClientError::TooLong)?;
    if length.0 > crate::MAX_REQUEST {
        return Err(ClientError::TooLong);
    }
    let mut line = Zeroizing::new(Vec::with_capacity(length.0.saturating_add(1)));
    serde_json::to_writer(&mut *line, request).map_err(|_| ClientError::TooLong)?;
    line.push(b'\n');
    Ok(line)
}

struct Counter(usize);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn send(socket: &mut UnixStream, line: &[u8]) -> io::Result<()> {
    socket.set_write_timeout(Some(WRITE))?;
    socket.write_all(line)?;
    socket.shutdown(Shutdown::Write)
}

fn read(socket: &mut UnixStream, until: Option<Instant>) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let left = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut chunk) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => answer.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error),
        }
        if answer.last() == Some(&b'\n') {
            return Ok(answer);
        }
        if answer.len() > MAX_REPLY {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// The helper reads at once, whatever it does with what it read; when systemd starts it first, within this time too.
const WRITE: Duration = Duration::from_secs(10);
/// A few small files on a disk that is busy, behind one deployment of another asker.
const QUICK: Duration = Duration::from_secs(75);
/// The helper gives all tests of servers 60 s, and may have to finish another asker's deployment first.
const DEPLOY: Duration = Duration::from_secs(150);
/// A thousand certificates in a dozen servers, and their messages.
const MAX_REPLY: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_line_of_a_buffer_that_never_grew() {
        let secret = Secret::from_random([7; 32]);
        let client = "nginx".parse().unwrap();
        let line = line(&Request::Credential { client, secret }).ok().unwrap();
        assert_eq!(line.last(), Some(&b'\n'));
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(line.capacity(), line.len());
    }

    #[test]
    fn without_a_helper_the_error_says_what_to_start() {
        let error = Client::new(Path::new("/nonexistent/apply.sock")).state().err().unwrap();
        assert!(
            error.to_string().contains("systemctl start enclave-tls-apply.socket"),
            "{error}"
        );
    }

    #[test]
    fn an_answer_that_is_cut_off_or_of_another_release_is_no_answer() {
        let path = std::env::temp_dir().join(format!("enclave-tls-apply-client-{}", std::process::id()));
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || {
            for answer in ["{\"done\":{}", "{\"done\":{\"more\":1}}\n", "{\"done\":{}}\n"] {
                let (mut connection, _) = socket.accept().unwrap();
                connection.read_to_end(&mut Vec::new()).unwrap();
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        let prune = || Client::new(&path).prune("www".parse().unwrap(), Vec::new());
        assert!(matches!(prune(), Err(ClientError::Socket(_))));
        assert!(matches!(prune(), Err(ClientError::Answer)));
        assert!(matches!(prune(), Ok(())));
        server.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
