//! What the agent does for jobs: it publishes challenges where pebble looks for them.

use std::sync::{Arc, Mutex, MutexGuard};

use enclave_wire::control::{AgentReply, Challenge, ChallengeKind, ControlError, EnclaveRequest, JobId, Published};
use lab_pebble::Pebble;

use crate::kept::ForJobs;

/// An agent's publishing, and what was asked of it.
pub(crate) struct Publisher {
    pebble: Arc<Pebble>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) manner: Manner,
    pub(crate) published: Vec<Challenge>,
    pub(crate) withdrawn: Vec<Challenge>,
    pub(crate) ended: Vec<JobId>,
}

/// How an agent answers when it is to publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    /// First that it is not yet to be seen, then that it is.
    #[default]
    Publishes,
    /// That it is to be seen, which it is not.
    Lies,
    /// That it is not yet to be seen.
    Delays,
    Refuses,
}

impl Publisher {
    pub(crate) fn new(pebble: Arc<Pebble>) -> Self {
        let inner = Mutex::default();
        Self { pebble, inner }
    }

    pub(crate) fn is(&self, manner: Manner) {
        self.inner().manner = manner;
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn publish(&self, challenge: &Challenge) -> Published {
        let mut inner = self.inner();
        let again = inner.published.contains(challenge);
        if !again {
            inner.published.push(challenge.clone());
        }
        match inner.manner {
            Manner::Lies => Published::Yes,
            Manner::Delays => Published::NotYet,
            Manner::Refuses => Published::No(enclave_wire::log::Text::lossy("there is no such zone")),
            Manner::Publishes if again => {
                self.put(challenge);
                Published::Yes
            }
            Manner::Publishes => Published::NotYet,
        }
    }

    fn put(&self, challenge: &Challenge) {
        match challenge.kind {
            ChallengeKind::Http01 => self
                .pebble
                .add_http01(challenge.token.as_str(), challenge.value.as_str()),
            ChallengeKind::Dns01 => self.pebble.set_txt(&record(challenge), challenge.value.as_str()),
        }
        .unwrap();
    }

    fn withdraw(&self, challenge: &Challenge) {
        match challenge.kind {
            ChallengeKind::Http01 => self.pebble.remove_http01(challenge.token.as_str()),
            ChallengeKind::Dns01 => self.pebble.clear_txt(&record(challenge)),
        }
        .unwrap();
        self.inner().withdrawn.push(challenge.clone());
    }
}

impl ForJobs for Publisher {
    fn answer(&self, request: &EnclaveRequest) -> AgentReply {
        match request {
            EnclaveRequest::Publish(challenge) => AgentReply::Published(self.publish(challenge)),
            EnclaveRequest::Withdraw(challenge) => {
                self.withdraw(challenge);
                AgentReply::Withdrawn
            }
            EnclaveRequest::Ended(id) => {
                self.inner().ended.push(*id);
                AgentReply::EndNoted
            }
            EnclaveRequest::Ping | EnclaveRequest::StoreState(_) | EnclaveRequest::NeedCredentials => {
                AgentReply::Error(ControlError::Malformed)
            }
        }
    }
}

fn record(challenge: &Challenge) -> String {
    format!("_acme-challenge.{}", challenge.name)
}
