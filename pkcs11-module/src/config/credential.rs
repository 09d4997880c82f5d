//! A client's credential, and the proofs that it makes and checks.

use enclave_wire::credential::{CredentialId, FILE_LEN, Secret, Transcript, Verifier};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What a credential file proves. Wiped on drop; never printed, never copied. The secret itself is not kept.
pub struct Credential {
    id: CredentialId,
    verifier: Verifier,
}

impl Credential {
    /// The length of a credential file.
    pub const FILE_LEN: usize = FILE_LEN;

    /// Reads the contents of a credential file, and wipes them.
    #[must_use]
    pub fn parse(file: Vec<u8>) -> Option<Self> {
        let file = Zeroizing::new(file);
        let secret = Secret::parse(&file).ok()?;
        let id_digest = Sha256::digest(Zeroizing::new(secret.id_input()).as_slice());
        let verifier = Verifier(Sha256::digest(Zeroizing::new(secret.verifier_input()).as_slice()).into());
        let id = *id_digest.first_chunk()?;
        Some(Self {
            id: CredentialId(id),
            verifier,
        })
    }

    /// Names the credential without saying it.
    #[must_use]
    pub fn id(&self) -> CredentialId {
        self.id
    }

    /// Whether both say the same.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        self.id == other.id
    }

    /// The proof that this process holds the credential.
    #[must_use]
    pub fn client_proof(&self, transcript: &Transcript) -> [u8; 32] {
        self.mac(&transcript.client_input()).finalize().into_bytes().into()
    }

    /// Whether a proof shows that the service knows the credential. Compared in constant time.
    #[must_use]
    pub fn accepts(&self, transcript: &Transcript, server_proof: &[u8; 32]) -> bool {
        self.mac(&transcript.server_input()).verify_slice(server_proof).is_ok()
    }

    fn mac(&self, input: &[u8]) -> Hmac<Sha256> {
        let mut block = Zeroizing::new([0; 64]);
        for (place, byte) in block.iter_mut().zip(self.verifier.0) {
            *place = byte;
        }
        // HMAC pads a short key with zeros to a block (RFC 2104), so this is the verifier as key, by a constructor that cannot fail.
        Hmac::<Sha256>::new((&*block).into()).chain_update(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        let file = Secret::from_random([7; 32]).to_file();
        Credential::parse(file).unwrap()
    }

    #[test]
    fn proofs_hold_for_one_transcript_and_one_side() {
        let transcript = Transcript {
            credential: credential().id(),
            client_nonce: [1; 32],
            server_nonce: [2; 32],
        };
        let other = Transcript {
            server_nonce: [3; 32],
            ..transcript
        };
        let mut server = Hmac::<Sha256>::new_from_slice(&credential().verifier.0).unwrap();
        server.update(&transcript.server_input());
        let proof = server.finalize().into_bytes().into();
        assert!(credential().accepts(&transcript, &proof));
        assert!(!credential().accepts(&other, &proof));
        assert!(!credential().accepts(&transcript, &credential().client_proof(&transcript)));
    }

    #[test]
    fn id_and_verifier_are_those_of_the_protocol() {
        let hash = |label: &[u8]| -> [u8; 32] { Sha256::digest([label, &[0], &[7; 32]].concat()).into() };
        assert_eq!(credential().id().0, hash(b"enclave-tls credential id v1")[..16]);
        assert_eq!(credential().verifier.0, hash(b"enclave-tls credential verifier v1"));
    }

    #[test]
    fn threat_43_a_proof_is_made_and_compared_in_constant_time() {
        let seen = lab_poison::watch(|| {
            let transcript = Transcript {
                credential: credential().id(),
                client_nonce: [1; 32],
                server_nonce: [2; 32],
            };
            let proof = credential()
                .mac(&transcript.server_input())
                .finalize()
                .into_bytes()
                .into();
            let mut file = Secret::from_random([7; 32]).to_file();
            lab_poison::poison(&mut file[FILE_LEN - 65..FILE_LEN - 1]);
            let secret = Credential::parse(file).unwrap();
            std::hint::black_box(secret.client_proof(&transcript));
            assert!(lab_poison::public(secret.accepts(&transcript, &proof)));
        });
        seen.unwrap().at_most(3); // whether the file is a credential; whether the proof holds, which its library asks twice
    }

    #[test]
    fn what_is_no_credential_file_is_refused() {
        assert!(Credential::parse(b"enclave-tls-credential-v1:".to_vec()).is_none());
        assert!(Credential::parse(vec![]).is_none());
    }
}
