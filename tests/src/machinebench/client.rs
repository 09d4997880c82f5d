//! The signing plane, over the guest's vsock.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use der::Decode;
use enclave_wire::control::KeyInfo;
use enclave_wire::credential::{CredentialId, Hello, Secret, Transcript, Verifier};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::mechanism::MAX_INPUT;
use enclave_wire::signing::{Reply, Request, Sign, SignError};
use enclave_wire::{KeyType, Mechanism, Writer};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Who signs: a credential of this run.
pub(crate) struct Credential {
    pub(super) id: CredentialId,
    secret: Secret,
}

impl Credential {
    pub(crate) fn new() -> Result<Self> {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).ok().context("no random numbers")?;
        let secret = Secret::from_random(random);
        let hashed = digest(&SHA256, &secret.id_input());
        let id = CredentialId(*hashed.as_ref().first_chunk().context("SHA-256 is longer")?);
        Ok(Self { id, secret })
    }

    /// Its file, as the module reads it.
    pub(crate) fn to_file(&self) -> Vec<u8> {
        self.secret.to_file()
    }

    /// What the service checks its proofs with.
    pub(super) fn verifier(&self) -> Verifier {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.secret.verifier_input()).as_ref());
        Verifier(bytes)
    }
}

/// An authenticated connection.
pub(crate) struct Client {
    stream: UnixStream,
    last_id: u64,
}

impl Client {
    pub(crate) fn authenticate(stream: UnixStream, credential: &Credential) -> Result<Self> {
        Self::admitted(stream, credential)?.context("the service is busy")
    }

    /// None where the service has as many connections as it takes.
    pub(super) fn admitted(stream: UnixStream, credential: &Credential) -> Result<Option<Self>> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self { stream, last_id: 0 };
        let hello = Hello {
            credential: credential.id,
            client_nonce: NONCE,
        };
        let challenge = match client.ask(&Request::Hello(hello))? {
            Reply::Challenge(challenge) => challenge,
            Reply::Error(SignError::Busy) => return Ok(None),
            other => bail!("no challenge: {other:?}"),
        };
        let transcript = Transcript {
            credential: credential.id,
            client_nonce: NONCE,
            server_nonce: challenge.server_nonce,
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &credential.verifier().0);
        let proof = hmac::sign(&key, &transcript.client_input());
        let reply = client.ask(&Request::Authenticate(proof.as_ref().try_into()?))?;
        ensure!(
            matches!(reply, Reply::Authenticated(_)),
            "the credential was refused: {reply:?}"
        );
        Ok(Some(client))
    }

    /// Signs and verifies.
    pub(crate) fn sign(&mut self, key: &KeyInfo) -> Result<()> {
        let (mechanism, algorithm): (_, &'static dyn VerificationAlgorithm) = match key.key_type {
            KeyType::P256 => (Mechanism::EcdsaSha256, &ECDSA_P256_SHA256_FIXED),
            KeyType::Rsa(_) => (Mechanism::RsaPkcs1Sha256, &RSA_PKCS1_2048_8192_SHA256),
            KeyType::P384 | KeyType::P521 | KeyType::Ed25519 => bail!("no key of this benchmark's"),
        };
        let request = Sign {
            key: key.id,
            mechanism,
            input: MESSAGE,
        };
        let Reply::Signature(signed) = self.ask(&Request::Sign(request))? else {
            bail!("no signature of {}", key.name);
        };
        let spki = SubjectPublicKeyInfoOwned::from_der(key.spki.as_bytes())?;
        UnparsedPublicKey::new(algorithm, spki.subject_public_key.raw_bytes())
            .verify(MESSAGE, &signed.signature)
            .ok()
            .with_context(|| format!("a signature of {} that is not its own", key.name))
    }

    /// Begins the longest request that there is, and leaves it so: the service keeps what has come until its deadline.
    pub(super) fn begin_only(&mut self, key: &KeyInfo) -> Result<()> {
        let request = Sign {
            key: key.id,
            mechanism: Mechanism::EcdsaSha256,
            input: &[0x5a; MAX_INPUT],
        };
        let frame = self.frame(&Request::Sign(request));
        Ok(self.stream.write_all(frame.get(..BEGUN).unwrap_or(&frame))?)
    }

    /// Sends as many of the longest requests as there is room for, and reads no reply: what the service has not come to waits in the guest.
    pub(super) fn press(&mut self, key: &KeyInfo) -> Result<()> {
        let request = Sign {
            key: key.id,
            mechanism: Mechanism::EcdsaSha256,
            input: &[0x5a; MAX_INPUT],
        };
        self.stream.set_nonblocking(true)?;
        let mut sent = 0;
        while sent < PRESSED {
            let frame = self.frame(&Request::Sign(request));
            match self.stream.write(&frame) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: &Request<'_>) -> Result<Reply> {
        let frame = self.frame(request);
        match self.stream.write_all(&frame) {
            // A service that takes no more connections has answered and closed before it read.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => (),
            written => written?,
        }
        let mut header = [0; HEADER_LEN];
        self.stream.read_exact(&mut header)?;
        let header = Header::decode(&header, limit::SIGNING_REPLY)?;
        let mut body = vec![0; header.body_len()];
        self.stream.read_exact(&mut body)?;
        let reply = Reply::decode(&header, &body)?;
        // A service that takes no more connections answers before it reads.
        let is_refusal = reply == Reply::Error(SignError::Busy) && header.request_id == 0;
        ensure!(
            is_refusal || header.request_id == self.last_id,
            "a reply to another request"
        );
        Ok(reply)
    }

    fn frame(&mut self, request: &Request<'_>) -> Vec<u8> {
        self.last_id += 1;
        let mut writer = Writer::new();
        request.write(&mut writer, self.last_id);
        writer.into_bytes()
    }
}

/// In one piece: a longer one may stall the device.
const BEGUN: usize = 16_384;
/// More than the guest's kernel keeps of a connection, and than it would without our patch.
const PRESSED: usize = 512 * 1_024;
const MESSAGE: &[u8] = b"a message to sign";
/// Nobody here replays anything.
const NONCE: [u8; 32] = [7; 32];
const PATIENCE: Duration = Duration::from_secs(30);
