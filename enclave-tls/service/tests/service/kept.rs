//! What the agent keeps for the service, over its restarts, and how it answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use enclave_wire::control::{AgentReply, ControlError, EnclaveRequest, InstallAws, Request, StoreState};

/// The agent's directory of sealed states.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// Every state that ever came, the newest last.
    states: BTreeMap<String, Vec<StoreState>>,
    manner: Manner,
    /// What is installed when the service says that it needs credentials.
    credentials: Option<fn() -> InstallAws>,
    needed: u32,
    /// States that came, whether they are kept or not.
    offered: u32,
    /// Answers what the service asks for its jobs.
    for_jobs: Option<Arc<dyn ForJobs>>,
}

/// What an agent does for jobs.
pub(crate) trait ForJobs: Send + Sync {
    fn answer(&self, request: &EnclaveRequest) -> AgentReply;
}

/// How the agent answers when it is to store a state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Manner {
    #[default]
    Keeps,
    Refuses,
    IsSilent,
    HangsUp,
    AnswersSomethingElse,
}

/// What the agent does.
pub(crate) enum Does {
    /// And sends a request of its own, beside any other.
    Answer(AgentReply, Option<Box<Request>>),
    Nothing,
    HangUp,
}

impl Kept {
    pub(crate) fn answer(&self, request: EnclaveRequest) -> Does {
        let mut inner = self.inner();
        match request {
            EnclaveRequest::Ping => Does::Answer(AgentReply::Pong, None),
            EnclaveRequest::Publish(_) | EnclaveRequest::Withdraw(_) | EnclaveRequest::Ended(_) => {
                let for_jobs = inner.for_jobs.clone();
                // It may ask others, and waits for them.
                drop(inner);
                let refused = AgentReply::Error(ControlError::Failed);
                Does::Answer(for_jobs.map_or(refused, |agent| agent.answer(&request)), None)
            }
            EnclaveRequest::NeedCredentials => {
                inner.needed += 1;
                let install = inner.credentials.map(|make| Box::new(Request::InstallAws(make())));
                Does::Answer(AgentReply::CredentialsNoted, install)
            }
            EnclaveRequest::StoreState(state) => {
                inner.offered += 1;
                inner.store(state)
            }
        }
    }

    pub(crate) fn behave(&self, manner: Manner) {
        self.inner().manner = manner;
    }

    pub(crate) fn answer_jobs(&self, agent: Arc<dyn ForJobs>) {
        self.inner().for_jobs = Some(agent);
    }

    pub(crate) fn give_credentials(&self, make: fn() -> InstallAws) {
        self.inner().credentials = Some(make);
    }

    /// How often the service said that it needs credentials.
    pub(crate) fn needed(&self) -> u32 {
        self.inner().needed
    }

    pub(crate) fn offered(&self) -> u32 {
        self.inner().offered
    }

    /// The states of a name, the oldest first.
    pub(crate) fn states(&self, name: &str) -> Vec<StoreState> {
        self.inner().states.get(name).cloned().unwrap_or_default()
    }

    /// The newest state of a name.
    pub(crate) fn newest(&self, name: &str) -> Vec<u8> {
        self.states(name).last().unwrap().blob.as_bytes().to_vec()
    }

    /// The newest state of each name, in the order of the names.
    pub(crate) fn all(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.inner();
        let newest = |states: &Vec<StoreState>| states.last().unwrap().blob.as_bytes().to_vec();
        inner
            .states
            .iter()
            .map(|(name, states)| (name.clone(), newest(states)))
            .collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

impl Inner {
    fn store(&mut self, state: StoreState) -> Does {
        match self.manner {
            Manner::Keeps => {
                self.states.entry(state.name.to_string()).or_default().push(state);
                Does::Answer(AgentReply::Stored, None)
            }
            Manner::Refuses => Does::Answer(AgentReply::Error(ControlError::Failed), None),
            Manner::IsSilent => Does::Nothing,
            Manner::HangsUp => Does::HangUp,
            Manner::AnswersSomethingElse => Does::Answer(AgentReply::Pong, None),
        }
    }
}
