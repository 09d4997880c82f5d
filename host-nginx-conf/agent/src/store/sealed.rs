//! Sealed states: what only an enclave can read, kept under its name as it came.

use enclave_wire::control::SealedState;
use enclave_wire::{Decode as _, Name, Reader};

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

    /// A name's state, unless its file is gone. One of another name is refused: what is stored next would take its place.
    pub(crate) fn state(&self, name: &Name) -> Result<Option<SealedState>, ItemError> {
        let file = file(name);
        if !self.has_state(name) {
            return Ok(None);
        }
        let bytes = self.read(&file)?;
        if let Some(other) = name_in(&bytes).filter(|its| its != name) {
            return Err(item(&file, Problem::OtherName(other)));
        }
        SealedState::try_from(bytes.to_vec())
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

/// The name that stands in the clear at the beginning of a state (`SEALED.md`); none in what is no state, which the service refuses.
fn name_in(state: &[u8]) -> Option<Name> {
    let mut reader = Reader::new(state);
    reader.take(MAGIC.len()).ok().filter(|magic| *magic == MAGIC)?;
    let [version] = *reader.take(1).ok()? else { return None };
    VERSIONS.contains(&version).then_some(())?;
    Name::decode(&mut reader).ok()
}

fn file(name: &Name) -> String {
    format!("{SEALED}/{name}{EXTENSION}")
}

pub(crate) const SEALED: &str = "sealed";
const MAGIC: &[u8] = b"enclave-tls-sealed";
/// Under one KMS key, and under several.
const VERSIONS: [u8; 2] = [1, 2];
const EXTENSION: &str = ".sealed";
