//! The parent's end of the control plane.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use enclave_wire::control::{
    AgentReply, ControlError, Create, EnclaveRequest, Import, InstallChain, InstallCredential, KeyInfo, Reply, Request,
};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::identity::{CertificateRequest, Chain};
use enclave_wire::{KeyId, KeyType, Name, Usage, Writer};

use super::client::Credential;

/// One control connection. A thread of its own answers the service's heartbeat, also while this one signs.
pub(crate) struct Agent {
    writing: Arc<Mutex<UnixStream>>,
    replies: Receiver<(u64, Reply)>,
    last_id: u64,
}

/// A request was refused by a rule, or there was no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("{0:?}")]
    By(ControlError),
    #[error(transparent)]
    Broken(#[from] anyhow::Error),
}

impl Agent {
    /// On the connection that the service dialled.
    pub(crate) fn new(stream: UnixStream) -> Result<Self> {
        let (sender, replies) = channel();
        let mut reading = stream.try_clone()?;
        let writing = Arc::new(Mutex::new(stream));
        let answering = Arc::clone(&writing);
        thread::spawn(move || -> Result<()> {
            loop {
                let (header, body) = read_frame(&mut reading)?;
                if header.is_reply() {
                    sender.send((header.request_id, Reply::decode(&header, &body)?))?;
                    continue;
                }
                let mut writer = Writer::new();
                answer(&EnclaveRequest::decode(&header, &body)?)?.write(&mut writer, header.request_id);
                write(&answering, &writer.into_bytes())?;
            }
        });
        Ok(Self {
            writing,
            replies,
            last_id: 0,
        })
    }

    /// The first exchange of a boot: no policy but the image's.
    pub(crate) fn begin(&mut self, credential: &Credential) -> Result<()> {
        ensure!(
            self.ask(&Request::Policy(None))? == Reply::PolicyTaken,
            "the service wants a policy"
        );
        self.admit(CLIENT, credential)
    }

    /// Lets a client in.
    pub(super) fn admit(&mut self, client: &str, credential: &Credential) -> Result<()> {
        let install = Request::InstallCredential(InstallCredential {
            client: name(client)?,
            id: credential.id,
            verifier: credential.verifier(),
        });
        ensure!(
            self.ask(&install)? == Reply::CredentialInstalled,
            "the service takes no credential"
        );
        Ok(())
    }

    /// Opens the signing plane.
    pub(crate) fn ready(&mut self) -> Result<()> {
        ensure!(
            self.ask(&Request::Ready)? == Reply::Serving,
            "the service does not serve"
        );
        Ok(())
    }

    /// A key for the one client.
    pub(crate) fn create(&mut self, name: &str, key_type: KeyType, host: &str) -> Result<KeyInfo, Refused> {
        let create = Create {
            name: self::name(name)?,
            key_type,
            usage: Usage::Digest,
            dns_names: list(vec![host.parse().map_err(invalid)?])?,
            clients: list(vec![self::name(CLIENT)?])?,
            sealed: None,
        };
        match self.ask(&Request::Create(create))? {
            Reply::Created(key) => Ok(key),
            other => Err(refused(other)),
        }
    }

    /// A key from here.
    pub(super) fn import(&mut self, name: &str, host: &str, pkcs8: Vec<u8>) -> Result<KeyInfo, Refused> {
        let import = Import {
            name: self::name(name)?,
            usage: Usage::Digest,
            dns_names: list(vec![host.parse().map_err(invalid)?])?,
            clients: list(vec![self::name(CLIENT)?])?,
            sealed: None,
            pkcs8: pkcs8.try_into().map_err(invalid)?,
        };
        match self.ask(&Request::Import(import))? {
            Reply::Imported(key) => Ok(key),
            other => Err(refused(other)),
        }
    }

    /// The key's certificate request.
    pub(crate) fn request(&mut self, key: KeyId) -> Result<CertificateRequest, Refused> {
        match self.ask(&Request::Csr(key))? {
            Reply::Csr(request) => Ok(request),
            other => Err(refused(other)),
        }
    }

    pub(crate) fn install(&mut self, key: KeyId, chain: Chain) -> Result<(), Refused> {
        match self.ask(&Request::InstallChain(InstallChain { key, chain }))? {
            Reply::ChainInstalled(_) => Ok(()),
            other => Err(refused(other)),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        self.last_id += 1;
        let mut writer = Writer::new();
        request.write(&mut writer, self.last_id);
        write(&self.writing, &writer.into_bytes())?;
        let (id, reply) = self
            .replies
            .recv_timeout(PATIENCE)
            .with_context(|| format!("no reply to {}", request.name()))?;
        ensure!(id == self.last_id, "a reply to another request");
        Ok(reply)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The thread's own descriptor would keep it open.
        let stream = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        drop(stream.shutdown(Shutdown::Both));
    }
}

fn refused(reply: Reply) -> Refused {
    match reply {
        Reply::Error(error) => Refused::By(error),
        other => Refused::Broken(anyhow::anyhow!("unexpected: {other:?}")),
    }
}

fn answer(request: &EnclaveRequest) -> Result<AgentReply> {
    match request {
        EnclaveRequest::Ping => Ok(AgentReply::Pong),
        EnclaveRequest::NeedCredentials => Ok(AgentReply::CredentialsNoted),
        EnclaveRequest::StoreState(_) => bail!("nothing here is sealed"),
        EnclaveRequest::Publish(_) | EnclaveRequest::Withdraw(_) | EnclaveRequest::Ended(_) => {
            bail!("no job runs here")
        }
    }
}

fn write(stream: &Mutex<UnixStream>, frame: &[u8]) -> Result<()> {
    Ok(stream.lock().unwrap_or_else(PoisonError::into_inner).write_all(frame)?)
}

fn read_frame(stream: &mut UnixStream) -> Result<(Header, Vec<u8>)> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let header = Header::decode(&header, limit::CONTROL)?;
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body)?;
    Ok((header, body))
}

fn name(text: &str) -> Result<Name> {
    Name::try_from(text).map_err(invalid)
}

fn list<T, const MAX: usize>(items: Vec<T>) -> Result<enclave_wire::control::Listed<T, MAX>> {
    items.try_into().map_err(invalid)
}

fn invalid(error: enclave_wire::DecodeError) -> anyhow::Error {
    anyhow::anyhow!("{error:?}")
}

/// Whom all keys are for.
const CLIENT: &str = "bench";
/// A key is made in milliseconds; what takes longer is a guest that works no more.
const PATIENCE: Duration = Duration::from_secs(30);
