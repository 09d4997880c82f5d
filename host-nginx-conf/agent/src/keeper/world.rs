//! Whom the keeper asks: the enclave and the root helper.

use std::collections::{BTreeMap, BTreeSet};

use enclave_tls_admin::advice;
use enclave_tls_admin::protocol::{Record, Unable};
use enclave_tls_apply::{Client, ClientError, Deployed, Deployment, Fault, Generation, ObjectsFile, State};
use enclave_wire::control::{ControlError, KeyInfo, Reply, Request};
use enclave_wire::credential::Secret;
use enclave_wire::{KeyId, Name};

use crate::requests::Requests;

/// The enclave.
pub(crate) trait Enclave {
    /// Asks it for something.
    fn ask(&self, request: &Request) -> Result<Reply, EnclaveError>;

    /// The names under which something is stored that is not in the enclave, and why it is not.
    fn not_open(&self) -> BTreeMap<Name, String>;

    /// Keys whose chain may be another than before, since this was asked last.
    fn newer_chains(&self) -> BTreeSet<KeyId>;

    /// Keys that administrators have had wiped since this was asked last, and who they were.
    fn retired(&self) -> Vec<(KeyId, u32)>;

    /// What it takes the time to be: keys sign or do not by its clock, whatever this machine's says. None where it does not say.
    fn now(&self) -> Option<i64> {
        match self.ask(&Request::Status) {
            Ok(Reply::Status(status)) => Some(status.now),
            Ok(_) | Err(_) => None,
        }
    }

    /// Every key, page by page.
    fn keys(&self) -> Result<Vec<KeyInfo>, EnclaveError> {
        let mut keys = Vec::new();
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let Reply::Keys(page) = self.ask(&Request::List(from))? else {
                return Err(EnclaveError::Unexpected);
            };
            // Half a list would be taken for a loss. A page that leads nowhere would lead there for ever.
            if page
                .next
                .is_some_and(|next| next <= from || page.keys.items().is_empty())
                || keys.len() > MAX_KEYS
            {
                return Err(EnclaveError::Unexpected);
            }
            cursor = page.next;
            keys.extend(page.keys.into_items());
        }
        // One that changed its place meanwhile comes twice.
        let mut known = BTreeSet::new();
        keys.retain(|key| known.insert(key.id));
        Ok(keys)
    }
}

/// Why the enclave did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EnclaveError {
    /// It cannot be asked now.
    Away(Unable),
    /// It refused.
    Refused(ControlError),
    /// It answered something else.
    Unexpected,
    /// It did it, and that is not on disk, so that a restart of it would undo it.
    Unrecorded,
}

impl std::fmt::Display for EnclaveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Away(why) => advice::unable(*why),
            Self::Refused(error) => advice::refused(*error),
            Self::Unexpected => {
                "the service's answer fits no such request; install agent and image from the same release"
            }
            Self::Unrecorded => {
                "the enclave did it, and it cannot be written to the agent's directory (`state` under [agent]), so a restart of the \
                 enclave would undo it; see that the disk has room and the agent may write there"
            }
        })
    }
}

impl Enclave for Requests {
    fn ask(&self, request: &Request) -> Result<Reply, EnclaveError> {
        let (record, reply) = Self::ask(self, false, request).map_err(EnclaveError::Away)?;
        outcome(&record, reply)
    }

    fn not_open(&self) -> BTreeMap<Name, String> {
        self.parent().waiting.lock().reasons()
    }

    fn newer_chains(&self) -> BTreeSet<KeyId> {
        std::mem::take(&mut *self.newer_chains.lock())
    }

    fn retired(&self) -> Vec<(KeyId, u32)> {
        std::mem::take(&mut *self.retired.lock())
    }
}

fn outcome(record: &Record, reply: Reply) -> Result<Reply, EnclaveError> {
    match (record, reply) {
        (_, Reply::Error(error)) => Err(EnclaveError::Refused(error)),
        (Record::Failed(_), _) => Err(EnclaveError::Unrecorded),
        (Record::Nothing | Record::Done, reply) => Ok(reply),
    }
}

impl EnclaveError {
    /// Whether nothing can be asked of it now. What was asked may be done all the same.
    pub(super) fn is_away(self) -> bool {
        match self {
            Self::Away(_) => true,
            Self::Refused(_) | Self::Unexpected | Self::Unrecorded => false,
        }
    }

    /// Whether it may have been this very request that it did not answer.
    pub(super) fn is_by_request(self) -> bool {
        match self {
            Self::Away(Unable::Deadline | Unable::Cut) | Self::Refused(_) | Self::Unexpected | Self::Unrecorded => true,
            Self::Away(Unable::Malformed | Unable::Away | Unable::Replaying | Unable::PolicyRefused | Unable::Busy) => {
                false
            }
        }
    }
}

/// The root helper.
pub(crate) trait Helper {
    fn state(&self) -> Result<State, HelperError>;
    fn credential(&self, client: Name, secret: Secret) -> Result<(), HelperError>;
    fn objects(&self, client: Name, objects: ObjectsFile) -> Result<(), HelperError>;
    fn deploy(&self, certificates: Vec<Deployment>) -> Result<Deployed, HelperError>;
    fn prune(&self, certificate: Name, keep: Vec<Generation>) -> Result<(), HelperError>;
}

/// Why the root helper did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HelperError {
    /// For people.
    pub(super) why: String,
    /// Whether the fault is the request's, so that a part of it might be taken by itself.
    pub(super) is_of_request: bool,
}

impl From<ClientError> for HelperError {
    fn from(error: ClientError) -> Self {
        let is_of_request = match &error {
            ClientError::TooLong => true,
            ClientError::Refused(refusal) => match refusal.fault {
                Fault::Request => true,
                Fault::Configuration | Fault::Machine | Fault::Stranger => false,
            },
            ClientError::Connect { .. }
            | ClientError::Stranger { .. }
            | ClientError::Socket(_)
            | ClientError::Answer => false,
        };
        Self {
            why: error.to_string(),
            is_of_request,
        }
    }
}

impl Helper for Client {
    fn state(&self) -> Result<State, HelperError> {
        Ok(Self::state(self)?)
    }

    fn credential(&self, client: Name, secret: Secret) -> Result<(), HelperError> {
        Ok(Self::credential(self, client, secret)?)
    }

    fn objects(&self, client: Name, objects: ObjectsFile) -> Result<(), HelperError> {
        Ok(Self::objects(self, client, objects)?)
    }

    fn deploy(&self, certificates: Vec<Deployment>) -> Result<Deployed, HelperError> {
        Ok(Self::deploy(self, certificates)?)
    }

    fn prune(&self, certificate: Name, keep: Vec<Generation>) -> Result<(), HelperError> {
        Ok(Self::prune(self, certificate, keep)?)
    }
}

/// More than an enclave holds.
const MAX_KEYS: usize = 65_536;

#[cfg(test)]
mod tests {
    use enclave_wire::log::Text;

    use super::*;

    #[test]
    fn what_is_not_on_disk_is_not_taken_for_done() {
        let failed = Record::Failed(Text::lossy("no space left on device"));
        let unrecorded = outcome(&failed, Reply::CredentialInstalled);
        assert_eq!(unrecorded.err(), Some(EnclaveError::Unrecorded));
        let refused = outcome(&failed, Reply::Error(ControlError::NoSuchKey));
        assert_eq!(refused.err(), Some(EnclaveError::Refused(ControlError::NoSuchKey)));
        for record in [Record::Nothing, Record::Done] {
            assert!(outcome(&record, Reply::CredentialInstalled).is_ok());
        }
    }
}
