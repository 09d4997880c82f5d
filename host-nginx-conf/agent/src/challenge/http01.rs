//! HTTP-01 (RFC 8555, section 8.3): tokens, and the listener that answers with them. Web servers pass
//! `/.well-known/acme-challenge/` on to it, or it listens on port 80 itself.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_admin::files::{self, Pending};

use enclave_tls_config::Metrics as Place;
use enclave_wire::control::{Challenge, Published};

use super::{LONGEST, MOST, Refusal, is_key_authorization};
use crate::Shared;
use crate::clock::Clock;
use crate::log::Event;
use crate::metrics::http::{Answer, Server, Serves};

/// What is published, by its token.
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    published: Arc<Shared<BTreeMap<String, Resource>>>,
    server: Server,
    /// What is published now, for the agent that is started after this one: a CA looks when it likes.
    file: PathBuf,
}

/// A resource, and since when it is one.
struct Resource {
    text: String,
    since: Duration,
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>, directory: &Path) -> Arc<Self> {
        let file = directory.join("http01.json");
        let found = read(&file).unwrap_or_else(|error| {
            Event::ChallengeFailed.say(format_args!(
                "{}: {error}; a CA that looks finds nothing",
                file.display()
            ));
            BTreeMap::new()
        });
        let since = clock.monotonic();
        let found = found.into_iter().map(|(token, text)| (token, Resource { text, since }));
        let published = Arc::new(Shared::new(found.collect::<BTreeMap<_, _>>()));
        let its = Arc::clone(&published);
        let page = move |path: &str| {
            let token = path.strip_prefix(PREFIX)?;
            Some(Answer::page(its.lock().get(token)?.text.clone()))
        };
        Arc::new(Self {
            clock,
            published,
            server: Server::of(SERVES, page),
            file,
        })
    }

    pub(super) fn listen(&self, place: Option<SocketAddr>) {
        self.server.listen(&place.map_or(Place::None, Place::Loopback));
    }

    /// Not while nobody listens: the CA would look in vain, and count that as a failure.
    pub(super) fn publish(&self, challenge: &Challenge) -> Result<Published, Refusal> {
        if let Some(why) = self.server.trouble() {
            return Err(Refusal::NotServed(why));
        }
        let now = self.clock.monotonic();
        let mut published = self.published.lock();
        published.retain(|_, resource| now.saturating_sub(resource.since) < LONGEST);
        let token = challenge.token.as_str();
        if published.len() >= MOST && !published.contains_key(token) {
            return Err(Refusal::TooMany);
        }
        let resource = Resource {
            text: challenge.value.as_str().to_owned(),
            since: now,
        };
        published.insert(token.to_owned(), resource);
        self.keep(&published);
        Ok(Published::Yes)
    }

    pub(super) fn withdraw(&self, challenge: &Challenge) {
        let mut published = self.published.lock();
        if published.remove(challenge.token.as_str()).is_some() {
            self.keep(&published);
        }
    }

    /// Without the file everything is served all the same, by this agent.
    fn keep(&self, published: &BTreeMap<String, Resource>) {
        let texts: BTreeMap<_, _> = published.iter().map(|(token, one)| (token, &one.text)).collect();
        let written = serde_json::to_vec(&texts)
            .map_err(io::Error::from)
            .and_then(|text| Pending::write(&self.file, 0o600, &text))
            .and_then(Pending::replace);
        if let Err(error) = written {
            Event::ChallengeFailed.say(format_args!(
                "{}: {error}; challenges end with this run of the agent",
                self.file.display()
            ));
        }
    }
}

#[cfg(test)]
impl Tokens {
    pub(super) fn texts(&self) -> BTreeMap<String, String> {
        let published = self.published.lock();
        published
            .iter()
            .map(|(token, one)| (token.clone(), one.text.clone()))
            .collect()
    }
}

/// What the agent before this one published and did not withdraw.
fn read(file: &Path) -> io::Result<BTreeMap<String, String>> {
    let text = match files::read_public(file, MAX_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut found: BTreeMap<String, String> = serde_json::from_slice(&text)?;
    found.retain(|token, text| is_key_authorization(token, text));
    Ok(found)
}

const SERVES: Serves = Serves {
    what: "[http01]",
    failed: Event::ChallengeFailed,
    well: Event::ChallengeServed,
    not_found: "There are challenges of ACME, while a certificate is ordered.\n",
    connections: 64, // CAs look from several places at once, for eight orders.
};
/// More than [`MOST`] of the longest.
const MAX_FILE: usize = 1 << 20;
const PREFIX: &str = "/.well-known/acme-challenge/";
