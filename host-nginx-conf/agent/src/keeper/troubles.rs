//! What failed, why, and when it is tried again.
//!
//! Each thing waits by itself, with growing waits. A failure is said when it begins and when it becomes another: what differs only in
//! numbers (times, processes) is the same.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_config::Config;
use enclave_wire::Name;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::log::{About, Event};

/// What may fail.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The root helper is away, or refuses.
    Helper,
    /// The keeper's own file.
    Memory,
    /// All clients' credentials.
    Credentials,
    /// A client's.
    Credential(Name),
    /// A client's public objects.
    Objects(Name),
    /// A certificate's key.
    Make(Name),
    /// An account at a CA.
    Account(Name),
    /// A certificate's order.
    Order(Name),
    /// All deployments.
    Deployments,
    /// The certificates that a server refused, as one: they are tried again together.
    Refused,
    /// A certificate's files.
    Deploy(Name),
    /// What clients see of a certificate.
    Look(Name),
    /// A certificate that its CA shall revoke, by its generation.
    Revoke(Name, u32),
    /// The file of what happened.
    History,
    /// What came before a certificate's live generation.
    Retire(Name),
    /// The files of generations that are gone.
    Prune(Name),
    /// A server, by its test or its reload.
    Server(Name),
}

/// All that fails now.
pub(super) struct Troubles {
    clock: Arc<dyn Clock>,
    all: BTreeMap<What, Trouble>,
    /// How many lines were said.
    said: u64,
}

struct Trouble {
    why: Arc<str>,
    backoff: Backoff,
    /// In [`Clock::monotonic`]; none: another's wait decides.
    not_before: Option<Duration>,
}

impl Troubles {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            all: BTreeMap::new(),
            said: 0,
        }
    }

    /// It failed, and waits.
    pub(super) fn failed(&mut self, what: What, why: &str) {
        self.say(&what, why);
        let now = self.clock.monotonic();
        let trouble = self.put(what, why.into());
        trouble.not_before = Some(now.saturating_add(trouble.backoff.after_failure()));
    }

    /// Others are in trouble, and wait together.
    pub(super) fn wait(&mut self, what: What) {
        let now = self.clock.monotonic();
        let trouble = self.put(what, "".into());
        trouble.not_before = Some(now.saturating_add(trouble.backoff.after_failure()));
    }

    /// It is in trouble, of which another line says enough, and another's wait decides.
    pub(super) fn note(&mut self, what: What, why: &Arc<str>) {
        self.put(what, Arc::clone(why)).not_before = None;
    }

    /// Certificates were refused together: one line.
    pub(super) fn refused<'a>(&mut self, names: impl Iterator<Item = &'a Name>, why: &Arc<str>) {
        let names: Vec<_> = names.collect();
        let Some(first) = names.first() else { return };
        let what = What::Deploy((*first).clone());
        match names.len().saturating_sub(1) {
            0 => self.say(&what, why),
            more => self.say_as(&what, why, &format!("certificate {first} and {more} more: {why}")),
        }
        for name in names {
            self.note(What::Deploy(name.clone()), why);
        }
    }

    /// It works.
    pub(super) fn well(&mut self, what: &What) {
        if self.all.remove(what).is_some()
            && let Some(event) = what.well()
        {
            self.said = self.said.saturating_add(1);
            what.about(event).say(format_args!("{what}: well again"));
        }
    }

    /// Whether it failed and waits for its next attempt.
    pub(super) fn is_early(&self, what: &What) -> bool {
        let now = self.clock.monotonic();
        let trouble = self.all.get(what);
        trouble
            .and_then(|trouble| trouble.not_before)
            .is_some_and(|at| at > now)
    }

    pub(super) fn why(&self, what: &What) -> Option<&str> {
        self.all.get(what).map(|trouble| &*trouble.why)
    }

    /// Why it fails, unless another line says that, as of [`Self::note`].
    pub(super) fn own(&self, what: &What) -> Option<&str> {
        let own = self.all.get(what).filter(|trouble| trouble.not_before.is_some());
        own.map(|trouble| &*trouble.why)
    }

    pub(super) fn has_refused(&self) -> bool {
        self.all.keys().any(|what| matches!(what, What::Deploy(_)))
    }

    /// Until the next attempt at any.
    pub(super) fn next(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        let waits = self.all.values().filter_map(|trouble| trouble.not_before);
        // What is past due waits for something else: a service that is away, say, whose return rings the bell.
        waits
            .filter_map(|at| at.checked_sub(now))
            .filter(|wait| !wait.is_zero())
            .min()
    }

    /// Forgets what left the configuration.
    pub(super) fn keep(&mut self, config: &Config) {
        self.all.retain(|what, _| match what {
            What::Helper | What::Memory | What::History | What::Credentials | What::Deployments | What::Refused => true,
            What::Credential(name) | What::Objects(name) => config.clients.contains_key(name),
            What::Make(name) | What::Order(name) | What::Deploy(name) | What::Look(name) | What::Retire(name) => {
                config.certificates.contains_key(name)
            }
            What::Account(name) => config.accounts.contains_key(name),
            // Files outlive their certificate, and what its CA shall revoke does.
            What::Prune(_) | What::Revoke(..) => true,
            What::Server(name) => config.servers.contains_key(name),
        });
    }

    #[cfg(test)]
    pub(super) fn said(&self) -> u64 {
        self.said
    }

    fn put(&mut self, what: What, why: Arc<str>) -> &mut Trouble {
        let fresh = || Trouble {
            why: "".into(),
            backoff: Backoff::default(),
            not_before: None,
        };
        let trouble = self.all.entry(what).or_insert_with(fresh);
        trouble.why = why;
        trouble
    }

    fn say(&mut self, what: &What, why: &str) {
        let text = format!("{what}: {why}");
        self.say_as(what, why, &text);
    }

    fn say_as(&mut self, what: &What, why: &str, text: &str) {
        if self.all.get(what).is_none_or(|known| differ(&known.why, why)) {
            self.said = self.said.saturating_add(1);
            what.about(what.failed()).say(text);
        }
    }
}

impl What {
    fn failed(&self) -> Event {
        match self {
            Self::Helper | Self::Deployments => Event::HelperFailed,
            Self::Account(_) => Event::AccountFailed,
            Self::Memory | Self::History => Event::KeeperFailed,
            Self::Credentials | Self::Credential(_) | Self::Objects(_) => Event::ClientFailed,
            Self::Make(_)
            | Self::Order(_)
            | Self::Refused
            | Self::Deploy(_)
            | Self::Look(_)
            | Self::Revoke(..)
            | Self::Retire(_)
            | Self::Prune(_) => Event::CertificateFailed,
            Self::Server(_) => Event::ServerFailed,
        }
    }

    /// Where what is well again is worth a line. A certificate's own line says what became of it.
    fn well(&self) -> Option<Event> {
        match self {
            Self::Helper | Self::Deployments => Some(Event::HelperWell),
            Self::Account(_) => None,
            Self::Memory | Self::History => Some(Event::KeeperWell),
            Self::Credentials | Self::Credential(_) | Self::Objects(_) => Some(Event::ClientWell),
            Self::Make(_)
            | Self::Order(_)
            | Self::Refused
            | Self::Deploy(_)
            | Self::Look(_)
            | Self::Revoke(..)
            | Self::Retire(_)
            | Self::Prune(_) => None,
            Self::Server(_) => Some(Event::ServerWell),
        }
    }

    fn about(&self, event: Event) -> About {
        let about = event.about();
        match self {
            Self::Helper | Self::Memory | Self::History | Self::Credentials | Self::Deployments | Self::Refused => {
                about
            }
            Self::Credential(name) | Self::Objects(name) => about.client(name),
            Self::Make(name)
            | Self::Order(name)
            | Self::Account(name)
            | Self::Deploy(name)
            | Self::Look(name)
            | Self::Revoke(name, _)
            | Self::Retire(name)
            | Self::Prune(name) => about.certificate(name),
            Self::Server(name) => about.server(name),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Helper => f.write_str("helper"),
            Self::Memory => f.write_str("keeper.json"),
            Self::History => f.write_str("history.jsonl"),
            Self::Credentials => f.write_str("credentials"),
            Self::Credential(name) => write!(f, "credential of {name}"),
            Self::Objects(name) => write!(f, "objects of {name}"),
            Self::Deployments | Self::Refused => f.write_str("deploying"),
            Self::Account(name) => write!(f, "account {name}"),
            Self::Order(name) => write!(f, "order of {name}"),
            Self::Make(name) | Self::Deploy(name) => write!(f, "certificate {name}"),
            Self::Look(name) => write!(f, "certificate {name}, seen from outside"),
            Self::Revoke(name, generation) => write!(f, "revoking the certificate of {name} generation {generation}"),
            Self::Retire(name) => write!(f, "older generations of {name}"),
            Self::Prune(name) => write!(f, "older files of {name}"),
            Self::Server(name) => write!(f, "server {name}"),
        }
    }
}

/// Whether two texts differ in more than numbers.
pub(crate) fn differ(one: &str, two: &str) -> bool {
    let words = |text: &str| -> String { text.chars().filter(|c| !c.is_ascii_digit()).collect() };
    one != two && words(one) != words(two)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::Simulated;

    #[test]
    fn threat_18_each_thing_waits_by_itself_and_is_said_once() {
        let clock = Simulated::new();
        let mut troubles = Troubles::new(clock.clone());
        let (one, two) = (What::Make("one".parse().unwrap()), What::Make("two".parse().unwrap()));
        for attempt in 0..20 {
            troubles.failed(one.clone(), &format!("at 12:{attempt}: no"));
            assert!(troubles.is_early(&one) && !troubles.is_early(&two));
            let wait = troubles.next().unwrap();
            assert!(wait <= Duration::from_secs(60), "{wait:?}");
            clock.pass(wait);
            assert!(!troubles.is_early(&one));
            assert_eq!(troubles.next(), None, "what is past due is nobody's alarm");
        }
        assert_eq!(troubles.said(), 1);
        troubles.failed(one.clone(), "something else");
        assert_eq!(troubles.said(), 2);
        troubles.well(&one);
        assert_eq!((troubles.why(&one), troubles.said()), (None, 2));
    }

    #[test]
    fn certificates_that_are_refused_together_are_one_line() {
        let mut troubles = Troubles::new(Simulated::new());
        let names: Vec<Name> = (0..1_000).map(|n| format!("c{n}").parse().unwrap()).collect();
        for _ in 0..3 {
            troubles.refused(names.iter(), &Arc::from("main: refused"));
        }
        assert_eq!(troubles.said(), 1);
        assert!(troubles.has_refused());
        assert_eq!(troubles.why(&What::Deploy(names[999].clone())), Some("main: refused"));
    }
}
