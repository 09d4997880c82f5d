//! Frames, and the service's side of authentication.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use enclave_wire::credential::{Challenge, CredentialId, Secret, Transcript};
use enclave_wire::frame::{HEADER_LEN, Header, limit};
use enclave_wire::signing::{Reply, Request, SignError};
use enclave_wire::{BootId, Writer};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What a service holds of one credential.
pub(crate) struct Verifying {
    id: CredentialId,
    verifier: [u8; 32],
    /// Whether a proof is looked at.
    believes_anyone: bool,
}

impl Verifying {
    pub(crate) fn of(secret: &Secret) -> Self {
        let id = Sha256::digest(secret.id_input());
        Self {
            id: CredentialId(id[..16].try_into().unwrap()),
            verifier: Sha256::digest(secret.verifier_input()).into(),
            believes_anyone: false,
        }
    }

    /// Knows no credential.
    pub(crate) fn impostor() -> Self {
        Self {
            id: CredentialId([0; 16]),
            verifier: [0; 32],
            believes_anyone: true,
        }
    }

    /// The client's nonce, if the client proved itself.
    pub(crate) fn authenticate(&self, stream: &mut UnixStream, boot: BootId) -> Option<[u8; 32]> {
        let (header, body) = read_frame(stream)?;
        let Ok(Request::Hello(hello)) = Request::decode(&header, &body) else {
            panic!("the first request is no hello");
        };
        let transcript = Transcript {
            credential: hello.credential,
            client_nonce: hello.client_nonce,
            server_nonce: [5; 32],
        };
        // For a stranger, a proof under another key.
        let key = if hello.credential == self.id {
            self.verifier
        } else {
            [0; 32]
        };
        let challenge = Challenge {
            server_nonce: transcript.server_nonce,
            server_proof: mac(&key, &transcript.server_input()),
        };
        send(stream, &frame(&Reply::Challenge(challenge), header.request_id))?;
        let (second, body) = read_frame(stream)?;
        assert_eq!(second.request_id, header.request_id.wrapping_add(1));
        match Request::decode(&second, &body) {
            Ok(Request::Authenticate(proof))
                if self.believes_anyone || proof == mac(&key, &transcript.client_input()) =>
            {
                send(stream, &frame(&Reply::Authenticated(boot), second.request_id))?;
                Some(hello.client_nonce)
            }
            _ => {
                let refusal = Reply::Error(SignError::AuthenticationFailed);
                send(stream, &frame(&refusal, second.request_id))?;
                None
            }
        }
    }
}

pub(crate) fn frame(reply: &Reply, id: u64) -> Vec<u8> {
    let mut writer = Writer::new();
    reply.write(&mut writer, id);
    writer.into_bytes()
}

pub(crate) fn send(stream: &mut UnixStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

pub(crate) fn read_frame(stream: &mut UnixStream) -> Option<(Header, Vec<u8>)> {
    let mut bytes = [0; HEADER_LEN];
    stream.read_exact(&mut bytes).ok()?;
    let header = Header::decode(&bytes, limit::SIGNING_REQUEST).expect("a module sends no other header");
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).ok()?;
    Some((header, body))
}

fn mac(key: &[u8; 32], input: &[u8]) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.chain_update(input).finalize().into_bytes().into()
}
