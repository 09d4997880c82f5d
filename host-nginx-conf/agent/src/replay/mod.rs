//! What the enclave is told when it dials: its policy, and all that a restart made it forget.
//!
//! The order matters: a key names its clients, so credentials come first; what AWS has to open needs AWS credentials; a chain needs
//! its key; and which generation is superseded is said last. An item that is wrong or refused costs one line of the log, and the
//! others go on. What AWS cannot open now is tried again after the service is open ([`later`]). A policy is different:
//! without the one that the parent wrote the service might allow more than it says, so nothing follows a policy that was refused.

mod directory;
mod later;
mod opening;

use std::path::Path;
use std::sync::Arc;

use enclave_wire::BootId;
use enclave_wire::control::{ControlError, KeyInfo, Phase, PolicyBytes, Reply, Request, Status};

use super::Shared;
use super::link::{CallError, Link};
use super::parent::Parent;
use super::waiting::Item;
use crate::log::Event;
use crate::store::Store;
use directory::Replay;
use enclave_tls_admin::{advice, files};
pub(crate) use later::Later;

/// How a greeting ended well.
pub(crate) enum Greeted {
    Ready(Later),
    PolicyRefused,
}

/// Why a greeting broke off.
#[derive(Debug)]
pub(crate) enum GreetError {
    /// The connection ended, or a deadline passed.
    Call(CallError),
    /// The enclave refused what it must not refuse.
    Refused(&'static str, ControlError),
    /// The enclave answered something else.
    Unexpected(&'static str),
}

impl std::fmt::Display for GreetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(CallError::Deadline) => f.write_str("it did not answer in time"),
            Self::Call(CallError::Ended) => f.write_str("the connection ended"),
            Self::Refused(what, error) => write!(f, "{what}: {}", advice::refused(*error)),
            Self::Unexpected(what) => write!(f, "{what}: the service's answer fits no such request"),
        }
    }
}

impl From<CallError> for GreetError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// Brings a newly dialled enclave to where it serves.
pub(crate) fn greet(link: &Arc<Link>, status: &Status, parent: &Parent) -> Result<Greeted, GreetError> {
    let version = status.version.as_str();
    Event::ServiceConnected.say(format_args!(
        "the service is here: version {version}, boot {}, {}",
        status.boot,
        phase(status.phase)
    ));
    // Before anything else: until the service has opened a state, nothing takes that state's place.
    let items = items(&parent.store);
    parent.waiting.lock().begin(items.clone());
    parent.settled.lock().begin();
    if status.phase == Phase::AwaitingPolicy && !give_policy(link, parent.policy.as_deref())? {
        return Ok(Greeted::PolicyRefused);
    }
    if let Some(aws) = &parent.aws {
        aws.greet(link)?;
    }
    if status.phase != Phase::AwaitingPolicy {
        note_unrecorded(link, &parent.store, status.boot)?;
    }
    let later = if status.phase == Phase::Serving {
        Later::after_reconnecting(link, items, &keys(link)?, parent)?
    } else {
        let left = Replay::new(link, &parent.store, parent).run(status.boot, items)?;
        match link.call(&Request::Ready)? {
            Reply::Serving => Later::new(left),
            Reply::Error(error) => return Err(GreetError::Refused("ready", error)),
            _ => return Err(GreetError::Unexpected("ready")),
        }
    };
    Ok(Greeted::Ready(later))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::AwaitingPolicy => "waiting for its policy",
        Phase::AwaitingReady => "waiting for the replay",
        Phase::Serving => "serving",
    }
}

fn give_policy(link: &Link, policy: Option<&Path>) -> Result<bool, GreetError> {
    let policy = match policy.map(read_policy).transpose() {
        Ok(policy) => policy,
        Err(why) => {
            Event::PolicyRefused.say(format_args!(
                "{why}; correct it and restart the enclave: until then the service stays closed"
            ));
            return Ok(false);
        }
    };
    match link.call(&Request::Policy(policy))? {
        Reply::PolicyTaken | Reply::Error(ControlError::PolicyAlreadySet) => Ok(true),
        Reply::Error(error) => {
            Event::PolicyRefused.say(format_args!(
                "the policy: {}; until then the service stays closed",
                advice::refused(error)
            ));
            Ok(false)
        }
        _ => Err(GreetError::Unexpected("policy")),
    }
}

fn read_policy(file: &Path) -> Result<PolicyBytes, String> {
    let bytes = files::read_public(file, MAX_POLICY).map_err(|error| format!("{}: {error}", file.display()))?;
    PolicyBytes::try_from(bytes).map_err(|_| format!("{}: a policy has at most 64 KiB", file.display()))
}

/// What AWS has to open. Files that are named otherwise are reported.
fn items(store: &Shared<Store>) -> Vec<Item> {
    let store = store.lock();
    let states = store.sealed_names().into_iter().map(|name| name.map(Item::State));
    let bundles = store.bundles().into_iter();
    let bundles = bundles.map(|bundle| bundle.map(|bundle| Item::Bundle(bundle.key.id, bundle.key.name)));
    states
        .chain(bundles)
        .filter_map(|item| {
            item.map_err(|error| Event::ReplayRefused.say(format_args!("replay: {error}")))
                .ok()
        })
        .collect()
}

/// A key whose request was under way when an earlier agent ended is in the service and nowhere else.
fn note_unrecorded(link: &Link, store: &Shared<Store>, boot: BootId) -> Result<(), GreetError> {
    let keys = keys(link)?;
    match store.lock().note_unrecorded(&keys, boot) {
        Ok(0) => {}
        Ok(count) => Event::ReplayNoted.say(format_args!(
            "noted {count} keys of the service that no agent had noted"
        )),
        Err(error) => Event::ReplayRefused.say(format_args!("keys of the service were not noted: {error}")),
    }
    Ok(())
}

/// Every key of the service, page by page.
fn keys(link: &Link) -> Result<Vec<KeyInfo>, GreetError> {
    let mut keys = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let page = match link.call(&Request::List(from))? {
            Reply::Keys(page) => page,
            Reply::Error(error) => return Err(GreetError::Refused("list", error)),
            _ => return Err(GreetError::Unexpected("list")),
        };
        // A page that leads nowhere would lead there for ever.
        cursor = page.next.filter(|next| *next > from && !page.keys.items().is_empty());
        keys.extend(page.keys.into_items());
    }
    Ok(keys)
}

/// What the protocol carries of a policy.
const MAX_POLICY: usize = 65_536;
