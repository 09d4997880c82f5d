//! A client of the signing plane that sends what it is told, so that replies can be compared byte by byte.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use enclave_wire::Writer;
use enclave_wire::address::Address;
use enclave_wire::credential::{CredentialId, Hello, Secret, Transcript};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::signing::{Reply, Request};

/// A connection.
pub struct Connection {
    stream: UnixStream,
    next: u64,
}

/// The whole frame of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(pub Vec<u8>);

impl Connection {
    /// Connects, and no more. Request ids begin at 1, so that the frames of two connections can be compared.
    pub fn open(address: &str) -> Result<Self> {
        let address: Address = address.parse().map_err(|error| anyhow!("{address}: {error}"))?;
        let stream = match &address {
            Address::UnixAbstract(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?,
            Address::UnixPath(path) => UnixStream::connect(path)?,
            Address::Vsock { .. } => bail!("the lab has no vsock"),
        };
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(Self { stream, next: 1 })
    }

    /// Connects and proves the credential of a file.
    pub fn authenticated(address: &str, credential: &Path) -> Result<Self> {
        let mut connection = Self::open(address)?;
        let file = std::fs::read(credential).with_context(|| format!("cannot read {}", credential.display()))?;
        let reply = connection.prove(&file)?;
        ensure!(
            matches!(reply, Reply::Authenticated(_)),
            "the service refused the credential: {reply:?}"
        );
        Ok(connection)
    }

    /// The whole handshake with the content of a credential file; returns the service's last word.
    pub fn prove(&mut self, file: &[u8]) -> Result<Reply> {
        let secret = Secret::parse(file).map_err(|_| anyhow!("not a credential file"))?;
        let id = digest(&SHA256, &secret.id_input());
        let credential = CredentialId(*id.as_ref().first_chunk().context("SHA-256 is longer than 16 bytes")?);
        let verifier = hmac::Key::new(hmac::HMAC_SHA256, digest(&SHA256, &secret.verifier_input()).as_ref());
        let client_nonce = [7; 32];
        let Reply::Challenge(challenge) = self.ask(&Request::Hello(Hello {
            credential,
            client_nonce,
        }))?
        else {
            bail!("no challenge");
        };
        let transcript = Transcript {
            credential,
            client_nonce,
            server_nonce: challenge.server_nonce,
        };
        let proof = hmac::sign(&verifier, &transcript.client_input());
        self.ask(&Request::Authenticate(proof.as_ref().try_into()?))
    }

    /// Sends a request and returns the decoded reply.
    pub fn ask(&mut self, request: &Request<'_>) -> Result<Reply> {
        let Frame(bytes) = self.exchange(request)?;
        let (header, body) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .context("a frame has a header")?;
        Ok(Reply::decode(&Header::decode(header, limit::SIGNING_REPLY)?, body)?)
    }

    /// Sends a request and returns the bytes of the reply.
    pub fn exchange(&mut self, request: &Request<'_>) -> Result<Frame> {
        let mut writer = Writer::new();
        request.write(&mut writer, self.next);
        self.next += 1;
        self.stream.write_all(&writer.into_bytes())?;
        let mut frame = vec![0; HEADER_LEN];
        self.stream.read_exact(&mut frame)?;
        let header = Header::decode(frame.first_chunk().context("a header")?, limit::SIGNING_REPLY)?;
        let mut body = vec![0; header.body_len()];
        self.stream.read_exact(&mut body)?;
        frame.extend(body);
        Ok(Frame(frame))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The socket, to which nothing more of this is known; it waits as long as it takes.
    pub fn into_stream(self) -> Result<UnixStream> {
        self.stream.set_read_timeout(None)?;
        Ok(self.stream)
    }

    /// Says that nothing more will be sent.
    pub fn close_writing(&mut self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// What the service still sends until it closes; an error if it does not close.
    pub fn until_closed(&mut self) -> Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.stream
            .read_to_end(&mut rest)
            .context("the service left the connection open")?;
        Ok(rest)
    }
}

/// Above every deadline of the service but that of an idle connection.
const LIMIT: Duration = Duration::from_secs(5);
