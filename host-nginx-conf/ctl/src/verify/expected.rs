//! What the files and options say that a proof must show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use enclave_attestation::{AWS_ROOT_SHA256, PCR_COUNT, Pcr};
use enclave_policy::Policy;
use serde_json::Value;

use super::VerifyError;
use super::options::Options;
use crate::args::wrong_usage;
use enclave_tls_admin::{files, hex};

use crate::kms_policy;

/// What a proof must show.
pub(crate) struct Expected {
    pub(crate) root_sha256: [u8; 32],
    pub(crate) pcrs: BTreeMap<u8, Pcr>,
    pub(crate) policy: Option<Policy>,
    /// The KMS keys that state is sealed to; none: nothing was said of them.
    pub(crate) sealed_to: Option<BTreeSet<String>>,
}

impl Expected {
    pub(crate) fn read(options: &Options) -> Result<Self, VerifyError> {
        let policy = options
            .policy
            .as_deref()
            .map(|file| kms_policy::read_policy(file, options.image_policy.as_deref()))
            .transpose()
            .map_err(VerifyError::Policy)?;
        let mut pcrs = BTreeMap::new();
        let measured = options.measurements.as_deref().map(measurements).transpose()?;
        let of_policy = policy.as_ref().map(|policy| (16, policy.pcr16()));
        let given = options.pcrs.iter().copied();
        for (index, value) in given.chain(measured.into_iter().flatten()).chain(of_policy) {
            if pcrs.insert(index, value).is_some_and(|other| other != value) {
                wrong_usage(&format!("PCR{index} is given twice, and differs"));
            }
        }
        let sealed_to = match &policy {
            Some(policy) => Some(policy.sealing_keys().iter().map(ToString::to_string).collect()),
            None if options.sealed_to.is_empty() => None,
            None => Some(options.sealed_to.iter().map(ToString::to_string).collect()),
        };
        Ok(Self {
            root_sha256: options.root_sha256.unwrap_or(AWS_ROOT_SHA256),
            pcrs,
            policy,
            sealed_to,
        })
    }

    pub(crate) fn trusts_aws(&self) -> bool {
        self.root_sha256 == AWS_ROOT_SHA256
    }
}

/// The registers in what nitro-cli prints: `{"Measurements": {"PCR0": "…", …}}`.
fn measurements(path: &Path) -> Result<Vec<(u8, Pcr)>, VerifyError> {
    let refused = || VerifyError::Measurements(PathBuf::from(path));
    let bytes =
        files::read_public(path, MAX_MEASUREMENTS).map_err(|error| VerifyError::File(path.to_owned(), error))?;
    let tree: Value = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    let members = tree
        .get("Measurements")
        .and_then(Value::as_object)
        .ok_or_else(refused)?;
    let registers = members.iter().filter_map(|(name, value)| {
        let index: u8 = name.strip_prefix("PCR")?.parse().ok()?;
        Some((index, value))
    });
    let registers: Vec<(u8, Pcr)> = registers
        .map(|(index, value)| {
            let value = value
                .as_str()
                .and_then(|digits| hex::decode(&digits.to_ascii_lowercase()));
            value
                .filter(|_| index < PCR_COUNT)
                .map(|value| (index, value))
                .ok_or_else(refused)
        })
        .collect::<Result<_, _>>()?;
    if [0, 1, 2]
        .iter()
        .all(|wanted| registers.iter().any(|(index, _)| index == wanted))
    {
        Ok(registers)
    } else {
        Err(refused())
    }
}

/// What `describe-eif` prints has metadata beside the measurements.
const MAX_MEASUREMENTS: usize = 1 << 20;
