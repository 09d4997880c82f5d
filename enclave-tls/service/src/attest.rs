//! What this service says of itself, bound into documents of its NSM.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

use std::sync::Arc;

use enclave_attestation::{AttestedKey, Bound, Nsm, NsmError, Purpose, Statement};
use enclave_policy::Policy;
use enclave_wire::BootId;
use enclave_wire::control::{Attestation, ControlError, KeyInfo};

use crate::machine::Machine;

/// Makes the statements of one run under its policy, and the documents that bind them.
pub(crate) struct Attestor {
    nsm: Arc<dyn Nsm>,
    boot: BootId,
    sealed_to: Vec<String>,
    policy_sha384: [u8; 48],
    machine: Machine,
}

impl Attestor {
    pub(crate) fn new(nsm: Arc<dyn Nsm>, machine: Machine, boot: BootId, policy: &Policy) -> Self {
        Self {
            nsm,
            machine,
            boot,
            sealed_to: policy.sealing_keys().iter().map(ToString::to_string).collect(),
            policy_sha384: policy.sha384(),
        }
    }

    /// Shows to whoever chose the nonce that these keys are here.
    pub(crate) fn keys(&self, nonce: &[u8], keys: Vec<AttestedKey>) -> Result<Attestation, ControlError> {
        let statement = self.statement(Purpose::Keys, nonce, keys);
        let bound = Bound {
            public_key: None,
            user_data: Some(&statement.user_data()),
            nonce: Some(nonce),
        };
        let document = self.nsm.attest(&bound).map_err(|error| {
            tracing::error!(%error, "no attestation document");
            ControlError::AttestationFailed
        })?;
        Ok(Attestation {
            document: document.try_into().map_err(|_| ControlError::AttestationFailed)?,
            statement: statement.encode().try_into().map_err(|_| ControlError::LimitReached)?,
        })
    }

    /// The statement is not sent to KMS, which compares registers only: it is what keeps the document from being shown as a proof of
    /// keys. Its nonce is nobody's, so that no one can have asked for it.
    fn recipient(&self) -> Result<Statement, NsmError> {
        let mut nonce = [0; 32];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| NsmError::Refused)?;
        Ok(self.statement(Purpose::KmsRecipient, &nonce, Vec::new()))
    }

    fn statement(&self, purpose: Purpose, nonce: &[u8], keys: Vec<AttestedKey>) -> Statement {
        Statement {
            purpose,
            nonce: nonce.to_vec(),
            keys,
            sealed_to: self.sealed_to.clone(),
            boot_id: self.boot.0,
            policy_sha384: self.policy_sha384,
            clock_source: self.machine.flagged_clock_source(),
        }
    }
}

impl enclave_kms::Attester for Attestor {
    fn document(&self, recipient_spki: &[u8]) -> Result<Vec<u8>, NsmError> {
        self.nsm.attest(&Bound {
            public_key: Some(recipient_spki),
            user_data: Some(&self.recipient()?.user_data()),
            nonce: None,
        })
    }
}

/// A key as a statement names it.
pub(crate) fn attested(key: &KeyInfo) -> AttestedKey {
    let sealed = if key.sealed.is_some() { "-sealed" } else { "" };
    AttestedKey {
        spki_sha256: key.id.0,
        origin: format!("{}{sealed}", key.origin),
        usage: key.usage.to_string(),
        generation: key.generation,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use emulator_nsm::{Options, StandIn, system_clock};
    use enclave_attestation::SignedDocument;
    use enclave_kms::Attester as _;

    use super::*;

    fn attestor(test: &str) -> Attestor {
        let dir = std::env::temp_dir().join(format!("enclave-tls-attest-{}-{test}", std::process::id()));
        let nsm = StandIn::start(Options {
            dir: dir.clone(),
            pcrs: BTreeMap::new(),
            clock: system_clock(),
        });
        // Its PKI is in memory by now.
        std::fs::remove_dir_all(dir).unwrap();
        let policy = Policy::parse(b"version = 1\nimports = false\nnames = []\nkeys = { curves = [] }\n").unwrap();
        let machine = Machine::below(std::path::Path::new("/no/such/machine"));
        Attestor::new(Arc::new(nsm.unwrap()), machine, BootId([7; 16]), &policy)
    }

    #[test]
    fn threat_16_a_clock_source_that_is_not_known_to_be_the_hypervisors_is_flagged() {
        let flagged = attestor("clock").recipient().unwrap().clock_source;
        assert!(flagged.is_some_and(|source| source.contains("No such file")));
    }

    /// threat_28: what goes to KMS is of another purpose than a proof of keys, names none, and answers nobody's nonce.
    #[test]
    fn threat_28_a_recipients_document_proves_no_keys() {
        let attestor = attestor("recipient");
        let (one, other) = (attestor.recipient().unwrap(), attestor.recipient().unwrap());
        assert_eq!(
            (one.purpose, one.keys.len(), one.nonce.len()),
            (Purpose::KmsRecipient, 0, 32)
        );
        assert_ne!(one.nonce, other.nonce);
        let bytes = attestor.document(b"a public key").unwrap();
        let document = SignedDocument::decode(&bytes).unwrap().unverified().clone();
        assert_eq!(document.public_key.as_deref(), Some(b"a public key".as_slice()));
        assert_eq!(
            (document.nonce, document.user_data.map(|hash| hash.len())),
            (None, Some(48))
        );
    }
}
