//! Requests to the enclave, one at a time: an administrator's and the keeper's. What is on disk fits what the enclave did before the
//! next one begins.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, PoisonError};
use std::time::Duration;

use enclave_tls_admin::deadline::Deadline;
use enclave_tls_admin::protocol::{Record, Unable};
use enclave_wire::KeyId;
use enclave_wire::control::{Reply, Request};

use crate::Shared;
use crate::clock::Bell;
use crate::control::Control;
use crate::link::CallError;
use crate::parent::Parent;
use crate::record::record;

/// The way to the enclave.
pub(crate) struct Requests {
    control: Arc<Control>,
    parent: Arc<Parent>,
    busy: Shared<bool>,
    free: Condvar,
    /// Rung when an administrator changed something.
    pub(crate) changed: Arc<Bell>,
    /// Keys that were given a chain since the keeper looked.
    pub(crate) newer_chains: Shared<BTreeSet<KeyId>>,
    /// Keys that administrators have had wiped since the keeper looked, and who they were.
    pub(crate) retired: Shared<Vec<(KeyId, u32)>>,
}

impl Requests {
    pub(crate) fn new(control: Arc<Control>, parent: Arc<Parent>, changed: Arc<Bell>) -> Self {
        Self {
            control,
            parent,
            busy: Shared::default(),
            free: Condvar::new(),
            changed,
            newer_chains: Shared::default(),
            retired: Shared::default(),
        }
    }

    /// Asks the enclave, and notes on disk what a restart would lose; with `keep` also an imported key.
    pub(crate) fn ask(&self, keep: bool, request: &Request) -> Result<(Record, Reply), Unable> {
        // An enclave that is away is waited for without a turn, or everybody would wait for it one after the other.
        self.control.ready()?;
        let _turn = self.turn()?;
        let (link, boot) = self.control.ready()?;
        let reply = link.call(request).map_err(|error| match error {
            CallError::Deadline => Unable::Deadline,
            CallError::Ended => Unable::Cut,
        })?;
        if let Reply::ChainInstalled(key) | Reply::Provisioned(key) = &reply {
            self.newer_chains.lock().insert(key.id);
        }
        let record = record(&self.parent.store.lock(), boot, keep, request, &reply);
        Ok((record, reply))
    }

    pub(crate) fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Waits for its turn, which lasts until what is on disk fits what the enclave did.
    fn turn(&self) -> Result<Turn<'_>, Unable> {
        let deadline = Deadline::after(TURN_WITHIN);
        let mut busy = self.busy.lock();
        while *busy {
            let left = deadline.left().ok_or(Unable::Busy)?;
            busy = self
                .free
                .wait_timeout(busy, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *busy = true;
        Ok(Turn(self))
    }
}

/// Ends when it is dropped.
struct Turn<'a>(&'a Requests);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.busy.lock() = false;
        self.0.free.notify_one();
    }
}

/// As long as one request of another may take.
const TURN_WITHIN: Duration = Duration::from_secs(30);
