//! Sealed states: what only an enclave can read, kept under its name as it came.

use enclave_wire::Name;
use enclave_wire::control::SealedState;

use super::error::{ItemError, Problem, item};
use super::{Store, stem};

impl Store {
    /// Keeps a state in place of the name's older one. When this returns, it is on disk.
    pub(crate) fn put_state(&self, name: &Name, state: &SealedState) -> Result<(), ItemError> {
        self.write(&file(name), state.as_bytes())?;
        // The name is sealed, so none of its keys is lost by a restart. At worst one that is not is named as lost.
        drop(self.forget_volatile(name));
        Ok(())
    }

    /// A name's state, unless its file is gone.
    pub(crate) fn state(&self, name: &Name) -> Result<Option<SealedState>, ItemError> {
        let file = file(name);
        if !self.has_state(name) {
            return Ok(None);
        }
        SealedState::try_from(self.read(&file)?.to_vec())
            .map(Some)
            .map_err(|_| item(&file, Problem::StateTooLong))
    }

    /// Whether a name has a state here.
    pub(crate) fn has_state(&self, name: &Name) -> bool {
        self.root.join(file(name)).exists()
    }

    /// The names that have one, in their order.
    pub(crate) fn sealed_names(&self) -> Vec<Result<Name, ItemError>> {
        self.each(SEALED, |file| {
            stem(file, EXTENSION)
                .and_then(|stem| stem.parse().ok())
                .ok_or_else(|| item(file, Problem::Name("NAME.sealed")))
        })
    }
}

fn file(name: &Name) -> String {
    format!("{SEALED}/{name}{EXTENSION}")
}

pub(super) const SEALED: &str = "sealed";
const EXTENSION: &str = ".sealed";
