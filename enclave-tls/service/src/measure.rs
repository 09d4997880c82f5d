//! Writes the policy in force into the NSM, for good, before there is any key.

use enclave_attestation::{Nsm, NsmError, PCR_COUNT};
use enclave_policy::Policy;

/// Extends PCR16 by the policy's hash and locks PCR16 to 31: from here on every document of this boot names this policy, and no code in
/// the enclave can make it name another.
pub fn policy(nsm: &dyn Nsm, policy: &Policy) -> Result<(), MeasureError> {
    let before = nsm.register(POLICY)?;
    if before.locked || before.value != [0; 48] {
        return Err(MeasureError::NotFresh);
    }
    nsm.extend(POLICY, &policy.sha384())?;
    nsm.lock_below(PCR_COUNT)?;
    if nsm.register(POLICY)?.value != policy.pcr16() {
        return Err(MeasureError::Differs);
    }
    for index in POLICY..PCR_COUNT {
        if !nsm.register(index)?.locked {
            return Err(MeasureError::Unlocked(index));
        }
    }
    Ok(())
}

/// Why the policy was not measured. The service may hold no key then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MeasureError {
    /// PCR16 is not as a boot finds it: something has been measured there in this boot.
    NotFresh,
    /// PCR16 holds something else than what was measured.
    Differs,
    /// This register can still be extended.
    Unlocked(u8),
    /// The NSM did not do it.
    Nsm(NsmError),
}

impl From<NsmError> for MeasureError {
    fn from(error: NsmError) -> Self {
        Self::Nsm(error)
    }
}

impl std::fmt::Display for MeasureError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFresh => f.write_str("PCR16 was extended or locked before, in this boot"),
            Self::Differs => f.write_str("PCR16 is not what the policy gives"),
            Self::Unlocked(index) => write!(f, "PCR{index} is not locked"),
            Self::Nsm(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for MeasureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Nsm(error) => Some(error),
            Self::NotFresh | Self::Differs | Self::Unlocked(_) => None,
        }
    }
}

/// The register that measures the policy.
const POLICY: u8 = 16;

#[cfg(test)]
mod tests;
