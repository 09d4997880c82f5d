//! What clients see. Servers were told to reload; whether they show the new certificate, to each name, at each listener, to clients that
//! verify its type of key, is looked at from outside.
//!
//! Until [`IN_A_ROW`] handshakes in a row have shown the new leaf nothing is taken from the older generation. What is wrong for good, and
//! was not before, is taken back: the newer key becomes superseded in the enclave, so that the older one is what servers get, and it stays
//! so until an administrator wants it otherwise or a still newer one comes.

mod handshake;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use enclave_tls_apply::{Deployment, Directory};
use enclave_tls_config::{Certificate, Config, Listener};
use enclave_wire::control::{KeyInfo, Reply, Request};
use enclave_wire::{DnsName, KeyType, Name, State};
use sha2::{Digest, Sha256};

use super::history::What as Happened;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;
pub(crate) use handshake::Network;

/// Who looks.
pub(crate) trait Outside: Send {
    /// The certificate that is shown there now.
    fn look(&self, view: &View) -> Result<Leaf, Unseen>;
}

/// A place to look at: what one client sees.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct View {
    pub(super) listener: Listener,
    /// The name that the client asks for.
    pub(super) name: String,
    /// The type of key that it can verify: a server may have a certificate for each.
    pub(super) sort: Sort,
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sort = match self.sort {
            Sort::Rsa => "RSA",
            Sort::Ecdsa => "ECDSA",
            Sort::Ed25519 => "Ed25519",
        };
        write!(f, "{} for {} ({sort})", self.listener.address, self.name)
    }
}

/// Types of keys, as clients tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    Rsa,
    Ecdsa,
    Ed25519,
}

impl From<KeyType> for Sort {
    fn from(key_type: KeyType) -> Self {
        match key_type {
            KeyType::Rsa(_) => Self::Rsa,
            KeyType::P256 | KeyType::P384 | KeyType::P521 => Self::Ecdsa,
            KeyType::Ed25519 => Self::Ed25519,
        }
    }
}

/// SHA-256 of a leaf's DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Leaf(pub(super) [u8; 32]);

impl Leaf {
    fn of(deployment: &Deployment) -> Self {
        let leaf = deployment.chain().certificates().first();
        Self::of_der(leaf.map_or(&[], |leaf| leaf.as_bytes()))
    }

    pub(super) fn of_der(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }
}

/// Why none was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unseen(pub(super) String);

/// What is being looked at, and how it was before it changed.
#[derive(Default)]
pub(super) struct Watches {
    watched: BTreeMap<Name, Watch>,
    /// What a view showed before servers were given another generation; none: no handshake was possible.
    before: BTreeMap<Name, BTreeMap<View, Option<Leaf>>>,
}

struct Watch {
    directory: Directory,
    views: Vec<Progress>,
    /// In [`Clock::monotonic`](crate::clock::Clock::monotonic).
    not_before: Duration,
    rounds: u32,
}

/// How far one view is.
struct Progress {
    view: View,
    /// Handshakes in a row that showed the new leaf.
    seen: u32,
    /// Handshakes in a row that should have and did not.
    amiss: u32,
    /// What the last of these showed, in words.
    why: String,
    /// The last of these was no handshake at all.
    is_unseen: bool,
    /// It is amiss as it was before, so it is nothing that a change could mend.
    is_as_before: bool,
}

impl Progress {
    fn is_done(&self) -> bool {
        self.is_as_before || self.seen >= IN_A_ROW
    }
}

impl Watches {
    /// When somebody should look again.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        let waits = self.watched.values().map(|watch| watch.not_before.saturating_sub(now));
        waits.min()
    }

    /// How far it is, for people.
    pub(super) fn progress(&self, name: &Name) -> Option<String> {
        let watch = self.watched.get(name)?;
        let done = watch.views.iter().filter(|progress| progress.is_done()).count();
        let waits = watch.views.iter().find(|progress| !progress.why.is_empty());
        let why = waits.map_or_else(String::new, |progress| format!("; {}", progress.why));
        Some(format!("{done} of {} views show it so far{why}", watch.views.len()))
    }

    fn keep(&mut self, config: &Config) {
        self.watched.retain(|name, _| config.certificates.contains_key(name));
        self.before.retain(|name, _| config.certificates.contains_key(name));
    }
}

/// What the leaf should be, and which others would be no stranger's.
struct Expected {
    directory: Directory,
    leaf: Leaf,
    older: BTreeSet<Leaf>,
    /// Processes that may show an older one still.
    has_older_workers: bool,
}

/// What a round of looks came to.
enum Round {
    /// All show it, but for what was amiss before.
    Seen(Vec<String>),
    NotYet,
    /// Time is up; the rest is for the next pass.
    Interrupted,
    /// It may become well, and somebody should know that it is not.
    Troubled(String),
    Wrong(String),
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Looks at what servers were given and nobody has seen yet. Whether something was taken back.
    pub(super) fn look_outside(&mut self, config: &Config, keys: &mut Keys) -> Result<bool, EnclaveError> {
        self.watches.keep(config);
        let mut took_back = false;
        if !self.machine.is_here {
            return Ok(false);
        }
        let began = self.clock.monotonic();
        for certificate in config.certificates.values() {
            let name = &certificate.name;
            let what = What::Look(name.clone());
            let Some((live, expected)) = self.expected(config, certificate, keys)? else {
                self.watches.watched.remove(name);
                self.troubles.well(&what);
                continue;
            };
            if self.troubles.is_early(&what) {
                continue;
            }
            match self.round(certificate, &live, &expected, began) {
                Round::Seen(unlike) => {
                    self.troubles.well(&what);
                    self.seen(config, &live, &expected, unlike);
                }
                Round::NotYet => {}
                Round::Interrupted => break,
                Round::Troubled(why) => self.troubles.failed(what, &why),
                Round::Wrong(why) => match self.take_back(config, &live, &why, keys)? {
                    Ok(()) => {
                        self.troubles.well(&what);
                        took_back = true;
                    }
                    Err(cannot) => self.troubles.failed(what, &format!("{why}; {cannot}")),
                },
            }
        }
        Ok(took_back)
    }

    /// Remembers what clients see of those that will change.
    pub(super) fn look_before(&mut self, config: &Config, keys: &Keys, wanted: &[Deployment]) {
        let began = self.clock.monotonic();
        for deployment in wanted {
            let name = deployment.name();
            let Some(certificate) = config.certificates.get(name) else {
                continue;
            };
            self.watches.before.remove(name);
            if certificate.listeners.is_empty() || self.machine.live(name).is_none() {
                continue;
            }
            let id = deployment.generation().id;
            let key = keys.of(name).iter().find(|key| key.id == id);
            let views = key.map(|key| views(certificate, key)).unwrap_or_default().into_iter();
            let mut before = BTreeMap::new();
            for view in views {
                // What nobody answers at takes seconds to look at; of what is left nobody knows how it was.
                if self.clock.monotonic().saturating_sub(began) > LOOK_FOR {
                    break;
                }
                let seen = self.outside.look(&view).ok();
                before.insert(view, seen);
            }
            self.watches.before.insert(name.clone(), before);
        }
    }

    /// What clients should see; none where that is known, or where nobody looks.
    fn expected(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        keys: &Keys,
    ) -> Result<Option<(KeyInfo, Expected)>, EnclaveError> {
        let name = &certificate.name;
        let Some(directory) = self.machine.live(name).copied() else {
            return Ok(None);
        };
        if certificate.listeners.is_empty() || self.memory.rotations().has_looked(name, &directory) {
            return Ok(None);
        }
        let Some(live) = self.plan(config, certificate, keys, false).live.cloned() else {
            return Ok(None);
        };
        if !self.machine.gives(&live) || !self.is_served(certificate) {
            return Ok(None);
        }
        let leaf = match self.chains.deployment(&*self.enclave, &live)? {
            Ok(deployment) if deployment.directory() == directory => Leaf::of(deployment),
            Ok(_) | Err(_) => return Ok(None),
        };
        let mut older: BTreeSet<Leaf> = self.memory.rotations().leaf(name).into_iter().collect();
        for key in keys
            .of(name)
            .iter()
            .filter(|key| key.id != live.id && key.validity.is_some())
        {
            if let Ok(deployment) = self.chains.deployment(&*self.enclave, key)? {
                older.insert(Leaf::of(deployment));
            }
        }
        older.remove(&leaf);
        let expected = Expected {
            directory,
            leaf,
            older,
            has_older_workers: !self.machine.older(certificate).is_empty(),
        };
        Ok(Some((live, expected)))
    }

    fn round(&mut self, certificate: &Certificate, live: &KeyInfo, expected: &Expected, began: Duration) -> Round {
        let name = &certificate.name;
        let now = self.clock.monotonic();
        let known = self.watches.watched.remove(name);
        let known = known.filter(|watch| watch.directory == expected.directory);
        let mut watch = known.unwrap_or_else(|| Watch {
            directory: expected.directory,
            views: views(certificate, live).into_iter().map(Progress::of).collect(),
            not_before: now,
            rounds: 0,
        });
        if watch.not_before > now {
            self.watches.watched.insert(name.clone(), watch);
            return Round::NotYet;
        }
        let before = self.watches.before.get(name);
        let mut is_over = false;
        for progress in watch.views.iter_mut().filter(|progress| !progress.is_done()) {
            while progress.look(self.outside.as_ref(), expected, before) && !progress.is_done() {
                is_over = self.clock.monotonic().saturating_sub(began) > LOOK_FOR;
                if is_over {
                    break;
                }
            }
            is_over |= self.clock.monotonic().saturating_sub(began) > LOOK_FOR;
            if is_over {
                break;
            }
        }
        let round = watch.outcome(is_over, before);
        if let Round::Troubled(_) = round {
            // It is looked at anew after its wait.
            for progress in watch.views.iter_mut().filter(|progress| progress.is_as_before) {
                *progress = Progress::of(progress.view.clone());
            }
        }
        if !is_over {
            watch.rounds = watch.rounds.saturating_add(1);
            let between = if watch.rounds < SOON {
                BETWEEN_ROUNDS
            } else {
                BETWEEN_ROUNDS_LATER
            };
            watch.not_before = now.saturating_add(between);
        }
        self.watches.watched.insert(name.clone(), watch);
        round
    }

    fn seen(&mut self, config: &Config, live: &KeyInfo, expected: &Expected, unlike: Vec<String>) {
        let name = &live.name;
        self.watches.watched.remove(name);
        self.watches.before.remove(name);
        let event = Event::CertificateSeen.about().certificate(name);
        let but = if unlike.is_empty() {
            String::new()
        } else {
            format!(", but as before: {}", unlike.join("; "))
        };
        event.generation(live.generation).key(live.id).say(format_args!(
            "{name} generation {} is what clients see at its listeners{but}",
            live.generation
        ));
        let rotations = self.memory.rotations_mut();
        rotations.looked_at(name, &expected.directory, expected.leaf, unlike);
        rotations.is_well(name, live.generation);
        self.happened(Happened::LookedAt, live, None, None);
        self.run_hook(config, live, "rotated");
    }

    /// Has servers get what they had before; or says why not.
    fn take_back(
        &mut self,
        config: &Config,
        live: &KeyInfo,
        why: &str,
        keys: &mut Keys,
    ) -> Result<Result<(), String>, EnclaveError> {
        let is_valid = |key: &KeyInfo| key.validity.is_some_and(|validity| validity.not_after > self.now);
        let is_older = |key: &&KeyInfo| key.state == State::Live && key.generation < live.generation && is_valid(key);
        let before = keys.of(&live.name).iter().filter(is_older);
        match before.max_by_key(|key| key.generation).map(|key| self.distrust(key.id)) {
            None => return Ok(Err(NOTHING_OLDER.to_owned())),
            Some(Some(why)) => return Ok(Err(format!("servers do not go back to the generation before: {why}"))),
            Some(None) => {}
        }
        let superseded = match its_own(self.enclave.ask(&Request::Supersede(live.id)))? {
            Ok(Reply::Superseded(key)) if key.id == live.id => key,
            Ok(_) => return Err(EnclaveError::Unexpected),
            Err(error) => return Ok(Err(error)),
        };
        keys.put(superseded);
        let name = &live.name;
        self.watches.watched.remove(name);
        let at = self.clock.now();
        self.memory.rotations_mut().took_back(name, live, why, at);
        let event = Event::CertificateTakenBack.about().certificate(name);
        event.generation(live.generation).key(live.id).say(format_args!(
            "{name} generation {} is taken back, servers get the one before: {why}",
            live.generation
        ));
        self.happened(Happened::TakenBack, live, None, Some(why.to_owned()));
        self.run_hook(config, live, "taken-back");
        Ok(Ok(()))
    }
}

impl Progress {
    fn of(view: View) -> Self {
        Self {
            view,
            seen: 0,
            amiss: 0,
            why: String::new(),
            is_unseen: false,
            is_as_before: false,
        }
    }

    /// One handshake. Whether another may follow at once.
    fn look(
        &mut self,
        outside: &dyn Outside,
        expected: &Expected,
        before: Option<&BTreeMap<View, Option<Leaf>>>,
    ) -> bool {
        let seen = outside.look(&self.view);
        if seen == Ok(expected.leaf) {
            self.seen = self.seen.saturating_add(1);
            self.amiss = 0;
            self.why.clear();
            return true;
        }
        self.seen = 0;
        self.is_unseen = seen.is_err();
        let is_older = seen.as_ref().is_ok_and(|leaf| expected.older.contains(leaf));
        self.why = match &seen {
            Ok(_) if is_older && expected.has_older_workers => {
                format!("{} shows the one before, by an older worker", self.view)
            }
            Ok(_) if is_older => format!("{} shows the one before", self.view),
            Ok(_) => format!("{} shows another certificate", self.view),
            Err(Unseen(why)) => format!("{}: {why}", self.view),
        };
        // It will end.
        if is_older && expected.has_older_workers {
            return false;
        }
        self.amiss = self.amiss.saturating_add(1);
        let was = before.and_then(|before| before.get(&self.view));
        let is_same = was.is_some_and(|was| *was == seen.as_ref().ok().copied());
        self.is_as_before = self.amiss >= AMISS && !is_older && is_same;
        false
    }
}

impl Watch {
    fn outcome(&self, is_over: bool, before: Option<&BTreeMap<View, Option<Leaf>>>) -> Round {
        if self.views.iter().all(Progress::is_done) {
            let unlike = self.views.iter().filter(|progress| progress.is_as_before);
            let unlike: Vec<_> = unlike.map(|progress| progress.why.clone()).collect();
            return match unlike.first() {
                Some(why) if unlike.len() == self.views.len() => Round::Troubled(why.clone()),
                Some(_) | None => Round::Seen(unlike),
            };
        }
        let amiss = self
            .views
            .iter()
            .find(|progress| !progress.is_done() && progress.amiss >= AMISS);
        match amiss {
            // Nobody knows whether it was so before: the older key goes on signing until it is well, or somebody decides.
            Some(progress)
                if progress.is_unseen && before.is_none_or(|before| !before.contains_key(&progress.view)) =>
            {
                Round::Troubled(progress.why.clone())
            }
            Some(progress) => Round::Wrong(progress.why.clone()),
            None if is_over => Round::Interrupted,
            None => Round::NotYet,
        }
    }
}

/// Every name at every listener.
fn views(certificate: &Certificate, key: &KeyInfo) -> Vec<View> {
    let sort = Sort::from(key.key_type);
    let names: &[DnsName] = match certificate.dns_names.as_slice() {
        [] => key.dns_names.items(),
        names => names,
    };
    let of = |listener: &Listener| {
        let listener = *listener;
        names.iter().map(move |name| View {
            listener,
            // Any name that a wildcard stands for.
            name: name.as_str().replacen('*', "enclave-tls", 1),
            sort,
        })
    };
    certificate.listeners.iter().flat_map(of).collect()
}

const NOTHING_OLDER: &str =
    "there is no older generation to go back to; compare the server's configuration with `listeners` and `dns_names`";
/// As many handshakes in a row show the new leaf: a server has at most some workers, and the kernel spreads connections over them.
const IN_A_ROW: u32 = 20;
/// As many rounds in a row something is amiss before it counts: a server may be busy for a moment.
const AMISS: u32 = 5;
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);
/// So many rounds; workers that have not ended by then may take hours.
const SOON: u32 = 60;
const BETWEEN_ROUNDS_LATER: Duration = Duration::from_secs(30);
/// In one pass. Other certificates, and administrators, wait meanwhile.
const LOOK_FOR: Duration = Duration::from_secs(2);
