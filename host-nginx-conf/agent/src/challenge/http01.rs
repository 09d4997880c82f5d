//! HTTP-01 (RFC 8555, section 8.3): tokens, and the listener that answers with them. Web servers pass
//! `/.well-known/acme-challenge/` on to it, or it listens on port 80 itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_config::Metrics as Place;
use enclave_wire::control::{Challenge, Published};

use super::{LONGEST, MOST, Refusal};
use crate::Shared;
use crate::clock::Clock;
use crate::log::Event;
use crate::metrics::http::{Answer, Server, Serves};

/// What is published, by its token.
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    published: Arc<Shared<BTreeMap<String, Resource>>>,
    server: Arc<Server>,
}

/// A resource, and since when it is one.
struct Resource {
    text: String,
    since: Duration,
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let published = Arc::<Shared<BTreeMap<String, Resource>>>::default();
        let its = Arc::clone(&published);
        let page = move |path: &str| {
            let token = path.strip_prefix(PREFIX)?;
            Some(Answer::page(its.lock().get(token)?.text.clone()))
        };
        Arc::new(Self {
            clock,
            published,
            server: Server::of(SERVES, page),
        })
    }

    pub(super) fn listen(&self, place: Option<SocketAddr>) {
        self.server.listen(&place.map_or(Place::None, Place::Loopback));
    }

    pub(super) fn publish(&self, challenge: &Challenge) -> Result<Published, Refusal> {
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
        Ok(Published::Yes)
    }

    pub(super) fn withdraw(&self, challenge: &Challenge) {
        self.published.lock().remove(challenge.token.as_str());
    }
}

const SERVES: Serves = Serves {
    what: "[http01]",
    failed: Event::ChallengeFailed,
    not_found: "There are challenges of ACME, while a certificate is ordered.\n",
    connections: 64, // CAs look from several places at once, for eight orders.
};
const PREFIX: &str = "/.well-known/acme-challenge/";
