//! Reminders: what an administrator has to renew by hand, ahead of its end.

use std::time::Duration;

use enclave_tls_config::{Config, Source};
use enclave_wire::control::Validity;

use super::Keeper;
use super::keys::Keys;
use super::world::{Enclave, Helper};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Says of each certificate that a CA of the administrator's issued that it ends soon: once for each of [`DAYS`].
    pub(super) fn remind(&mut self, config: &Config, keys: &Keys) {
        let moment = self.clock.monotonic();
        if moment < self.remind_at {
            return;
        }
        self.remind_at = moment.saturating_add(EACH);
        let now = self.now;
        for certificate in config.certificates.values() {
            if !matches!(certificate.source, Source::Csr { .. }) {
                continue;
            }
            let live = self.plan(config, certificate, keys, false).live;
            let Some((live, validity)) = live.and_then(|live| Some((live, live.validity?))) else {
                continue;
            };
            let Some(days) = near(validity, now) else { continue };
            let name = &certificate.name;
            if self.memory.rotations().is_news(name, validity.not_after, days) {
                self.memory.rotations_mut().reminded(name, validity.not_after, days);
                let event = Event::CertificateRenew.about().certificate(name);
                event
                    .generation(live.generation)
                    .key(live.id)
                    .say(says(name.as_str(), days));
            }
        }
    }
}

/// In how many days at most it ends, by the reminders that there are; none: it is too early for any.
pub(super) fn near(validity: Validity, now: i64) -> Option<i64> {
    let left = validity.not_after.saturating_sub(now);
    let half = validity.not_after.saturating_sub(validity.not_before).div_euclid(2);
    // One that lives six days is not always near its end.
    let counts = |days: &i64| {
        let seconds = days.saturating_mul(DAY);
        left <= seconds && seconds <= half
    };
    DAYS.into_iter().filter(counts).min()
}

/// For people.
pub(super) fn says(name: &str, days: i64) -> String {
    let day = if days == 1 { "day" } else { "days" };
    format!(
        "renew: the certificate of {name} ends in less than {days} {day}; `enclave-tlsctl rotate {name}` makes the next key and says what follows"
    )
}

const DAYS: [i64; 5] = [30, 14, 7, 3, 1];
const DAY: i64 = 86_400;
/// A thousand certificates are not looked at for this in each pass.
const EACH: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_at_each_mark_and_of_short_lives_only_in_their_second_half() {
        let of = |days: i64| Validity {
            not_before: 0,
            not_after: days * DAY,
        };
        let at = |days: i64, left: i64| near(of(days), (days - left) * DAY + 1);
        assert_eq!((at(365, 31), at(365, 30)), (None, Some(30)));
        assert_eq!((at(365, 15), at(365, 14), at(365, 1)), (Some(30), Some(14), Some(1)));
        assert_eq!((at(47, 30), at(47, 14)), (None, Some(14)));
        assert_eq!((at(6, 5), at(6, 3)), (None, Some(3)));
        assert_eq!(near(of(365), 366 * DAY), Some(1), "it has ended, which others say");
    }
}
