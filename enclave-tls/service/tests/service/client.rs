//! The module's side of the signing plane, blocking, as the protocol words it.

use std::io::{self, Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use enclave_wire::credential::{CredentialId, Hello, Secret, Transcript, Verifier};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::signing::{Entry, FindByLabel, Label, List, Listing, Page, Reply, Request, Sign, SignError};
use enclave_wire::{BootId, KeyId, Mechanism, Writer};

/// A credential, as its file gives it.
pub(crate) struct Identity {
    pub(crate) id: CredentialId,
    verifier: [u8; 32],
}

impl Identity {
    pub(crate) fn new() -> Self {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).unwrap();
        let secret = Secret::from_random(secret);
        let id = sha256(&secret.id_input())[..16].try_into().unwrap();
        Self {
            id: CredentialId(id),
            verifier: sha256(&secret.verifier_input()),
        }
    }

    pub(crate) fn verifier(&self) -> Verifier {
        Verifier(self.verifier)
    }

    pub(crate) fn mac(&self, input: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.verifier);
        hmac::sign(&key, input).as_ref().try_into().unwrap()
    }
}

fn sha256(input: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, input).as_ref().try_into().unwrap()
}

/// One connection to the signing plane.
pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    pub(crate) last_id: u64,
    buffer: Vec<u8>,
}

/// Why a handshake failed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The service's proof is wrong; the client goes no further.
    ServiceProof,
    Refused(SignError),
    Closed,
}

impl Client {
    /// Connects, and no more.
    pub(crate) fn dial(name: &str) -> io::Result<Self> {
        let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream,
            last_id: 0x1234_5678_9abc_def0,
            buffer: vec![0; 65_600],
        })
    }

    /// Connects and authenticates.
    pub(crate) fn open(name: &str, identity: &Identity) -> Result<(Self, BootId), Failed> {
        let mut client = Self::dial(name).map_err(|_| Failed::Closed)?;
        let transcript = client.hello(identity)?;
        let proof = identity.mac(&transcript.client_input());
        let boot = client.authenticate(proof)?;
        Ok((client, boot))
    }

    /// Says hello, and checks the service's proof.
    pub(crate) fn hello(&mut self, identity: &Identity) -> Result<Transcript, Failed> {
        let mut client_nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut client_nonce).unwrap();
        let hello = Hello {
            credential: identity.id,
            client_nonce,
        };
        match self.call(&Request::Hello(hello)).map_err(|_| Failed::Closed)? {
            Reply::Challenge(challenge) => {
                let transcript = Transcript {
                    credential: identity.id,
                    client_nonce,
                    server_nonce: challenge.server_nonce,
                };
                if identity.mac(&transcript.server_input()) == challenge.server_proof {
                    Ok(transcript)
                } else {
                    Err(Failed::ServiceProof)
                }
            }
            Reply::Error(error) => Err(Failed::Refused(error)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn authenticate(&mut self, proof: [u8; 32]) -> Result<BootId, Failed> {
        match self.call(&Request::Authenticate(proof)).map_err(|_| Failed::Closed)? {
            Reply::Authenticated(boot) => Ok(boot),
            Reply::Error(error) => Err(Failed::Refused(error)),
            other => panic!("{other:?}"),
        }
    }

    /// One request and its reply. Each is one write and one read where the socket allows it, as in the module.
    pub(crate) fn call(&mut self, request: &Request<'_>) -> io::Result<Reply> {
        let frame = self.frame(request);
        self.stream.write_all(&frame)?;
        let (header, reply) = self.read()?;
        // A service that has no place answers before it has read anything.
        assert!(
            header.request_id == self.last_id || reply == Reply::Error(SignError::Busy),
            "{header:?}"
        );
        Ok(reply)
    }

    /// The bytes of the next request.
    pub(crate) fn frame(&mut self, request: &Request<'_>) -> Vec<u8> {
        self.last_id = self.last_id.wrapping_add(1);
        let mut writer = Writer::new();
        request.write(&mut writer, self.last_id);
        writer.into_bytes()
    }

    /// Reads one reply.
    pub(crate) fn read(&mut self) -> io::Result<(Header, Reply)> {
        let (header, total) = self.read_bytes()?;
        let reply = Reply::decode(&header, &self.buffer[HEADER_LEN..total]).unwrap();
        Ok((header, reply))
    }

    /// Reads one reply as it is on the wire.
    pub(crate) fn read_raw(&mut self) -> io::Result<Vec<u8>> {
        let (_, total) = self.read_bytes()?;
        Ok(self.buffer[..total].to_vec())
    }

    /// Reads one reply, which others may follow.
    pub(crate) fn skip_a_reply(&mut self) -> io::Result<()> {
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header)?;
        let header = Header::decode(&header, limit::SIGNING_REPLY).unwrap();
        self.stream.read_exact(&mut self.buffer[..header.body_len()])
    }

    fn read_bytes(&mut self) -> io::Result<(Header, usize)> {
        let mut filled = 0;
        loop {
            let count = self.stream.read(&mut self.buffer[filled..])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += count;
            if let Some(front) = self.buffer[..filled].first_chunk::<HEADER_LEN>() {
                let header = Header::decode(front, limit::SIGNING_REPLY).unwrap();
                let total = HEADER_LEN + header.body_len();
                assert!(filled <= total, "one reply for one request");
                if filled == total {
                    return Ok((header, total));
                }
            }
        }
    }

    /// A signature, bound to its request.
    pub(crate) fn sign(&mut self, key: KeyId, mechanism: Mechanism, input: &[u8]) -> Result<Vec<u8>, SignError> {
        match self.call(&Request::Sign(Sign { key, mechanism, input })).unwrap() {
            Reply::Signature(signature) => {
                assert_eq!((signature.key, signature.mechanism), (key, mechanism));
                assert_eq!(usize::from(signature.input_len), input.len());
                Ok(signature.signature)
            }
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn list(&mut self, known_version: u64, cursor: u32) -> Result<Listing, SignError> {
        match self.call(&Request::List(List { known_version, cursor })).unwrap() {
            Reply::Listing(listing) => Ok(listing),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn find_by_label(&mut self, label: &str, cursor: u32) -> Page {
        let label = Label::try_from(label).unwrap();
        match self.call(&Request::FindByLabel(FindByLabel { label, cursor })).unwrap() {
            Reply::Labelled(Listing::Page(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn find_by_id(&mut self, id: KeyId) -> Vec<Entry> {
        match self.call(&Request::FindById(id)).unwrap() {
            Reply::Found(entries) => entries.0,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the service has closed the connection, waiting for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 16]), Ok(0) | Err(_))
    }
}
