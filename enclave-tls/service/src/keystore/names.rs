//! What is known of a name beside its keys: the last generation, and how its state is sealed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enclave_wire::control::{ControlError, Freshness, Sealed};
use enclave_wire::{KeyId, Name};

use crate::sealed::{Generation, MAX_GENERATIONS};

/// A name of this boot. It outlives its keys.
#[derive(Clone, Default)]
pub(super) struct NameRecord {
    pub(super) last_generation: u32,
    /// The keys, by generation.
    pub(super) keys: BTreeMap<u32, KeyId>,
    /// All generations are sealed, in one group, or none is. A sealed name stays so when its last key is retired: the parent
    /// keeps a state of it.
    pub(super) sealing: Option<Arc<Sealing>>,
    /// Generations that were restored and that the policy refuses. They are not used, but each state carries them on: with
    /// another policy they may come back, while a state without them would have lost their keys.
    pub(super) set_aside: Vec<Generation>,
}

impl NameRecord {
    /// Whether the name takes another key, sealed in this group or not at all.
    pub(super) fn admits(&self, sealed: Option<&Name>) -> Result<(), ControlError> {
        let as_before = match (&self.sealing, sealed) {
            (Some(sealing), Some(group)) => sealing.group == *group,
            (Some(_), None) => false,
            (None, Some(_)) => self.keys.is_empty(),
            (None, None) => true,
        };
        if !as_before {
            return Err(ControlError::SealedOtherwise);
        }
        let held = self.keys.len().saturating_add(self.set_aside.len());
        if sealed.is_some() && held >= MAX_GENERATIONS {
            return Err(ControlError::LimitReached);
        }
        Ok(())
    }

    pub(super) fn sealed(&self) -> Option<Sealed> {
        self.sealing.as_ref().map(|sealing| sealing.info())
    }
}

/// How the state of a name is sealed. Its keys share it.
pub(super) struct Sealing {
    group: Name,
    freshness: Freshness,
    /// Of the state that was stored last.
    number: AtomicU64,
}

impl Sealing {
    pub(super) fn new(group: Name, freshness: Freshness, number: u64) -> Self {
        Self {
            group,
            freshness,
            number: AtomicU64::new(number),
        }
    }

    pub(super) fn group(&self) -> &Name {
        &self.group
    }

    pub(super) fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// A state of this number was stored. Only whoever has the store for writing says so.
    pub(super) fn stored(&self, number: u64) {
        self.number.store(number, Ordering::Relaxed);
    }

    pub(super) fn info(&self) -> Sealed {
        Sealed {
            group: self.group.clone(),
            number: self.number(),
            freshness: self.freshness,
        }
    }
}
