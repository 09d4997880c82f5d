//! A command's side of the socket of the agent.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use enclave_wire::control::{ControlError, Reply, Request};
use enclave_wire::{DecodeError, Writer};

use crate::frames::{self, ReadError};
use crate::protocol::{Answer, LIMIT, Parent, Question, Record, Records, Unable};
use crate::report::{Ask, Told};
use crate::{advice, peer};

/// Where the agent is.
pub struct Client {
    socket: PathBuf,
}

/// Why a command has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens, or not for us.
    Connect { socket: PathBuf, source: io::Error },
    /// Who listens is neither root, nor the user of this command, nor the agent's.
    Stranger { socket: PathBuf, uid: u32 },
    /// The agent went away or stalled.
    Socket(ReadError),
    /// The agent sent what this version does not understand.
    Answer(DecodeError),
    /// The agent has no answer of the enclave.
    Unable(Unable),
    /// The enclave refused.
    Refused(ControlError),
    /// An answer to something else.
    Unexpected,
}

impl std::fmt::Display for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect { socket, source } => write!(
                f,
                "cannot reach the agent on {}: {source}; is enclave-tls-agent.service running, and are you root or of the group \
                 enclave-tls-admin?",
                socket.display()
            ),
            Self::Stranger { socket, uid } => write!(
                f,
                "user {uid} listens on {}, and is neither root, nor you, nor the agent; nothing was sent: find out who that is",
                socket.display()
            ),
            Self::Socket(error) => write!(f, "the agent did not answer: {error}; look at what it says"),
            Self::Answer(error) => write!(
                f,
                "the agent is of another version ({error}); restart it with this version of enclave-tlsctl"
            ),
            Self::Unable(why) => f.write_str(advice::unable(*why)),
            Self::Refused(error) => f.write_str(advice::refused(*error)),
            Self::Unexpected => f.write_str(
                "the answer is to another question; restart the agent and the service from the same release",
            ),
        }
    }
}

impl Client {
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// Asks the enclave. An error of its is an error here.
    pub fn ask(&self, request: Request) -> Result<(Reply, Record), ClientError> {
        self.forward(request, false)
    }

    /// Asks the enclave; with `keep` an imported key is copied into the replay directory.
    pub fn forward(&self, request: Request, keep: bool) -> Result<(Reply, Record), ClientError> {
        match self.ask_even_if_refused(request, keep)? {
            (Reply::Error(error), _) => Err(ClientError::Refused(error)),
            answer => Ok(answer),
        }
    }

    /// Asks the enclave, and takes an error of its for an answer.
    pub fn ask_even_if_refused(&self, request: Request, keep: bool) -> Result<(Reply, Record), ClientError> {
        match self.exchange(&Question::Forward {
            keep,
            request: Box::new(request),
        })? {
            Answer::Outcome { record, reply } => Ok((reply, record)),
            Answer::Unable(why) => Err(ClientError::Unable(why)),
            Answer::Records(_) | Answer::Parent(_) | Answer::Agent(_) => Err(ClientError::Unexpected),
        }
    }

    /// What the replay directory holds.
    pub fn records(&self) -> Result<Records, ClientError> {
        match self.exchange(&Question::Records)? {
            Answer::Records(records) => Ok(records),
            Answer::Unable(why) => Err(ClientError::Unable(why)),
            Answer::Outcome { .. } | Answer::Parent(_) | Answer::Agent(_) => Err(ClientError::Unexpected),
        }
    }

    /// What the agent knows of itself.
    pub fn parent(&self) -> Result<Parent, ClientError> {
        match self.exchange(&Question::Parent)? {
            Answer::Parent(parent) => Ok(parent),
            Answer::Unable(why) => Err(ClientError::Unable(why)),
            Answer::Outcome { .. } | Answer::Records(_) | Answer::Agent(_) => Err(ClientError::Unexpected),
        }
    }

    /// What the agent does by itself.
    pub fn agent(&self, ask: Ask) -> Result<Told, ClientError> {
        match self.exchange(&Question::Agent(ask))? {
            Answer::Agent(told) => Ok(told),
            Answer::Unable(why) => Err(ClientError::Unable(why)),
            Answer::Outcome { .. } | Answer::Records(_) | Answer::Parent(_) => Err(ClientError::Unexpected),
        }
    }

    fn exchange(&self, question: &Question) -> Result<Answer, ClientError> {
        let mut socket = self.connect()?;
        let mut writer = Writer::new();
        question.write(&mut writer);
        frames::send(&mut socket, writer).map_err(|error| ClientError::Socket(error.into()))?;
        let frame = frames::read(&mut socket, LIMIT, ANSWER).map_err(ClientError::Socket)?;
        Answer::read(&frame).map_err(ClientError::Answer)
    }

    /// Connects, and makes sure of the peer: an import sends it a private key.
    fn connect(&self) -> Result<UnixStream, ClientError> {
        let failed = |source| ClientError::Connect {
            socket: self.socket.clone(),
            source,
        };
        let socket = UnixStream::connect(&self.socket).map_err(failed)?;
        let uid = peer::uid(&socket).map_err(failed)?;
        if peer::is_agent(uid) {
            Ok(socket)
        } else {
            Err(ClientError::Stranger {
                socket: self.socket.clone(),
                uid,
            })
        }
    }
}

/// More than the agent itself waits: for its turn, for the enclave to come, for its answer.
const ANSWER: Duration = Duration::from_secs(160);
