//! What is shown of the keys: to the administrator, and to whoever asks for a proof.

use std::sync::Arc;
use std::time::Duration;

use enclave_wire::control::{Attest, Attestation, ControlError, Counters, CredentialInfo, KeyPage, Listed, Queue};
use enclave_wire::credential::CredentialId;
use enclave_wire::frame::limit;
use enclave_wire::{Chain, KeyId};

use super::{Administrator, listed};
use crate::attest::attested;
use crate::boot::all_dropped;
use crate::keystore::{Credential, Key};

impl Administrator<'_> {
    pub(super) fn list(&self, cursor: u32) -> Result<KeyPage, ControlError> {
        let page = self.state.keys.page(cursor, PAGE, PAGE_KEYS);
        Ok(KeyPage {
            total: u32::try_from(page.total).unwrap_or(u32::MAX),
            next: page.next,
            keys: listed(page.keys)?,
        })
    }

    pub(super) fn chain(&self, id: &KeyId) -> Result<Option<Chain>, ControlError> {
        let key = self.state.keys.get(id)?;
        Ok(Some(key.chain().clone()).filter(|chain| !chain.certificates().is_empty()))
    }

    pub(super) fn credentials(&self) -> Result<Listed<CredentialInfo, 1024>, ControlError> {
        let credentials = self.state.keys.credentials();
        listed(
            credentials
                .iter()
                .map(|(id, credential)| self.credential(*id, credential))
                .collect(),
        )
    }

    fn credential(&self, id: CredentialId, credential: &Credential) -> CredentialInfo {
        let last = credential.last_authenticated();
        CredentialInfo {
            client: credential.client().name().clone(),
            id,
            connections: credential.connections(),
            authenticated: credential.authenticated(),
            last_authenticated_ms: last.map(|last| milliseconds(last.saturating_duration_since(self.state.started))),
        }
    }

    pub(super) fn counters(&self) -> Result<Counters, ControlError> {
        let statistics = &self.state.statistics;
        Ok(Counters {
            connections: statistics.connections.get(),
            accepted: statistics.accepted.get(),
            busy: statistics.busy.get(),
            authentication_failures: statistics.authentication_failures.get(),
            malformed: statistics.malformed.get(),
            deadlines: statistics.deadlines.get(),
            queue: Queue {
                running: statistics.rsa_running.get(),
                waiting: statistics.rsa_waiting.get(),
                waiting_most: statistics.rsa_waiting.most(),
                done: statistics.rsa_done.get(),
                shed: statistics.rsa_shed.get(),
            },
            control_connections: statistics.control_connections.get(),
            log_lines_dropped: all_dropped(),
            attestation_age_s: self.state.platform.nsm.age().map(|age| age.as_secs()),
            memory: self.state.platform.machine.memory(),
            mechanisms: listed(statistics.times.report())?,
            keys: listed(self.state.keys.counters(COUNTED))?,
        })
    }

    /// A proof that these keys are here, or all of them: the more there are, the fewer can be named together.
    pub(super) fn attest(&self, attest: &Attest) -> Result<Attestation, ControlError> {
        let attestor = self.force.attestor.as_ref().ok_or(ControlError::AttestationFailed)?;
        let keys = match attest.keys.items() {
            [] => self.state.keys.keys(),
            named => self.named(named)?,
        };
        if keys.len() > ATTESTED_KEYS {
            return Err(ControlError::LimitReached);
        }
        let keys = keys.iter().map(|key| attested(&key.info())).collect();
        attestor.keys(attest.nonce.as_bytes(), keys)
    }

    fn named(&self, ids: &[KeyId]) -> Result<Vec<Arc<Key>>, ControlError> {
        ids.iter().map(|id| self.state.keys.get(id)).collect()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the keys of one page may have: a frame's limit, less its header and what precedes the keys.
const PAGE: usize = limit::CONTROL - 64;
/// The most keys of one page, as `PROTOCOL.md` says.
const PAGE_KEYS: usize = 256;
/// The most counters of one reply, as `PROTOCOL.md` says.
const COUNTED: usize = 1_024;
/// The most keys of one statement, as many as can be named.
const ATTESTED_KEYS: usize = 1_000;
