//! The platform configuration registers.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA384};
use enclave_attestation::{NsmError, PCR_COUNT, Pcr, Register};

/// All 32, each with its lock.
pub(crate) struct Registers(Vec<Register>);

impl Registers {
    /// As an enclave finds them: what measures it is locked, the rest is zero and its own.
    pub(crate) fn measured(pcrs: &BTreeMap<u8, Pcr>) -> Self {
        let register = |index| Register {
            value: pcrs.get(&index).copied().unwrap_or([0; 48]),
            locked: index < APPLICATION,
        };
        Self((0..PCR_COUNT).map(register).collect())
    }

    pub(crate) fn get(&self, index: u8) -> Result<Register, NsmError> {
        self.0.get(usize::from(index)).copied().ok_or(NsmError::Argument)
    }

    pub(crate) fn extend(&mut self, index: u8, data: &[u8]) -> Result<Pcr, NsmError> {
        let register = self.0.get_mut(usize::from(index)).ok_or(NsmError::Argument)?;
        if register.locked {
            return Err(NsmError::Locked);
        }
        let mut extended = Context::new(&SHA384);
        extended.update(&register.value);
        extended.update(data);
        register.value.copy_from_slice(extended.finish().as_ref());
        Ok(register.value)
    }

    pub(crate) fn lock_below(&mut self, count: u8) -> Result<(), NsmError> {
        let below = self.0.get_mut(..usize::from(count)).ok_or(NsmError::Argument)?;
        below.iter_mut().for_each(|register| register.locked = true);
        Ok(())
    }

    /// What a document lists: the locked ones, and no other.
    pub(crate) fn locked(&self) -> BTreeMap<u8, Pcr> {
        let locked = (0..).zip(&self.0).filter(|(_, register)| register.locked);
        locked.map(|(index, register)| (index, register.value)).collect()
    }
}

/// The first register that is the application's own.
pub(crate) const APPLICATION: u8 = 16;
