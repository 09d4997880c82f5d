//! How much was signed: since the service's start, and each second between two looks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use enclave_wire::KeyId;
use enclave_wire::control::{Counters, KeyInfo};
use serde::Serialize;

/// What was counted at one time.
pub(super) struct Look {
    at: Instant,
    boot: String,
    keys: BTreeMap<KeyId, Counted>,
    /// Of the keys that were held then.
    names: BTreeMap<KeyId, String>,
}

#[derive(Default, Clone, Copy)]
struct Counted {
    signed: u64,
    refused: u64,
    failed: u64,
}

/// Signatures of all keys, and of each.
#[derive(Serialize)]
pub(super) struct SignaturesJson {
    pub(super) signed: u64,
    pub(super) refused: u64,
    pub(super) failed: u64,
    /// Between this look and the one before it; none at the first, and after a restart of the service.
    pub(super) per_second: Option<f64>,
    pub(super) keys: Vec<KeySignaturesJson>,
}

#[derive(Serialize)]
pub(super) struct KeySignaturesJson {
    id: String,
    /// Absent for a key that has been retired since.
    name: Option<String>,
    signed: u64,
    per_second: Option<f64>,
}

impl Look {
    pub(super) fn new(boot: &str, counters: &Counters, keys: &[KeyInfo]) -> Self {
        let mut counted: BTreeMap<KeyId, Counted> = BTreeMap::new();
        for key in counters.keys.items() {
            let sum = counted.entry(key.key).or_default();
            sum.signed = sum.signed.saturating_add(key.signed);
            sum.refused = sum.refused.saturating_add(key.refused);
            sum.failed = sum.failed.saturating_add(key.failed);
        }
        Self {
            at: Instant::now(),
            boot: boot.to_owned(),
            keys: counted,
            names: keys.iter().map(|key| (key.id, key.name.to_string())).collect(),
        }
    }

    pub(super) fn since(&self, before: Option<&Self>) -> SignaturesJson {
        // The counters of another boot began anew.
        let before = before.filter(|before| before.boot == self.boot);
        let elapsed = before.map(|before| self.at.saturating_duration_since(before.at));
        let sum = |look: &Self, of: fn(&Counted) -> u64| look.keys.values().map(of).fold(0, u64::saturating_add);
        let rate = |now: u64, then: Option<u64>| per_second(now.saturating_sub(then?), elapsed?);
        let signed = sum(self, |key| key.signed);
        let key = |(id, counted): (&KeyId, &Counted)| {
            let then = before.map(|before| before.keys.get(id).map_or(0, |then| then.signed));
            KeySignaturesJson {
                id: id.to_string(),
                name: self.names.get(id).cloned(),
                signed: counted.signed,
                per_second: rate(counted.signed, then),
            }
        };
        SignaturesJson {
            signed,
            refused: sum(self, |key| key.refused),
            failed: sum(self, |key| key.failed),
            per_second: rate(signed, before.map(|before| sum(before, |key| key.signed))),
            keys: self.keys.iter().map(key).collect(),
        }
    }
}

impl SignaturesJson {
    /// In a line.
    pub(super) fn text(&self) -> String {
        let rate = match self.per_second {
            Some(rate) => format!("{rate:.1} a second, "),
            None => String::new(),
        };
        format!(
            "{rate}{} since the service's start, {} refused, {} failed",
            self.signed, self.refused, self.failed
        )
    }
}

/// To a tenth.
fn per_second(count: u64, elapsed: Duration) -> Option<f64> {
    let tenths = u128::from(count)
        .saturating_mul(10_000)
        .checked_div(elapsed.as_millis())?;
    Some(f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(boot: &str, at: Instant, signed: u64) -> Look {
        Look {
            at,
            boot: boot.to_owned(),
            keys: BTreeMap::from([(
                KeyId([1; 32]),
                Counted {
                    signed,
                    ..Counted::default()
                },
            )]),
            names: BTreeMap::from([(KeyId([1; 32]), "www".to_owned())]),
        }
    }

    #[test]
    fn a_rate_is_between_two_looks_at_one_boot() {
        let now = Instant::now();
        let first = look("a", now, 1_000);
        let later = look("a", now + Duration::from_secs(2), 1_500);
        assert_eq!(first.since(None).per_second, None);
        let rates = later.since(Some(&first));
        assert_eq!((rates.per_second, rates.keys[0].per_second), (Some(250.0), Some(250.0)));
        assert_eq!(
            rates.text(),
            "250.0 a second, 1500 since the service's start, 0 refused, 0 failed"
        );
        let restarted = look("b", now + Duration::from_secs(4), 10);
        assert_eq!(restarted.since(Some(&later)).per_second, None);
        assert_eq!(
            look("a", now, 1_000).since(Some(&first)).per_second,
            None,
            "no time has passed"
        );
    }
}
