//! Challenges: what shows a CA that a name is this machine's (RFC 8555, section 8). The enclave has them published and withdrawn.
//!
//! Nothing of what it asks is trusted: only names of the configuration, proven in the way that the configuration says, have anything
//! published, and only what a challenge looks like. Publishing never waits: what takes time goes on beside it, and the enclave asks again.

mod http01;
mod records;
mod route53;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use enclave_tls_config::{Challenge as How, Config};
use enclave_wire::control::{Challenge, ChallengeKind, Published};
use enclave_wire::log::Text;

use crate::Shared;
use crate::clock::{Bell, Clock};
use crate::log::Event;
use http01::Tokens;
use records::Records;

/// All challenges, and the names that may have some.
pub(crate) struct Challenges {
    names: Shared<Names>,
    tokens: Arc<Tokens>,
    records: Arc<Records>,
    /// Rung when a job of the enclave has ended.
    ended: Arc<Bell>,
}

/// The names of the configuration, without `*.`.
#[derive(Default)]
struct Names {
    http01: BTreeSet<String>,
    dns01: BTreeSet<String>,
    /// Refusals that were said, so that each is said once, and a bounded number of them.
    refused: BTreeSet<String>,
}

/// Why nothing is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No certificate of the configuration has this name with this kind of proof.
    NotOurs(String),
    /// It is not what a challenge of this kind looks like.
    Form,
    /// There are as many as there may be.
    TooMany,
    /// Nobody listens where challenges are answered.
    NotServed(String),
    /// Nobody writes TXT records.
    NoWriter,
    /// The record would have a name that DNS has not.
    TooLong(String),
    /// Whoever writes them did not.
    Failed(String),
}

impl Challenges {
    /// With what an agent before this one published, which its directory holds.
    pub(crate) fn new(clock: Arc<dyn Clock>, ended: Arc<Bell>, directory: &Path) -> Self {
        Self {
            names: Shared::default(),
            tokens: Tokens::new(Arc::clone(&clock), directory),
            records: Records::new(clock),
            ended,
        }
    }

    /// From now on these are the names, and this is how they are proven.
    pub(crate) fn configure(&self, config: &Config) {
        let mut names = Names::default();
        for certificate in config.certificates.values() {
            let its = match certificate.source.acme().map(|acme| acme.challenge) {
                Some(How::Http01) => &mut names.http01,
                Some(How::Dns01) => &mut names.dns01,
                Some(How::None) | None => continue,
            };
            its.extend(certificate.dns_names.iter().map(|name| bare(name.as_str()).to_owned()));
        }
        let listen = (!names.http01.is_empty()).then_some(config.http01.listen);
        *self.names.lock() = names;
        self.tokens.listen(listen);
        let profile = config.aws.as_ref().and_then(|aws| aws.profile.clone());
        self.records.write_by(config.dns01.as_ref(), profile);
    }

    /// Publishes a challenge, or says how far that is.
    pub(crate) fn publish(&self, challenge: &Challenge) -> Published {
        let published = self.allowed(challenge).and_then(|()| match challenge.kind {
            ChallengeKind::Http01 => self.tokens.publish(challenge),
            ChallengeKind::Dns01 => self.records.publish(challenge),
        });
        published.unwrap_or_else(|why| {
            let why = why.to_string();
            match self.names.lock().note(&why) {
                Noted::New => Event::ChallengeRefused.say(format_args!("{}: {why}", challenge.name)),
                Noted::Last => Event::ChallengeRefused.say(format_args!(
                    "{}: {why}; other refusals are not said until the configuration is read again",
                    challenge.name
                )),
                Noted::Unsaid => {}
            }
            Published::No(Text::lossy(&why))
        })
    }

    /// Takes it away again. What is not there is no fault: an agent that was restarted knows nothing of it, and DNS may.
    pub(crate) fn withdraw(&self, challenge: &Challenge) {
        match (challenge.kind, self.allowed(challenge)) {
            (ChallengeKind::Http01, _) => self.tokens.withdraw(challenge),
            (ChallengeKind::Dns01, Ok(())) => self.records.withdraw(challenge),
            (ChallengeKind::Dns01, Err(_)) => {}
        }
    }

    /// A job of the enclave has ended: whoever waits for one looks.
    pub(crate) fn ended(&self) {
        self.ended.ring();
    }

    fn allowed(&self, challenge: &Challenge) -> Result<(), Refusal> {
        let names = self.names.lock();
        let its = match challenge.kind {
            ChallengeKind::Http01 => &names.http01,
            ChallengeKind::Dns01 => &names.dns01,
        };
        if !its.contains(challenge.name.as_str()) {
            return Err(Refusal::NotOurs(challenge.name.to_string()));
        }
        let value = challenge.value.as_str();
        let is_one = match challenge.kind {
            ChallengeKind::Http01 => is_key_authorization(challenge.token.as_str(), value),
            ChallengeKind::Dns01 => is_digest(value),
        };
        is_one.then_some(()).ok_or(Refusal::Form)
    }
}

/// Whether a refusal is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Noted {
    New,
    /// As many as are said.
    Last,
    Unsaid,
}

impl Names {
    fn note(&mut self, why: &str) -> Noted {
        if self.refused.len() >= MOST_REFUSED || !self.refused.insert(why.to_owned()) {
            return Noted::Unsaid;
        }
        match self.refused.len() {
            MOST_REFUSED => Noted::Last,
            _ => Noted::New,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs(name) => write!(
                f,
                "no certificate of the agent's configuration has {name} with this kind of challenge: see dns_names and challenge"
            ),
            Self::Form => {
                f.write_str("this is no challenge of RFC 8555; install agent and image from the same release")
            }
            Self::TooMany => write!(
                f,
                "{MOST} challenges are published already, and nobody withdraws them: restart the agent"
            ),
            Self::NotServed(why) => write!(
                f,
                "nothing answers HTTP-01 challenges: {why}; stop who has that address, or correct listen under [http01]"
            ),
            Self::NoWriter => f.write_str("nobody writes TXT records: add [dns01] to the agent's configuration"),
            Self::TooLong(record) => write!(
                f,
                "{record} is longer than a name of DNS: choose a shorter domain as `delegated`"
            ),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A name without its wildcard, as challenges have it.
fn bare(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// A token, and it with the account's thumbprint (RFC 8555, section 8.1).
fn is_key_authorization(token: &str, text: &str) -> bool {
    let thumbprint = text.strip_prefix(token).and_then(|rest| rest.strip_prefix('.'));
    !token.is_empty() && is_base64url(token) && thumbprint.is_some_and(is_digest)
}

fn is_base64url(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// SHA-256 in base64url.
fn is_digest(text: &str) -> bool {
    text.len() == 43 && is_base64url(text)
}

/// Eight orders of a hundred names each are at work at once.
const MOST: usize = 1_000;
/// Refusals that are said and kept, for the enclave may make up as many as it likes.
const MOST_REFUSED: usize = 100;
/// Longer than any order takes. What nobody has withdrawn by then, nobody will.
const LONGEST: std::time::Duration = std::time::Duration::from_hours(6);

#[cfg(test)]
pub(super) mod tests;
