//! Which sealed states of the directory are the service's own: only those may give way to newer ones.

use std::collections::HashMap;

use enclave_wire::Name;
use enclave_wire::control::SealedState;
use sha2::{Digest, Sha256};

/// The states on disk that this connection's service has opened or written, by their bytes.
///
/// Any other file may hold the only copy of somebody's keys: those that AWS does not open today, those of another enclave, an older
/// copy that was put back. It is never overwritten.
#[derive(Default)]
pub(crate) struct Settled {
    states: HashMap<Name, [u8; 32]>,
}

impl Settled {
    /// Begins anew: nothing is known of what another connection left.
    pub(crate) fn begin(&mut self) {
        self.states.clear();
    }

    /// The service opens this now, or has written it.
    pub(crate) fn add(&mut self, name: &Name, state: &SealedState) {
        self.states.insert(name.clone(), digest(state));
    }

    /// The service has not opened it.
    pub(crate) fn remove(&mut self, name: &Name) {
        self.states.remove(name);
    }

    /// Whether what is on disk is the service's own.
    pub(crate) fn has(&self, name: &Name, found: &SealedState) -> bool {
        self.states.get(name) == Some(&digest(found))
    }
}

fn digest(state: &SealedState) -> [u8; 32] {
    Sha256::digest(state.as_bytes()).into()
}
