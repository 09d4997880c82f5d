//! Keys that the lab's credential cannot see, for different reasons.

use anyhow::Result;
use enclave_wire::KeyId;

use super::Lab;
use super::keys::{TestKey, WEB_SERVERS};
use super::scratch::Scratch;

/// The ids of three keys that the lab's credential cannot see.
pub struct Unseen<'a> {
    /// Absent, retired, another credential's.
    pub ids: [KeyId; 3],
    _others: TestKey<'a>,
    _retired: TestKey<'a>,
    _scratch: Scratch,
}

impl<'a> Unseen<'a> {
    /// Makes a key of a stranger's and one that is retired.
    pub fn make(lab: &'a Lab) -> Result<Self> {
        let scratch = Scratch::new()?;
        lab.ctl(&[
            "credential",
            "e2e-stranger",
            "--out",
            &scratch.file("stranger").display().to_string(),
        ])?;
        let others = TestKey::create(lab, "lab-e2e-stranger", "P-256", "digest", "e2e-stranger")?;
        let retired = TestKey::create(lab, "lab-e2e-retired", "P-256", "digest", WEB_SERVERS)?;
        retired.retire()?;
        let ids = [KeyId([0x5a; 32]), retired.id()?, others.id()?];
        Ok(Self {
            ids,
            _others: others,
            _retired: retired,
            _scratch: scratch,
        })
    }
}
