//! What to measure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The subjects and how long to measure them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The core that this process keeps to, with all that it starts; none: any.
    pub core: Option<usize>,
    /// How long a slice lasts.
    pub slice_ms: u64,
    /// How many rounds there are; each gives every subject two slices.
    pub rounds: usize,
    /// How many rounds there may be, until so many count as the plan wants; without it no more than those.
    #[serde(default)]
    pub most_rounds: Option<usize>,
    /// Names of the subjects that the others are compared with.
    pub references: Vec<String>,
    /// Whether this process is a part of the cost (of a signature), or only makes work (of handshakes).
    pub count_client: bool,
    /// What to measure, in the order of the slices.
    pub subjects: Vec<SubjectPlan>,
}

impl Plan {
    pub(super) fn slice(&self) -> Duration {
        Duration::from_millis(self.slice_ms)
    }

    /// Whether there must be another round, after so many of which so many count for each comparison.
    pub(super) fn wants_another(&self, run: usize, steady: usize) -> bool {
        run < self.rounds || steady < self.rounds && run < self.most_rounds.unwrap_or(self.rounds)
    }
}

/// One subject.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectPlan {
    /// Its name in the report.
    pub name: String,
    /// How many threads work at the same time.
    #[serde(default = "one")]
    pub threads: usize,
    /// How many processes do, with so many threads each; 1: this one.
    #[serde(default = "one")]
    pub processes: usize,
    /// What the processes have in their environment besides; with anything in it, one is enough for a process of its own.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Other processes whose CPU its operations use.
    #[serde(default)]
    pub watch: Vec<Watch>,
    /// What one operation is.
    pub work: Work,
}

/// A process whose CPU is counted, with that of the processes that it starts.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Its part in the report; the CPU of processes that share one is added.
    pub part: String,
    /// Which process.
    pub pid: u32,
    /// The core to keep it on while measuring.
    pub core: Option<usize>,
}

/// What one operation is.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Work {
    /// `C_SignInit` and `C_Sign` in a module, by a process of its own: see `signer.c`. What the module reads from the environment, the
    /// caller has set.
    Pkcs11 {
        /// `signer`, built.
        signer: PathBuf,
        /// The shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The private key's label.
        label: String,
        /// For a token that wants a login.
        pin: Option<String>,
        /// The mechanism.
        mechanism: Mechanism,
    },
    /// `C_FindObjectsInit`, `C_FindObjects` until nothing more comes, and `C_FindObjectsFinal`, for one private key in a module.
    Find {
        /// The shared library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// What the key is found by.
        by: Attribute,
    },
    /// A signature in this process, by the library that the service uses.
    Raw {
        /// PKCS#8 in PEM.
        key: PathBuf,
        /// The mechanism.
        mechanism: Mechanism,
    },
    /// A message to another process, and its answer, over a unix socket.
    Socket {
        /// Bytes of the message.
        request: usize,
        /// Bytes of the answer.
        reply: usize,
    },
    /// A full TLS handshake on a new connection.
    Handshake {
        /// Host and port.
        address: String,
        /// The name to ask for.
        name: String,
        /// PEM; the server must show the first certificate in it.
        chain: PathBuf,
        /// The one protocol version to offer.
        tls: TlsVersion,
    },
}

/// What names a key.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attribute {
    /// `CKA_LABEL`
    Label(String),
    /// `CKA_ID`, in hexadecimal.
    Id(String),
}

/// The signatures that subjects make: over a digest, as engine clients ask for them, and by Ed25519 over a handshake's message.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    /// `CKM_ECDSA` by P-256, over SHA-256.
    Ecdsa,
    /// `CKM_ECDSA` by P-384, over SHA-384.
    EcdsaP384,
    /// `CKM_RSA_PKCS`, over a DigestInfo of SHA-256.
    RsaPkcs,
    /// `CKM_RSA_PKCS_PSS` over SHA-256, salt as long as the hash.
    RsaPss,
    /// `CKM_EDDSA`, over what TLS 1.3 has a server sign (RFC 8446, section 4.4.3).
    Ed25519,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V1_3,
}

const fn one() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(rounds: usize, most_rounds: Option<usize>) -> Plan {
        Plan {
            core: None,
            slice_ms: 1,
            rounds,
            most_rounds,
            references: Vec::new(),
            count_client: true,
            subjects: Vec::new(),
        }
    }

    #[test]
    fn disturbed_rounds_are_run_again_up_to_a_limit() {
        let plan = plan(15, Some(45));
        assert!(plan.wants_another(0, 0) && plan.wants_another(14, 14));
        assert!(!plan.wants_another(15, 15));
        assert!(plan.wants_another(15, 14) && plan.wants_another(44, 14));
        assert!(!plan.wants_another(20, 15) && !plan.wants_another(45, 3));
    }

    #[test]
    fn without_a_limit_there_are_as_many_as_the_plan_says() {
        let plan = plan(4, None);
        assert!(plan.wants_another(3, 0));
        assert!(!plan.wants_another(4, 0));
    }
}
