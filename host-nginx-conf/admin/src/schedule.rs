//! When a certificate is to be renewed: decided here, without asking anybody.
//!
//! The CA's own word comes first (RFC 9773): a window, and in it a moment that is each key's own, so that a thousand certificates of one
//! window spread over it, and a restart changes nothing. Without that word it is a part of the lifetime. Which moment it is is computed
//! from the key's id: the parent could choose it anyhow, for it can deny a renewal, or ask for one, at any time.

use enclave_wire::KeyId;
use enclave_wire::control::Validity;
use sha2::{Digest, Sha256};

/// When, and why then. Seconds since 1970, UTC, as the enclave counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// The moment.
    pub at: i64,
    /// What decided.
    pub why: Why,
}

/// Why then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The CA says so.
    Window,
    /// Two thirds of its lifetime are over, less the spreading.
    TwoThirds,
    /// Half of it: it lives less than ten days.
    Half,
}

impl Schedule {
    /// Of a key whose certificate is valid so long, and for which the CA named this window, if it named one.
    #[must_use]
    pub fn of(key: KeyId, validity: Validity, window: Option<Validity>) -> Self {
        match window {
            Some(window) => Self {
                at: within(key, window),
                why: Why::Window,
            },
            None => by_lifetime(key, validity),
        }
    }

    /// Whether it is in the first third of a lifetime, which nobody but the CA would say.
    #[must_use]
    pub fn is_early(&self, validity: Validity) -> bool {
        let lifetime = validity.not_after.saturating_sub(validity.not_before);
        self.at < validity.not_before.saturating_add(lifetime.div_euclid(3))
    }
}

impl Why {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Window => "the CA's window",
            Self::TwoThirds => "two thirds of its lifetime",
            Self::Half => "half of its lifetime",
        }
    }
}

fn by_lifetime(key: KeyId, validity: Validity) -> Schedule {
    let lifetime = validity.not_after.saturating_sub(validity.not_before).max(0);
    let (part, why) = if lifetime < SHORT {
        (lifetime.div_euclid(2), Why::Half)
    } else {
        (lifetime.saturating_mul(2).div_euclid(3), Why::TwoThirds)
    };
    let latest = validity.not_before.saturating_add(part);
    let window = Validity {
        not_before: latest.saturating_sub(lifetime.div_euclid(SPREAD)),
        not_after: latest,
    };
    Schedule {
        at: within(key, window),
        why,
    }
}

/// A moment of the window, this key's own.
fn within(key: KeyId, window: Validity) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"renewal\0");
    hash.update(key.0);
    hash.update(window.not_before.to_be_bytes());
    hash.update(window.not_after.to_be_bytes());
    let digest = hash.finalize();
    let first = digest.first_chunk().copied().unwrap_or_default();
    let length = u64::try_from(window.not_after.saturating_sub(window.not_before)).unwrap_or(0);
    let offset = u128::from(u64::from_be_bytes(first)).saturating_mul(u128::from(length)) >> 64;
    let offset = i64::try_from(offset).unwrap_or(0);
    window.not_before.saturating_add(offset)
}

/// Seconds: ten days.
const SHORT: i64 = 864_000;
/// The twelfth part of a lifetime: a week of three months, half a day of six days.
const SPREAD: i64 = 12;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const DAY: i64 = 86_400;
    const NOW: i64 = 1_800_000_000;

    fn key(number: u32) -> KeyId {
        KeyId(Sha256::digest(number.to_be_bytes()).into())
    }

    fn valid(days: i64) -> Validity {
        Validity {
            not_before: NOW,
            not_after: NOW + days * DAY,
        }
    }

    #[test]
    fn a_lifetime_is_used_by_two_thirds_and_a_short_one_by_half() {
        for (days, why, from, to) in [
            (90, Why::TwoThirds, 52, 60),
            (47, Why::TwoThirds, 27, 32),
            (10, Why::TwoThirds, 5, 7),
            (6, Why::Half, 2, 3),
            (1, Why::Half, 0, 1),
        ] {
            for number in 0..100 {
                let schedule = Schedule::of(key(number), valid(days), None);
                assert_eq!(schedule.why, why, "{days}");
                assert!(
                    (NOW + from * DAY..=NOW + to * DAY).contains(&schedule.at),
                    "{days} {}",
                    schedule.at - NOW
                );
            }
        }
    }

    #[test]
    fn the_cas_window_decides_wherever_it_lies() {
        let window = Validity {
            not_before: NOW - 10 * DAY,
            not_after: NOW - 9 * DAY,
        };
        let schedule = Schedule::of(key(1), valid(90), Some(window));
        assert_eq!(schedule.why, Why::Window);
        assert!((window.not_before..window.not_after).contains(&schedule.at));
        assert_eq!(
            schedule,
            Schedule::of(key(1), valid(90), Some(window)),
            "a restart changes nothing"
        );
        assert_ne!(schedule.at, Schedule::of(key(2), valid(90), Some(window)).at);
        for (from, to) in [(5, 5), (5, 4), (i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
            let odd = Validity {
                not_before: from,
                not_after: to,
            };
            let at = Schedule::of(key(1), valid(90), Some(odd)).at;
            assert!(at >= from, "{at}");
        }
    }

    #[test]
    fn threat_52_a_thousand_certificates_of_one_day_spread_themselves() {
        for (days, window, most_an_hour) in [
            (90, None, 20),
            (47, None, 30),
            (6, None, 130),
            (
                90,
                Some(Validity {
                    not_before: NOW + 60 * DAY,
                    not_after: NOW + 62 * DAY,
                }),
                45,
            ),
        ] {
            let mut hours = BTreeMap::<i64, u32>::new();
            for number in 0..1_000 {
                let at = Schedule::of(key(number), valid(days), window).at;
                *hours.entry(at.div_euclid(3_600)).or_default() += 1;
            }
            let most = hours.values().max().copied().unwrap();
            assert!(most <= most_an_hour, "{days}: {most} in one hour");
        }
    }
}
