//! Whether an enclave that runs already is the one that the configuration asks for.

use std::fmt;

use crate::cli::RunOptions;
use crate::enclave::{Description, Enclave, Flags};
use crate::pcr::{Measurements, Pcr};

/// Compares what runs with what shall run. The measurements are those of the configured image, where they are known.
pub fn adopt(described: &Description, wanted: &RunOptions, image: Option<&Measurements>) -> Adoption {
    let Some(enclave) = described.named(&wanted.name) else {
        return match described.with_cid(wanted.cid) {
            Some(other) => Adoption::Refused(Refusal::CidInUse {
                by: other.to_string(),
                cid: wanted.cid,
            }),
            None => Adoption::Absent,
        };
    };
    match &enclave.flags {
        Flags::None => {}
        Flags::Debug => {
            return Adoption::Refused(Refusal::Debug {
                name: wanted.name.clone(),
            });
        }
        Flags::Other(word) => {
            return Adoption::Refused(Refusal::UnknownFlags {
                name: wanted.name.clone(),
                flags: word.clone(),
            });
        }
    }
    let differences = differences(enclave, wanted, image);
    match differences.is_empty() {
        true => Adoption::Same(enclave.clone()),
        false => Adoption::Different(enclave.clone(), differences),
    }
}

/// What there is to adopt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Nothing of that name or CID runs.
    Absent,
    /// It runs as configured.
    Same(Enclave),
    /// It is ours by its name, and something about it is not as configured.
    Different(Enclave, Vec<Difference>),
    /// It must not be used, and is not ours to end.
    Refused(Refusal),
}

/// What is not as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Cid {
        configured: u32,
        running: u32,
    },
    Cpus {
        configured: u32,
        running: u32,
    },
    /// Less than configured: more is what whole huge pages make of it.
    Memory {
        configured: u64,
        running: u64,
    },
    Register {
        number: u8,
        image: Pcr,
        running: Pcr,
    },
}

impl Difference {
    /// The agent and the servers dial the configured CID: an enclave at another one serves nobody.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Cid { .. } => true,
            Self::Cpus { .. } | Self::Memory { .. } | Self::Register { .. } => false,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cid { configured, running } => write!(f, "cid is {configured} in config.toml, it has {running}"),
            Self::Cpus { configured, running } => write!(f, "cpus is {configured} in config.toml, it has {running}"),
            Self::Memory { configured, running } => {
                write!(f, "memory is {configured} MiB in config.toml, it has {running}")
            }
            Self::Register { number, image, running } => {
                write!(
                    f,
                    "PCR{number} of the configured image is {image}, it was started from one with {running}"
                )
            }
        }
    }
}

/// Why it must not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    Debug { name: String },
    UnknownFlags { name: String, flags: String },
    CidInUse { by: String, cid: u32 },
}

impl Refusal {
    pub fn advice(&self) -> String {
        match self {
            Self::Debug { name } | Self::UnknownFlags { name, .. } => {
                format!("end it, and a proper one is started at once: nitro-cli terminate-enclave --enclave-name {name}")
            }
            Self::CidInUse { .. } => {
                "set another cid under [enclave] in config.toml, or end the other enclave: nitro-cli terminate-enclave --enclave-id".into()
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debug { name } => write!(
                f,
                "the enclave {name} runs in debug mode: its console can be read on this instance and its PCR0 to 2 are zero, so that it proves nothing; it is not used"
            ),
            Self::UnknownFlags { name, flags } => {
                write!(
                    f,
                    "the enclave {name} runs with flags that are not known ({flags}); it is not used"
                )
            }
            Self::CidInUse { by, cid } => write!(f, "CID {cid} belongs to {by}, which is not ours"),
        }
    }
}

fn differences(enclave: &Enclave, wanted: &RunOptions, image: Option<&Measurements>) -> Vec<Difference> {
    let mut found = Vec::new();
    if enclave.cid != wanted.cid {
        found.push(Difference::Cid {
            configured: wanted.cid,
            running: enclave.cid,
        });
    }
    if enclave.cpus != wanted.cpus {
        found.push(Difference::Cpus {
            configured: wanted.cpus,
            running: enclave.cpus,
        });
    }
    if enclave.memory_mib < wanted.memory_mib {
        found.push(Difference::Memory {
            configured: wanted.memory_mib,
            running: enclave.memory_mib,
        });
    }
    // One side unknown is no difference: who asks for proof asks the enclave itself, which attests.
    if let (Some(image), Some(running)) = (image, &enclave.measurements) {
        let pairs = image.registers().into_iter().zip(running.registers());
        found.extend(
            pairs
                .filter(|(image, running)| image != running)
                .map(|((number, image), (_, running))| Difference::Register { number, image, running }),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enclave::State;

    fn measured(first: &str) -> Measurements {
        let pcr = |byte: &str| byte.repeat(48).parse().unwrap();
        Measurements {
            pcr0: pcr(first),
            pcr1: pcr("01"),
            pcr2: pcr("02"),
            pcr8: None,
        }
    }

    fn running() -> Enclave {
        Enclave {
            name: Some("enclave-tls".into()),
            id: "i-1-enc2".into(),
            process: 7,
            cid: 16,
            cpus: 2,
            cpu_ids: vec![1, 3],
            memory_mib: 128,
            state: State::Running,
            flags: Flags::None,
            measurements: Some(measured("aa")),
        }
    }

    fn judged(enclave: Enclave, image: &str) -> Adoption {
        let wanted = RunOptions {
            image: "/e.eif".into(),
            name: "enclave-tls".into(),
            cid: 16,
            cpus: 2,
            memory_mib: 128,
        };
        let described = Description {
            enclaves: vec![enclave],
            incomplete: None,
        };
        adopt(&described, &wanted, Some(&measured(image)))
    }

    #[test]
    fn as_configured_is_adopted() {
        assert_eq!(judged(running(), "aa"), Adoption::Same(running()));
        let more = Enclave {
            memory_mib: 1024,
            ..running()
        };
        assert!(matches!(judged(more, "aa"), Adoption::Same(_)));
        let unmeasured = Enclave {
            measurements: None,
            ..running()
        };
        assert!(matches!(judged(unmeasured, "aa"), Adoption::Same(_)));
    }

    #[test]
    fn each_difference_is_named() {
        let other = Enclave {
            cid: 17,
            cpus: 4,
            memory_mib: 64,
            ..running()
        };
        let Adoption::Different(_, found) = judged(other, "bb") else {
            panic!()
        };
        let words: Vec<String> = found.iter().map(Difference::to_string).collect();
        for (text, word) in words.iter().zip(["cid is 16", "cpus is 2", "memory is 128", "PCR0"]) {
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(found.iter().filter(|one| one.is_out_of_reach()).count(), 1);
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn a_debug_enclave_is_refused_whatever_else_it_is() {
        let debug = Enclave {
            flags: Flags::Debug,
            cid: 99,
            ..running()
        };
        let Adoption::Refused(refusal) = judged(debug, "aa") else {
            panic!()
        };
        assert!(refusal.to_string().contains("debug") && refusal.advice().contains("--enclave-name enclave-tls"));
        let unknown = Enclave {
            flags: Flags::Other("FAST".into()),
            ..running()
        };
        assert!(matches!(
            judged(unknown, "aa"),
            Adoption::Refused(Refusal::UnknownFlags { .. })
        ));
    }

    #[test]
    fn another_ones_cid_is_not_taken() {
        let other = Enclave {
            name: Some("acm".into()),
            ..running()
        };
        assert!(matches!(
            judged(other, "aa"),
            Adoption::Refused(Refusal::CidInUse { cid: 16, .. })
        ));
        let far = Enclave {
            name: Some("acm".into()),
            cid: 17,
            ..running()
        };
        assert_eq!(judged(far, "aa"), Adoption::Absent);
        let ending = Enclave {
            state: State::Terminating,
            ..running()
        };
        assert_eq!(judged(ending, "aa"), Adoption::Absent);
    }
}
