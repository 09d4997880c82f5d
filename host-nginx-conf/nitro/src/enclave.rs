//! Enclaves of this instance, as `nitro-cli` describes them.

use std::fmt;

use crate::{Measurements, NitroError};

/// All that `describe-enclaves` told.
#[derive(Debug)]
pub struct Description {
    pub enclaves: Vec<Enclave>,
    /// Some enclaves' processes did not answer: an enclave that is not listed may run all the same.
    pub incomplete: Option<NitroError>,
}

impl Description {
    /// The one of this name that has not begun to end.
    pub fn named(&self, name: &str) -> Option<&Enclave> {
        self.live().find(|enclave| enclave.name.as_deref() == Some(name))
    }

    /// Whoever has this CID.
    pub fn with_cid(&self, cid: u32) -> Option<&Enclave> {
        self.live().find(|enclave| enclave.cid == cid)
    }

    fn live(&self) -> impl Iterator<Item = &Enclave> {
        self.enclaves
            .iter()
            .filter(|enclave| enclave.state != State::Terminating)
    }
}

/// One enclave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enclave {
    /// Versions before 1.2 know no names.
    pub name: Option<String>,
    pub id: String,
    /// Of the process on the parent that holds it; its end is the enclave's end.
    pub process: u32,
    pub cid: u32,
    pub cpus: u32,
    pub cpu_ids: Vec<u32>,
    /// What was given, in whole huge pages: it may be more than was asked for.
    pub memory_mib: u64,
    pub state: State,
    pub flags: Flags,
    /// Computed by `nitro-cli` out of the image file, not by the hypervisor: they say which file it was started from and prove
    /// nothing. Absent until it has computed them.
    pub measurements: Option<Measurements>,
}

impl fmt::Display for Enclave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("without a name");
        write!(f, "enclave {name} ({}, CID {}, {})", self.id, self.cid, self.state)
    }
}

/// Where an enclave is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Terminating,
    /// Its process exists and has not started it yet.
    Empty,
    /// A word of a later version.
    Other(String),
}

impl From<String> for State {
    fn from(word: String) -> Self {
        match word.as_str() {
            "RUNNING" => Self::Running,
            "TERMINATING" => Self::Terminating,
            "EMPTY" => Self::Empty,
            _ => Self::Other(word),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Terminating => "terminating",
            Self::Empty => "empty",
            Self::Other(word) => word,
        })
    }
}

/// How an enclave was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flags {
    None,
    /// Its console can be read from the parent and its attestation documents measure nothing.
    Debug,
    /// A word of a later version, which may mean anything.
    Other(String),
}

impl From<String> for Flags {
    fn from(word: String) -> Self {
        match word.as_str() {
            "NONE" => Self::None,
            "DEBUG_MODE" => Self::Debug,
            _ => Self::Other(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn enclave(name: &str, cid: u32, state: State) -> Enclave {
        Enclave {
            name: Some(name.into()),
            id: "i-0000000000000000-enc1".into(),
            process: 7,
            cid,
            cpus: 2,
            cpu_ids: vec![1, 3],
            memory_mib: 128,
            state,
            flags: Flags::None,
            measurements: None,
        }
    }

    #[test]
    fn an_enclave_that_ends_is_not_found() {
        let description = Description {
            enclaves: vec![
                enclave("a", 16, State::Terminating),
                enclave("b", 17, State::Running),
                enclave("c", 18, State::Other("PAUSED".into())),
            ],
            incomplete: None,
        };
        assert!(description.named("a").is_none() && description.with_cid(16).is_none());
        assert_eq!(description.named("b").unwrap().cid, 17);
        assert_eq!(
            description.with_cid(18).unwrap().to_string(),
            "enclave c (i-0000000000000000-enc1, CID 18, PAUSED)"
        );
    }
}
