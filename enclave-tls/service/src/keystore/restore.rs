//! A name's keys, from its sealed state.
//!
//! Between runs the parent chooses which state it gives: an older one cannot be told from the newest, and the name's freshness says
//! so. Within a run nothing comes back that this run gave up.

use std::sync::Arc;

use enclave_wire::control::{ControlError, Freshness, Validity};
use enclave_wire::{KeyId, State as Standing, Usage};

use super::names::{NameRecord, Sealing};
use super::{Inner, Key, KeyStore, MAX_KEYS, MAX_NAMES};
use crate::chain;
use crate::sealed::{Generation, State, Summary};

/// What a state brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The keys that may sign, the oldest generation first.
    pub keys: Vec<KeyId>,
    /// The generations that may not. They stay in the name's state.
    pub refused: Vec<Refused>,
}

/// A generation that was not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Its number.
    pub generation: u32,
    /// Its key.
    pub key: KeyId,
    /// Which rule it breaks.
    pub error: ControlError,
}

impl KeyStore {
    /// Takes the generations of a state that `accept` takes, with their own numbers; the others are kept aside.
    ///
    /// A name that this run knows already is restored only from a state that goes on from there: its number is higher, and no
    /// generation in it was retired, narrowed or superseded here. The very state that is here is answered as at first.
    pub fn restore(
        &self,
        state: State,
        freshness: Freshness,
        accept: impl Fn(&Generation) -> Result<(), ControlError>,
    ) -> Result<Restored, ControlError> {
        let offer = Offer::new(state, accept)?;
        let inner = &mut *self.write();
        if !inner.has(&offer)? {
            inner.may_restore(&offer)?;
            inner.restore(&offer, freshness)?;
        }
        Ok(offer.restored())
    }
}

/// A state, its generations judged.
struct Offer {
    state: State,
    /// In the order of the generations: when each one's certificate is valid, or why it is not taken.
    judged: Vec<Result<Option<Validity>, ControlError>>,
}

impl Offer {
    fn new(state: State, accept: impl Fn(&Generation) -> Result<(), ControlError>) -> Result<Self, ControlError> {
        let judge = |generation: &Generation| {
            let validity = chain::leaf_validity(&generation.chain).map_err(|_| ControlError::StateInvalid)?;
            Ok::<_, ControlError>(accept(generation).map(|()| validity))
        };
        Ok(Self {
            judged: state.generations.iter().map(judge).collect::<Result<_, _>>()?,
            state,
        })
    }

    fn taken(&self) -> impl Iterator<Item = (&Generation, Option<Validity>)> {
        let judged = self.state.generations.iter().zip(&self.judged);
        judged.filter_map(|(generation, judgement)| Some((generation, judgement.ok()?)))
    }

    fn set_aside(&self) -> impl Iterator<Item = (&Generation, ControlError)> {
        let judged = self.state.generations.iter().zip(&self.judged);
        judged.filter_map(|(generation, judgement)| Some((generation, judgement.err()?)))
    }

    fn restored(&self) -> Restored {
        Restored {
            keys: self.taken().map(|(generation, _)| generation.key.id()).collect(),
            refused: self
                .set_aside()
                .map(|(generation, error)| Refused {
                    generation: generation.generation,
                    key: generation.key.id(),
                    error,
                })
                .collect(),
        }
    }
}

impl Inner {
    /// Whether this very state is here.
    fn has(&self, offer: &Offer) -> Result<bool, ControlError> {
        let state = &offer.state;
        let Some(record) = self.names.get(&state.name) else {
            return Ok(false);
        };
        let Some(sealing) = &record.sealing else {
            return if record.keys.is_empty() {
                Ok(false)
            } else {
                Err(ControlError::SealedOtherwise)
            };
        };
        if *sealing.group() != state.group {
            return Err(ControlError::SealedOtherwise);
        }
        if state.number > sealing.number() {
            return Ok(false);
        }
        let held = self.generations_of(record);
        let same = held.len() == state.generations.len()
            && held
                .iter()
                .zip(&state.generations)
                .all(|(held, given)| is_same(held, given));
        if same && state.number == sealing.number() && state.last_generation == record.last_generation {
            Ok(true)
        } else {
            Err(ControlError::StateRollback)
        }
    }

    fn may_restore(&self, offer: &Offer) -> Result<(), ControlError> {
        let state = &offer.state;
        let known = self.names.get(&state.name);
        if let Some(record) = known {
            self.goes_on(record, state)?;
        }
        let elsewhere = |generation: &Generation| {
            let held = known.and_then(|record| record.keys.get(&generation.generation));
            self.keys.contains_key(&generation.key.id()) && held != Some(&generation.key.id())
        };
        if state.generations.iter().any(elsewhere) {
            return Err(ControlError::KeyExists);
        }
        let more = offer
            .taken()
            .count()
            .saturating_sub(known.map_or(0, |record| record.keys.len()));
        let full = self.keys.len().saturating_add(more) > MAX_KEYS;
        if full || (known.is_none() && self.names.len() >= MAX_NAMES) {
            return Err(ControlError::LimitReached);
        }
        Ok(())
    }

    /// Whether nothing in this state was given up by this run.
    fn goes_on(&self, record: &NameRecord, state: &State) -> Result<(), ControlError> {
        let held = self.generations_of(record);
        let known = |given: &Generation| {
            given.generation > record.last_generation || held.iter().any(|held| goes_on(held, given))
        };
        if state.last_generation >= record.last_generation && state.generations.iter().all(known) {
            Ok(())
        } else {
            Err(ControlError::StateRollback)
        }
    }

    fn restore(&mut self, offer: &Offer, freshness: Freshness) -> Result<(), ControlError> {
        let state = &offer.state;
        let sealing = Arc::new(Sealing::new(state.group.clone(), freshness, state.number));
        let mut place = self.free_place()?;
        let mut keys = Vec::new();
        for (generation, validity) in offer.taken() {
            let key = Key::new(
                state.name.clone(),
                generation.clone(),
                place,
                validity,
                Some(Arc::clone(&sealing)),
            );
            keys.push(Arc::new(match self.keys.get(&key.id()) {
                Some(known) => key.in_place_of(known),
                None => key,
            }));
            place = place.checked_add(1).ok_or(ControlError::LimitReached)?;
        }
        // From here on nothing fails.
        self.changes = self.changes.saturating_add(1);
        self.next_place = place;
        let record = NameRecord {
            last_generation: state.last_generation,
            keys: keys.iter().map(|key| (key.entry().generation, key.id())).collect(),
            sealing: Some(sealing),
            set_aside: offer.set_aside().map(|(generation, _)| generation.clone()).collect(),
        };
        let before = self.names.insert(state.name.clone(), record).unwrap_or_default();
        let stays = |id: &KeyId| keys.iter().any(|key| key.id() == *id);
        let gone = before.keys.values().filter(|id| !stays(id));
        let gone: Vec<Arc<Key>> = gone.filter_map(|id| self.keys.get(id).cloned()).collect();
        gone.iter().for_each(|key| self.remove(key));
        keys.iter().for_each(|key| self.put(key));
        Ok(())
    }
}

/// Whether these are one generation, the same in everything.
fn is_same(held: &Generation, given: &Generation) -> bool {
    Summary::from(held) == Summary::from(given)
        && held.dns_names == given.dns_names
        && held.clients == given.clients
        && held.chain == given.chain
}

/// Whether `given` is `held`, or what `held` can become.
fn goes_on(held: &Generation, given: &Generation) -> bool {
    let usage = held.usage == given.usage || held.usage == Usage::Digest;
    let state = held.state == given.state || held.state == Standing::Live;
    let same = (held.generation, held.origin, held.key.id()) == (given.generation, given.origin, given.key.id());
    same && usage && state
}
