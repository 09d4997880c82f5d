//! What to measure.

use std::path::PathBuf;

use serde::Deserialize;

/// A machine to start. It has run when what is measured of it is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The command of the guest's vsock device.
    pub device: Vec<String>,
    /// The command of QEMU.
    pub qemu: Vec<String>,
    /// Where the device has its sockets: empty, and this measurement's own.
    pub dir: PathBuf,
    /// The guest's memory, as QEMU's command says it.
    pub mebibytes: u64,
}

/// Certificates for one guest, until it has no room.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillPlan {
    /// The guest.
    pub machine: Machine,
    /// Of what type the keys are.
    pub kind: Kind,
    /// After how many certificates to look at the memory, in order; the last is how many there shall be.
    pub marks: Vec<usize>,
    /// How many connections come at once when it is full.
    pub crowd: usize,
}

/// The keys of certificates.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Kind {
    /// Made in the guest.
    #[serde(rename = "P-256")]
    P256,
    /// Made here and imported: how long it takes to find primes is no property of the guest's memory.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
}

/// A signature through the module, against the same and an empty exchange without it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignPlan {
    /// `signer` of `signbench`, built.
    pub signer: PathBuf,
    /// The module; what it reads from the environment, the caller has set.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The label of a P-256 key for digests.
    pub label: String,
    /// The same key, by its id in hexadecimal.
    pub id: String,
    /// Where the service answers.
    pub signing: String,
    /// The client's credential file.
    pub credential: PathBuf,
    /// How long a slice lasts.
    pub slice_ms: u64,
    /// How many rounds there are; each has two slices of each subject.
    pub rounds: usize,
}
