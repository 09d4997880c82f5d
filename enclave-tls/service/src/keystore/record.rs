//! A key with what is known of it. A record never changes: a change is a new record around the same key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use enclave_wire::control::{KeyCounters, KeyInfo, Listed, Origin, Sealed, Validity};
use enclave_wire::signing::{Entry, SignError};
use enclave_wire::{Chain, DnsName, Encode as _, KeyId, Mechanism, Name, State, Usage};

use super::SigningKey;
use super::names::Sealing;
use crate::chain::ValidChain;
use crate::sealed::Generation;

/// A key of the store.
#[derive(Clone)]
pub struct Key {
    signing: Arc<SigningKey>,
    entry: Entry,
    entry_len: usize,
    place: u32,
    origin: Origin,
    dns_names: Listed<DnsName, 100>,
    clients: Listed<Name, 64>,
    chain: Arc<Chain>,
    validity: Option<Validity>,
    /// One for all keys of the name.
    sealing: Option<Arc<Sealing>>,
    uses: Arc<Uses>,
}

/// A key that is about to come into the store.
pub struct NewKey {
    /// The key itself.
    pub signing: SigningKey,
    /// Its certificate's name.
    pub name: Name,
    /// What it may sign.
    pub usage: Usage,
    /// Where it came from.
    pub origin: Origin,
    /// The names that its certificate carries.
    pub dns_names: Listed<DnsName, 100>,
    /// The clients that may use it.
    pub clients: Listed<Name, 64>,
    /// Its certificates, where it comes with them.
    pub chain: Option<ValidChain>,
    /// The group whose data key its state is sealed under; none: it ends with this run.
    pub sealed: Option<Name>,
}

impl Key {
    pub(super) fn new(
        name: Name,
        new: Generation,
        place: u32,
        validity: Option<Validity>,
        sealing: Option<Arc<Sealing>>,
    ) -> Self {
        let entry = Entry {
            id: new.key.id(),
            name,
            generation: new.generation,
            key_type: new.key.key_type(),
            usage: new.usage,
            state: new.state,
            spki: new.key.spki().clone(),
        };
        Self {
            entry_len: entry.to_bytes().len(),
            entry,
            signing: new.key,
            place,
            origin: new.origin,
            dns_names: new.dns_names,
            clients: new.clients,
            chain: new.chain,
            validity,
            sealing,
            uses: Arc::default(),
        }
    }

    /// This record in the place of an older one of the same key.
    pub(super) fn in_place_of(self, known: &Self) -> Self {
        Self {
            signing: Arc::clone(&known.signing),
            place: known.place,
            uses: Arc::clone(&known.uses),
            ..self
        }
    }

    /// What a state holds of it.
    pub(super) fn generation(&self) -> Generation {
        Generation {
            generation: self.entry.generation,
            state: self.entry.state,
            usage: self.entry.usage,
            origin: self.origin,
            dns_names: self.dns_names.clone(),
            clients: self.clients.clone(),
            chain: Arc::clone(&self.chain),
            key: Arc::clone(&self.signing),
        }
    }

    /// SHA-256 of its SPKI.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.entry.id
    }

    /// What it may sign.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.entry.usage
    }

    /// What its clients see of it.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// How many bytes [`Key::entry`] has on the wire.
    #[must_use]
    pub fn entry_len(&self) -> usize {
        self.entry_len
    }

    /// The key itself.
    #[must_use]
    pub fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// The names that its certificate carries.
    #[must_use]
    pub fn dns_names(&self) -> &[DnsName] {
        self.dns_names.items()
    }

    /// Its certificates; empty where none is installed.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether its certificate has expired at this time: such a key signs no more.
    #[must_use]
    pub fn has_expired(&self, now_unix: impl FnOnce() -> i64) -> bool {
        self.validity.is_some_and(|validity| now_unix() > validity.not_after)
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// How its name's state is sealed, if it is.
    #[must_use]
    pub fn sealed(&self) -> Option<Sealed> {
        self.sealing.as_ref().map(|sealing| sealing.info())
    }

    /// What an administrator sees of it.
    #[must_use]
    pub fn info(&self) -> KeyInfo {
        KeyInfo {
            id: self.entry.id,
            name: self.entry.name.clone(),
            generation: self.entry.generation,
            key_type: self.entry.key_type,
            usage: self.entry.usage,
            state: self.entry.state,
            origin: self.origin,
            dns_names: self.dns_names.clone(),
            clients: self.clients.clone(),
            spki: self.entry.spki.clone(),
            validity: self.validity,
            sealed: self.sealed(),
        }
    }

    /// Counts one use.
    pub fn count(&self, mechanism: Mechanism, outcome: Result<(), SignError>) {
        let uses = &self.uses.0;
        if let Some(count) = position(mechanism).and_then(|at| uses.get(at)) {
            let counter = match outcome {
                Ok(()) => &count.signed,
                Err(SignError::UsageRefused | SignError::InputLength) => &count.refused,
                Err(_) => &count.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The uses so far, by mechanism.
    pub fn counters(&self) -> impl Iterator<Item = KeyCounters> + '_ {
        let counts = Mechanism::ALL.iter().zip(&self.uses.0);
        counts.filter_map(|(mechanism, count)| {
            let counters = KeyCounters {
                key: self.id(),
                mechanism: *mechanism,
                signed: count.signed.load(Ordering::Relaxed),
                refused: count.refused.load(Ordering::Relaxed),
                failed: count.failed.load(Ordering::Relaxed),
            };
            let used = [counters.signed, counters.refused, counters.failed] != [0; 3];
            used.then_some(counters)
        })
    }

    pub(super) fn place(&self) -> u32 {
        self.place
    }

    /// The clients that may use it.
    #[must_use]
    pub fn clients(&self) -> &[Name] {
        self.clients.items()
    }

    pub(super) fn with_chain(&self, chain: ValidChain) -> Self {
        Self {
            chain: Arc::new(chain.served),
            validity: Some(chain.validity),
            ..self.clone()
        }
    }

    pub(super) fn with_state(&self, state: State) -> Self {
        let mut changed = self.clone();
        changed.entry.state = state;
        changed
    }

    pub(super) fn with_usage(&self, usage: Usage) -> Self {
        let mut changed = self.clone();
        changed.entry.usage = usage;
        changed
    }
}

/// The uses of one key, in the order of [`Mechanism::ALL`]. Shared by all records of the key.
#[derive(Default)]
struct Uses([Use; Mechanism::ALL.len()]);

#[derive(Default)]
struct Use {
    signed: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

fn position(mechanism: Mechanism) -> Option<usize> {
    Mechanism::ALL.iter().position(|known| *known == mechanism)
}
