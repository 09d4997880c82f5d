//! What to do about one certificate: decided here, without asking anybody.

use enclave_tls_config::{Certificate, Source};
use enclave_wire::Name;
use enclave_wire::State;
use enclave_wire::control::KeyInfo;

/// What a look at a certificate's keys comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan<'a> {
    /// What the enclave shall be asked for.
    pub(super) step: Option<Step>,
    /// The generation that servers shall use, if there is one: the newest that has a certificate.
    pub(super) live: Option<&'a KeyInfo>,
    /// What else there is to say.
    pub(super) note: Option<Note>,
}

/// What the enclave shall be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A new key.
    Create,
    /// The key of a bundle.
    Provision,
}

/// What an administrator should know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// A key waits for its certificate: its id.
    NeedsChain(String),
    /// The key cannot be used by these clients, which were added after it was made.
    LacksClients(Vec<Name>),
    /// The certificate has ended.
    Expired,
    /// Its sealed state, or its bundle, is not open: why.
    NotOpen(String),
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeedsChain(id) => write!(
                f,
                "have a CA sign its request (`enclave-tlsctl csr {id}`), then `enclave-tlsctl install {id} CHAIN.pem`"
            ),
            Self::LacksClients(clients) => {
                let names: Vec<_> = clients.iter().map(Name::as_str).collect();
                write!(
                    f,
                    "its key was made before {} could use it; for a key that it can use: `enclave-tlsctl retire` this one",
                    names.join(", ")
                )
            }
            Self::Expired => f.write_str("its certificate has ended, so its key signs no more; install another"),
            Self::NotOpen(why) => write!(f, "what is stored of it is not open: {why}"),
        }
    }
}

/// Looks at all generations of a certificate, in any order. `not_open` says why what is stored of it is not open, where something is:
/// then nothing new is made in its place, for it comes back. `bundle_changed` says whether its bundle is another than was given last.
pub(super) fn plan<'a>(
    wanted: &Certificate,
    clients: &[&Name],
    keys: &[&'a KeyInfo],
    not_open: Option<String>,
    bundle_changed: bool,
    now: i64,
) -> Plan<'a> {
    let newest_first = || {
        let mut keys: Vec<_> = keys.to_vec();
        keys.sort_by_key(|key| std::cmp::Reverse(key.generation));
        keys.into_iter()
    };
    let fitting = || newest_first().filter(|key| key.state == State::Live && fits(wanted, key));
    let live = fitting()
        .find(|key| key.validity.is_some())
        // Until a key that fits has its certificate, servers keep what they have.
        .or_else(|| newest_first().find(|key| key.validity.is_some() && key.state == State::Live));
    let missing = not_open.is_none() && (bundle_changed || fitting().next().is_none());
    let step = missing.then_some(match wanted.source {
        Source::Csr { .. } => Step::Create,
        Source::Bundle { .. } => Step::Provision,
    });
    let note = not_open
        .filter(|_| keys.is_empty())
        .map(Note::NotOpen)
        .or_else(|| pending(wanted, fitting().next()))
        .or_else(|| live.and_then(|key| lacks(key, clients)))
        .or_else(|| live.filter(|key| has_ended(key, now)).map(|_| Note::Expired));
    Plan { step, live, note }
}

/// Whether a key is what the inventory asks for.
fn fits(wanted: &Certificate, key: &KeyInfo) -> bool {
    let type_fits = match &wanted.source {
        Source::Csr { key_type } => key.key_type == *key_type,
        Source::Bundle { .. } => true,
    };
    let any_names = matches!(wanted.source, Source::Bundle { .. }) && wanted.dns_names.is_empty();
    let sorted = |names: &[enclave_wire::DnsName]| {
        let mut names = names.to_vec();
        names.sort();
        names
    };
    type_fits && key.usage == wanted.usage && (any_names || sorted(key.dns_names.items()) == sorted(&wanted.dns_names))
}

fn pending(wanted: &Certificate, newest: Option<&KeyInfo>) -> Option<Note> {
    let waits = newest.filter(|key| key.validity.is_none())?;
    match wanted.source {
        Source::Csr { .. } | Source::Bundle { .. } => Some(Note::NeedsChain(waits.id.to_string())),
    }
}

fn lacks(key: &KeyInfo, clients: &[&Name]) -> Option<Note> {
    let lacking: Vec<_> = clients
        .iter()
        .filter(|client| !key.clients.items().contains(client))
        .map(|client| (*client).clone())
        .collect();
    (!lacking.is_empty()).then_some(Note::LacksClients(lacking))
}

fn has_ended(key: &KeyInfo, now: i64) -> bool {
    key.validity.is_some_and(|validity| validity.not_after < now)
}
