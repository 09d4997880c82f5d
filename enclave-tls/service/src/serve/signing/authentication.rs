//! The handshake: both sides prove that they hold the credential's verifier, over fresh nonces of both.

use std::sync::Arc;

use aws_lc_rs::hmac;
use enclave_wire::Name;
use enclave_wire::credential::{Challenge, Hello, Transcript};

use crate::keystore::{Credential, KeyStore};
use crate::serve::{StartError, random};

/// Answers hellos and judges proofs.
pub(super) struct Authenticator {
    /// Stands for the verifier of a credential that is not known: drawn at start, and nobody's.
    nobody: hmac::Key,
}

/// Why a handshake failed.
#[derive(Debug)]
pub(in crate::serve) enum Refusal {
    /// No client has this credential.
    Unknown,
    /// Whoever it was does not hold this client's credential.
    WrongProof(Name),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown credential"),
            Self::WrongProof(client) => write!(f, "wrong proof for the client {client}"),
        }
    }
}

/// A handshake of which only the client's proof is missing.
pub(super) struct Challenged {
    transcript: Transcript,
    credential: Option<Arc<Credential>>,
}

impl Authenticator {
    pub(super) fn new() -> Result<Self, StartError> {
        let nobody = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
        Ok(Self { nobody })
    }

    /// Proves the service. An unknown credential is answered alike, with a proof that no client can tell from a wrong one.
    pub(super) fn challenge(&self, keys: &KeyStore, hello: &Hello) -> Result<(Challenge, Challenged), StartError> {
        let transcript = Transcript {
            credential: hello.credential,
            client_nonce: hello.client_nonce,
            server_nonce: random()?,
        };
        let credential = keys.credential(&hello.credential);
        let proof = hmac::sign(self.key(credential.as_deref()), &transcript.server_input());
        let mut server_proof = [0; 32];
        for (to, from) in server_proof.iter_mut().zip(proof.as_ref()) {
            *to = *from;
        }
        let challenge = Challenge {
            server_nonce: transcript.server_nonce,
            server_proof,
        };
        Ok((challenge, Challenged { transcript, credential }))
    }

    /// Judges the client's proof, in constant time and for an unknown credential too. Why it failed is for the log alone.
    pub(super) fn verify(&self, challenged: Challenged, proof: &[u8; 32]) -> Result<Arc<Credential>, Refusal> {
        let key = self.key(challenged.credential.as_deref());
        let proven = hmac::verify(key, &challenged.transcript.client_input(), proof).is_ok();
        let credential = challenged.credential.filter(|credential| !credential.is_replaced());
        match credential {
            None => Err(Refusal::Unknown),
            Some(credential) if proven => {
                credential.proven();
                Ok(credential)
            }
            Some(credential) => Err(Refusal::WrongProof(credential.client().name().clone())),
        }
    }

    fn key<'a>(&'a self, credential: Option<&'a Credential>) -> &'a hmac::Key {
        credential.map_or(&self.nobody, Credential::proof_key)
    }
}

#[cfg(test)]
mod tests {
    use enclave_wire::credential::{CredentialId, Verifier};

    use super::*;

    #[test]
    fn threat_43_a_proof_is_made_and_compared_in_constant_time() {
        let seen = lab_poison::watch(|| {
            let (keys, id) = (KeyStore::default(), CredentialId([1; 16]));
            // Twice: what is there already is compared.
            for _ in 0..2 {
                let mut verifier = Verifier([7; 32]);
                lab_poison::poison(&mut verifier.0);
                let client = "www-data".parse().unwrap();
                keys.install_credential(client, id, verifier).unwrap();
            }
            let authenticator = Authenticator::new().unwrap();
            let hello = Hello {
                credential: id,
                client_nonce: [2; 32],
            };
            let (_, challenged) = authenticator.challenge(&keys, &hello).unwrap();
            let known = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            let proof = hmac::sign(&known, &challenged.transcript.client_input());
            let proof = proof.as_ref().try_into().unwrap();
            assert!(lab_poison::public(authenticator.verify(challenged, &proof).is_ok()));
        });
        seen.unwrap().at_most(2); // whether the verifiers are equal, whether the proof holds
    }
}
