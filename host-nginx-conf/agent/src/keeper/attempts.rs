//! What the keeper remembers of orders, accounts and CAs' words on renewal: a part of [`keeper.json`](super::memory). All of it is of keys,
//! by their ids, and a matter of when: without it orders are begun anew.

use std::collections::BTreeMap;
use std::time::Duration;

use enclave_tls_admin::acme;
use enclave_wire::control::{self, JobError, JobFailure, RenewalWindow, Url, Validity};
use enclave_wire::log::Text;
use enclave_wire::{KeyId, Name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::absent::Kept;

/// By the key's id.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Attempts {
    /// Orders of keys that wait for their certificate, and accounts.
    attempts: BTreeMap<String, Attempt>,
    /// What the CA says of the certificates that are there.
    windows: BTreeMap<String, Window>,
    /// Accounts' URLs.
    accounts: BTreeMap<String, String>,
    /// Who ordered the certificates that are there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ordered: BTreeMap<String, By>,
    /// Certificates that came, by their name.
    issued: BTreeMap<String, Issued>,
    /// By the name of a certificate or an account, not by a key: another key of it is to be ordered no sooner.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, Told>,
}

/// What became of an order, or of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Attempt {
    /// Whether the enclave was told to begin, and has not said how it ended.
    pub(super) begun: bool,
    /// The order's URL.
    url: Option<String>,
    /// Whose order it is, and at which CA; none: an account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<By>,
    pub(super) failures: u32,
    /// As counted: not before.
    pub(super) not_before: u64,
    /// What of the configuration it was tried with: with another it is tried at once.
    with: String,
    /// Why it failed last.
    pub(super) why: Option<String>,
}

/// An account at a CA, by its key's id and the URL of the CA's directory. The configuration may name others meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct By {
    pub(super) key: String,
    directory: String,
}

/// When a certificate of a name came last: for people, and as counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Issued {
    at: i64,
    last: u64,
    is_first: bool,
}

/// A CA said when to come again (RFC 8555, section 6.6): nobody here passes that by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    /// Which CA: another has said nothing.
    directory: String,
    /// As counted.
    until: u64,
}

/// When the CA would have a certificate renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Window {
    from_to: Option<(i64, i64)>,
    /// As counted.
    ask_again: u64,
    explanation: Option<String>,
}

impl By {
    pub(super) fn of(account: &control::Account) -> Self {
        Self {
            key: account.key.to_string(),
            directory: account.directory.as_str().to_owned(),
        }
    }

    pub(super) fn directory(&self) -> Url {
        Text::lossy(&self.directory)
    }

    /// No certificate and no account is called so.
    fn of_account(&self) -> String {
        format!("orders by {}", self.key)
    }
}

impl Attempts {
    /// What became of the last attempt for this key, if there was one.
    pub(super) fn of(&self, id: KeyId) -> Option<&Attempt> {
        self.attempts.get(&id.to_string())
    }

    /// Whether it is too early for another, of this part of the configuration.
    pub(super) fn is_early(&self, id: KeyId, with: &str, now: u64) -> bool {
        self.of(id)
            .is_some_and(|attempt| attempt.not_before > now && attempt.with == with)
    }

    /// The enclave was told to begin, an order by this account.
    pub(super) fn began(&mut self, id: KeyId, with: &str, by: Option<By>) {
        let attempt = self.attempts.entry(id.to_string()).or_default();
        attempt.begun = true;
        if attempt.by != by {
            attempt.url = None;
        }
        attempt.by = by;
        with.clone_into(&mut attempt.with);
    }

    /// It is no longer under way in the enclave, which was restarted.
    pub(super) fn was_forgotten(&mut self, id: KeyId) {
        if let Some(attempt) = self.attempts.get_mut(&id.to_string()) {
            attempt.begun = false;
        }
    }

    /// The account that the last order was begun by.
    pub(super) fn by(&self, id: KeyId) -> Option<&By> {
        self.of(id)?.by.as_ref()
    }

    /// The account that ordered a key's certificate; none: nobody remembers, or none did.
    pub(super) fn ordered_by(&self, id: KeyId) -> Option<&By> {
        self.by(id).or_else(|| self.ordered.get(&id.to_string()))
    }

    /// The URL of an order of this account: another has no such order, and another CA's server is not to be asked.
    pub(super) fn url(&self, id: KeyId, by: &By) -> Option<Url> {
        let attempt = self.of(id).filter(|attempt| attempt.by.as_ref() == Some(by))?;
        let url = attempt.url.as_deref()?;
        Some(Text::lossy(url)).filter(|made| made.as_str() == url)
    }

    /// Notes the order's URL. Whether it is another.
    pub(super) fn is_at(&mut self, id: KeyId, url: &Url) -> bool {
        let attempt = self.attempts.entry(id.to_string()).or_default();
        let before = attempt.url.replace(url.as_str().to_owned());
        before.as_deref() != Some(url.as_str())
    }

    /// It failed: the next attempt waits. `now` as counted, `enclave_now` as the enclave's time of day, by which CAs say when to come again.
    pub(super) fn failed(&mut self, id: KeyId, failure: &JobFailure, now: u64, enclave_now: i64) {
        let attempt = self.attempts.entry(id.to_string()).or_default();
        attempt.begun = false;
        attempt.failures = attempt.failures.saturating_add(1);
        attempt.why = Some(acme::failed(failure));
        if !failure.error.leaves_the_order() {
            attempt.url = None;
        }
        let told = Duration::from_secs(told(failure, enclave_now));
        let wait = wait(failure.error, attempt.failures).max(told);
        attempt.not_before = now.saturating_add(spread(id, attempt.failures, wait).as_secs());
    }

    /// Notes when the CA of this directory said to come again, of a certificate or an account.
    pub(super) fn told(&mut self, name: &Name, directory: &Url, failure: &JobFailure, now: u64, enclave_now: i64) {
        self.tell(name.to_string(), directory, told(failure, enclave_now), now);
    }

    /// The same of a revocation: what is said of orders does not hold it up.
    pub(super) fn told_of_revocation(
        &mut self,
        id: KeyId,
        directory: &Url,
        failure: &JobFailure,
        now: u64,
        enclave_now: i64,
    ) {
        self.tell(revocation(id), directory, told(failure, enclave_now), now);
    }

    pub(super) fn is_told_of_revocation(&self, id: KeyId, directory: &Url, now: u64) -> bool {
        let told = self.told.get(&revocation(id));
        told.is_some_and(|told| told.directory == directory.as_str() && told.until > now)
    }

    fn tell(&mut self, what: String, directory: &Url, seconds: u64, now: u64) {
        self.told.retain(|_, told| told.until > now);
        if seconds > 0 {
            let told = Told {
                directory: directory.as_str().to_owned(),
                until: now.saturating_add(seconds),
            };
            self.told.insert(what, told);
        }
    }

    /// A CA that limits may mean the whole account, or one name: so the account's other orders wait with it, but not for long.
    pub(super) fn limited(&mut self, by: &By, failure: &JobFailure, now: u64, enclave_now: i64) {
        let seconds = told(failure, enclave_now).min(HOLDS_OTHERS);
        if failure.error == JobError::RateLimited {
            self.tell(by.of_account(), &by.directory(), seconds, now);
        }
    }

    /// Whether no order of this account is to begin for now.
    pub(super) fn is_limited(&self, by: &By, now: u64) -> bool {
        let told = self.told.get(&by.of_account());
        told.is_some_and(|told| told.directory == by.directory && told.until > now)
    }

    /// Until when, as counted, that CA wants to hear nothing of it.
    pub(super) fn told_until(&self, name: &Name, directory: &Url, now: u64) -> Option<u64> {
        let told = self.told.get(name.as_str())?;
        (told.directory == directory.as_str() && told.until > now).then_some(told.until)
    }

    /// An administrator wants it, once it is its turn: not after our own wait.
    pub(super) fn hurry(&mut self, id: KeyId, turn: u64) {
        if let Some(attempt) = self.attempts.get_mut(&id.to_string()) {
            attempt.not_before = attempt.not_before.min(turn);
        }
    }

    /// The certificate came.
    pub(super) fn has_come(&mut self, id: KeyId, name: &str, at: i64, now: u64) {
        let by = self.attempts.remove(&id.to_string()).and_then(|attempt| attempt.by);
        if let Some(by) = by {
            self.ordered.insert(id.to_string(), by);
        }
        self.told.remove(name);
        let is_first = !self.issued.contains_key(name);
        self.issued.insert(
            name.to_owned(),
            Issued {
                at,
                last: now,
                is_first,
            },
        );
    }

    /// Whether one of this name may be renewed long before its end, since the CA says so. It is believed at once, but not again and
    /// again: a CA that always says so would have a server reloaded for ever.
    pub(super) fn may_be_early(&self, name: &str, now: u64) -> bool {
        self.issued
            .get(name)
            .is_none_or(|issued| issued.is_first || now.saturating_sub(issued.last) >= ASK_AT_LEAST)
    }

    /// When a certificate of this name came last.
    pub(super) fn issued(&self, name: &str) -> Option<i64> {
        self.issued.get(name).map(|issued| issued.at)
    }

    /// How many are under way in the enclave.
    pub(super) fn under_way(&self) -> usize {
        self.attempts.values().filter(|attempt| attempt.begun).count()
    }

    /// The account is registered there.
    pub(super) fn registered(&mut self, id: &str, url: &Url) {
        self.accounts.insert(id.to_owned(), url.as_str().to_owned());
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.begun = false;
            attempt.failures = 0;
            attempt.not_before = 0;
            attempt.why = None;
        }
    }

    pub(super) fn account(&self, id: KeyId) -> Option<&str> {
        self.accounts.get(&id.to_string()).map(String::as_str)
    }

    /// When the CA would have it renewed, as far as it said so.
    pub(super) fn window(&self, id: KeyId) -> Option<Validity> {
        let (not_before, not_after) = self.windows.get(&id.to_string())?.from_to?;
        Some(Validity { not_before, not_after })
    }

    pub(super) fn explanation(&self, id: KeyId) -> Option<&str> {
        self.windows.get(&id.to_string())?.explanation.as_deref()
    }

    /// Whether the CA is to be asked when to renew.
    pub(super) fn is_to_be_asked(&self, id: KeyId, now: u64) -> bool {
        self.windows
            .get(&id.to_string())
            .is_none_or(|window| window.ask_again <= now)
    }

    /// The CA said it, or did not: then what it said before stays, and it is let alone for as many seconds as it said.
    pub(super) fn said(&mut self, id: KeyId, said: Result<&RenewalWindow, u64>, now: u64) {
        let known = self.windows.remove(&id.to_string());
        let wait = match said {
            Ok(said) => u64::from(said.ask_again_s).clamp(ASK_AT_MOST, ASK_AT_LEAST),
            Err(told) => told.max(UNANSWERED),
        };
        let window = match said {
            Ok(said) => Window {
                from_to: said.window.map(|window| (window.not_before, window.not_after)),
                explanation: said.explanation.as_ref().map(|url| url.as_str().to_owned()),
                ask_again: 0,
            },
            Err(_) => known.unwrap_or(Window {
                from_to: None,
                ask_again: 0,
                explanation: None,
            }),
        };
        let wait = spread(id, 0, Duration::from_secs(wait)).as_secs();
        let ask_again = now.saturating_add(wait);
        self.windows.insert(id.to_string(), Window { ask_again, ..window });
    }

    /// The keys of which something is remembered.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.attempts
            .keys()
            .chain(self.windows.keys())
            .chain(self.accounts.keys())
            .chain(self.ordered.keys())
    }

    /// Forgets what is of keys that are gone. Whether there was something.
    pub(super) fn keep(&mut self, kept: &Kept<'_>) -> bool {
        let before = (self.count(), self.under_way());
        self.attempts.retain(|id, _| kept.has(id));
        self.windows.retain(|id, _| kept.has(id));
        self.accounts.retain(|id, _| kept.has(id));
        self.ordered.retain(|id, _| kept.has(id));
        for (id, attempt) in &mut self.attempts {
            // An enclave without the key is at work on nothing of it, and others may take its place.
            attempt.begun &= kept.is_listed(id);
        }
        (self.count(), self.under_way()) != before
    }

    fn count(&self) -> usize {
        self.attempts
            .len()
            .saturating_add(self.windows.len())
            .saturating_add(self.accounts.len())
            .saturating_add(self.ordered.len())
    }
}

/// How many seconds the CA wants to be let alone, as far as it said so.
pub(super) fn told(failure: &JobFailure, enclave_now: i64) -> u64 {
    let seconds = failure
        .retry_at
        .map_or(0, |at| at.saturating_sub(enclave_now).clamp(0, LONGEST_TOLD));
    u64::try_from(seconds).unwrap_or(0)
}

/// How long the next attempt waits after so many failures.
fn wait(error: JobError, failures: u32) -> Duration {
    let (first, longest) = match error {
        JobError::EgressRefused
        | JobError::Unavailable
        | JobError::Untrusted
        | JobError::Unpublished
        | JobError::Deadline
        | JobError::Service => (MINUTE, HOUR),
        // CAs count these.
        JobError::Protocol
        | JobError::RateLimited
        | JobError::Account
        | JobError::Order
        | JobError::NoChallenge
        | JobError::Challenge
        | JobError::Certificate => (MINUTE.saturating_mul(15), HOUR.saturating_mul(6)),
    };
    first
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(longest)
}

/// Seconds until a revocation that failed so often is begun again: sooner than an order, for it is about harm.
pub(super) fn revocation_waits(failures: u32) -> u64 {
    let wait = MINUTE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    wait.min(HOUR).as_secs()
}

/// No certificate and no account is called so.
fn revocation(id: KeyId) -> String {
    format!("revocation of {id}")
}

/// A tenth more at most: a thousand that failed together come again one after another.
fn spread(id: KeyId, number: u32, wait: Duration) -> Duration {
    let mut hash = Sha256::new();
    hash.update(id.0);
    hash.update(number.to_be_bytes());
    let first = hash.finalize().first_chunk().copied().unwrap_or_default();
    wait.saturating_add(wait.mul_f64(f64::from(u16::from_be_bytes(first)) / 655_360.0))
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// Seconds: no CA bans for longer than a week, and what says so may be wrong.
const LONGEST_TOLD: i64 = 604_800;
/// Seconds: RFC 9773, section 4.3.2, would have us ask when we are told to, within reason.
const ASK_AT_MOST: u64 = 60;
/// Seconds: a day.
const ASK_AT_LEAST: u64 = 86_400;
/// Seconds: one certificate that the CA limits does not hold up the others for longer.
const HOLDS_OTHERS: u64 = 900;
/// Seconds: a CA that did not answer is asked again in an hour.
const UNANSWERED: u64 = 3_600;

#[cfg(test)]
mod tests;
