//! The control peer, as a test drives it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use enclave_wire::control::{
    Attest, Attestation, ControlError, Counters, Create, CredentialInfo, EnclaveRequest, Import, InstallAws,
    InstallCredential, KeyInfo, KeyPage, Narrow, Provision, Reply, Request, RevokeCredential, Status,
};
use enclave_wire::credential::CredentialId;
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::{Chain, KeyId, KeyType, Name, Usage, Writer};

use super::client::Identity;
use super::kept::{Does, Kept};

/// One control connection. A thread of its own answers the service's requests.
pub(crate) struct Agent {
    stream: UnixStream,
    replies: Receiver<(u64, Reply)>,
    last_id: u64,
}

impl Agent {
    /// Waits for the service to dial.
    pub(crate) fn accept(listener: &UnixListener) -> Self {
        Self::accept_and_keep(listener, Arc::default())
    }

    /// Waits for the service to dial, and keeps its states.
    pub(crate) fn accept_and_keep(listener: &UnixListener, kept: Arc<Kept>) -> Self {
        let (stream, _) = listener.accept().unwrap();
        let (sender, replies) = channel();
        let mut reader = stream.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Some((header, body)) = read_frame(&mut reader) {
                if header.is_reply() {
                    // The reply to what was sent beside another request is nobody's to wait for.
                    if header.request_id != BESIDE {
                        let _ = sender.send((header.request_id, Reply::decode(&header, &body).unwrap()));
                    }
                    continue;
                }
                let asked = EnclaveRequest::decode(&header, &body).unwrap();
                match kept.answer(asked) {
                    Does::Answer(reply, beside) => {
                        let mut writer = Writer::new();
                        reply.write(&mut writer, header.request_id);
                        if let Some(request) = beside {
                            request.write(&mut writer, BESIDE);
                        }
                        let _ = reader.write_all(&writer.into_bytes());
                    }
                    Does::Nothing => {}
                    Does::HangUp => drop(reader.shutdown(std::net::Shutdown::Both)),
                }
            }
        });
        Self {
            stream,
            replies,
            last_id: 0,
        }
    }

    /// Ends a connection and waits for the service to dial again.
    pub(crate) fn accept_after(listener: &UnixListener, old: &mut Self) -> Self {
        old.disconnect();
        Self::accept(listener)
    }

    /// Ends the connection. The reading thread holds a second descriptor, so that closing one would not.
    pub(crate) fn disconnect(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    pub(crate) fn call(&mut self, request: &Request) -> Reply {
        self.ask(request).unwrap()
    }

    /// Sends a request, and does not wait.
    pub(crate) fn begin(&mut self, request: &Request) {
        self.last_id += 1;
        let mut writer = Writer::new();
        request.write(&mut writer, self.last_id);
        self.stream.write_all(&writer.into_bytes()).unwrap();
    }

    /// The next reply, whatever it answers.
    pub(crate) fn next(&self) -> Option<Reply> {
        self.replies
            .recv_timeout(Duration::from_secs(120))
            .ok()
            .map(|(_, reply)| reply)
    }

    /// None: the connection ended before the reply.
    pub(crate) fn ask(&mut self, request: &Request) -> Option<Reply> {
        self.begin(request);
        match self.replies.recv_timeout(Duration::from_secs(120)) {
            // A connection that ends in disorder ends with an error, which answers nothing.
            Ok((id, reply)) if id == self.last_id => Some(reply),
            Ok(_) | Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("no reply"),
        }
    }

    /// Sends bytes as they are, and gives whatever reply comes before the connection ends.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) -> Option<Reply> {
        self.stream.write_all(bytes).unwrap();
        self.replies
            .recv_timeout(Duration::from_secs(5))
            .ok()
            .map(|(_, reply)| reply)
    }

    /// Whether the service has closed the connection, waiting for it.
    pub(crate) fn is_closed(&self) -> bool {
        self.replies.recv_timeout(Duration::from_secs(5)) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected)
    }

    pub(crate) fn boot(&mut self) {
        assert_eq!(self.call(&Request::Policy(None)), Reply::PolicyTaken);
        assert_eq!(self.call(&Request::Ready), Reply::Serving);
    }

    pub(crate) fn install(&mut self, client: &str, identity: &Identity) {
        let request = InstallCredential {
            client: name(client),
            id: identity.id,
            verifier: identity.verifier(),
        };
        assert_eq!(
            self.call(&Request::InstallCredential(request)),
            Reply::CredentialInstalled
        );
    }

    pub(crate) fn create(&mut self, name: &str, key_type: &str, usage: Usage, clients: &[&str]) -> KeyInfo {
        self.try_create(name, key_type, usage, clients).unwrap()
    }

    pub(crate) fn try_create(
        &mut self,
        label: &str,
        key_type: &str,
        usage: Usage,
        clients: &[&str],
    ) -> Result<KeyInfo, ControlError> {
        let request = self.request(label, key_type, usage, clients);
        self.try_create_as(request)
    }

    /// What asks for a key that is not sealed.
    pub(crate) fn request(&self, label: &str, key_type: &str, usage: Usage, clients: &[&str]) -> Create {
        Create {
            name: name(label),
            key_type: key_type.parse::<KeyType>().unwrap(),
            usage,
            dns_names: vec!["lab.test".parse().unwrap()].try_into().unwrap(),
            clients: clients
                .iter()
                .map(|client| name(client))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
            sealed: None,
        }
    }

    /// A key whose name is sealed in a group.
    pub(crate) fn create_sealed(&mut self, label: &str, group: &str) -> Result<KeyInfo, ControlError> {
        self.try_create_as(Create {
            name: name(label),
            key_type: KeyType::P256,
            usage: Usage::Digest,
            dns_names: vec!["lab.test".parse().unwrap()].try_into().unwrap(),
            clients: vec![name("www")].try_into().unwrap(),
            sealed: Some(name(group)),
        })
    }

    fn try_create_as(&mut self, request: Create) -> Result<KeyInfo, ControlError> {
        match self.call(&Request::Create(request)) {
            Reply::Created(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn provision(&mut self, request: Provision) -> Result<KeyInfo, ControlError> {
        match self.call(&Request::Provision(request)) {
            Reply::Provisioned(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn restore(&mut self, blob: &[u8]) -> Result<Vec<KeyId>, ControlError> {
        match self.call(&Request::Restore(blob.to_vec().try_into().unwrap())) {
            Reply::Restored(ids) => Ok(ids.into_items()),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn install_aws(&mut self, install: InstallAws) -> Result<(), ControlError> {
        match self.call(&Request::InstallAws(install)) {
            Reply::AwsInstalled => Ok(()),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn attest(&mut self, nonce: &[u8], keys: &[KeyId]) -> Result<Attestation, ControlError> {
        let request = Attest {
            nonce: nonce.to_vec().try_into().unwrap(),
            keys: keys.to_vec().try_into().unwrap(),
        };
        match self.call(&Request::Attest(request)) {
            Reply::Attested(attestation) => Ok(attestation),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn try_import(
        &mut self,
        label: &str,
        usage: Usage,
        clients: &[&str],
        pkcs8: &[u8],
    ) -> Result<KeyInfo, ControlError> {
        let request = Import {
            name: name(label),
            usage,
            dns_names: vec!["lab.test".parse().unwrap()].try_into().unwrap(),
            clients: clients
                .iter()
                .map(|client| name(client))
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
            sealed: None,
            pkcs8: pkcs8.to_vec().try_into().ok().unwrap(),
        };
        match self.call(&Request::Import(request)) {
            Reply::Imported(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// A key from outside whose name is sealed in a group.
    pub(crate) fn import_sealed(&mut self, label: &str, group: &str, pkcs8: &[u8]) -> Result<KeyInfo, ControlError> {
        let request = Import {
            name: name(label),
            usage: Usage::Digest,
            dns_names: vec!["lab.test".parse().unwrap()].try_into().unwrap(),
            clients: vec![name("www")].try_into().unwrap(),
            sealed: Some(name(group)),
            pkcs8: pkcs8.to_vec().try_into().ok().unwrap(),
        };
        match self.call(&Request::Import(request)) {
            Reply::Imported(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn list(&mut self, cursor: u32) -> KeyPage {
        match self.call(&Request::List(cursor)) {
            Reply::Keys(page) => page,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn supersede(&mut self, id: KeyId) -> Result<KeyInfo, ControlError> {
        match self.call(&Request::Supersede(id)) {
            Reply::Superseded(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn reinstate(&mut self, id: KeyId) -> Result<KeyInfo, ControlError> {
        match self.call(&Request::Reinstate(id)) {
            Reply::Reinstated(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn narrow(&mut self, key: KeyId, usage: Usage) -> Result<KeyInfo, ControlError> {
        match self.call(&Request::Narrow(Narrow { key, usage })) {
            Reply::Narrowed(info) => Ok(info),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn retire(&mut self, id: KeyId) -> Result<(), ControlError> {
        match self.call(&Request::Retire(id)) {
            Reply::Retired => Ok(()),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn credentials(&mut self) -> Vec<CredentialInfo> {
        match self.call(&Request::Credentials) {
            Reply::Credentials(credentials) => credentials.into_items(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn revoke(&mut self, client: &str, id: CredentialId) -> Result<(), ControlError> {
        let client = name(client);
        match self.call(&Request::RevokeCredential(RevokeCredential { client, id })) {
            Reply::CredentialRevoked => Ok(()),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn chain(&mut self, id: KeyId) -> Result<Option<Chain>, ControlError> {
        match self.call(&Request::Chain(id)) {
            Reply::Chain(chain) => Ok(chain),
            Reply::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn status(&mut self) -> Status {
        match self.call(&Request::Status) {
            Reply::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn counters(&mut self) -> Counters {
        match self.call(&Request::Statistics) {
            Reply::Statistics(counters) => counters,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.disconnect();
    }
}

pub(crate) fn read_frame(stream: &mut UnixStream) -> Option<(Header, Vec<u8>)> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).ok()?;
    let header = Header::decode(&header, limit::CONTROL).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).ok()?;
    Some((header, body))
}

/// The id of what is sent beside another request.
const BESIDE: u64 = 1 << 63;

pub(crate) fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}
