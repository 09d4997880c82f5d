//! One item that AWS has to open: given to the service, and how that ended.

use enclave_wire::control::{ControlError, InstallChain, Reply, Request};
use enclave_wire::{KeyId, Name};

use crate::Shared;
use crate::link::{CallError, Link};
use crate::log::Event;
use crate::parent::Parent;
use crate::store::{ItemError, KeptBundle, Store};
use crate::waiting::Item;
use enclave_tls_admin::advice;
use enclave_tls_admin::protocol::Standing;

/// How an attempt ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// The service has it.
    Done,
    /// Not now: AWS, or the way to it.
    NotNow(ControlError),
    /// It was refused, and that was said.
    Refused,
}

/// Gives the service one item.
pub(crate) fn open(link: &Link, store: &Shared<Store>, parent: &Parent, item: &Item) -> Result<Opened, CallError> {
    let answered = match item {
        Item::State(name) => restore(link, store, parent, name),
        Item::Bundle(id, _) => provision(link, store, *id),
    }?;
    let mut waiting = parent.waiting.lock();
    match answered {
        Ok(None) => waiting.done(item),
        Ok(Some(error)) => {
            let passes = may_pass(error);
            waiting.stands(
                item,
                if passes {
                    Standing::Later(error)
                } else {
                    Standing::Refused(error)
                },
            );
            if passes {
                return Ok(Opened::NotNow(error));
            }
            Event::ReplayRefused.say(format_args!("replay: {item}: {}", advice::refused(error)));
            return Ok(Opened::Refused);
        }
        Err(error) => {
            waiting.stands(item, Standing::Unreadable);
            Event::ReplayRefused.say(format_args!("replay: {error}"));
            return Ok(Opened::Refused);
        }
    }
    Ok(Opened::Done)
}

/// Whether another attempt may succeed without anybody's doing.
pub(crate) fn may_pass(error: ControlError) -> bool {
    [
        ControlError::AwsUnavailable,
        ControlError::CredentialsMissing,
        ControlError::EgressRefused,
    ]
    .contains(&error)
}

/// The service's error, if it has one.
type Answered = Result<Option<ControlError>, ItemError>;

fn restore(link: &Link, store: &Shared<Store>, parent: &Parent, name: &Name) -> Result<Answered, CallError> {
    let state = match store.lock().state(name) {
        Ok(Some(state)) => state,
        Ok(None) => return Ok(Ok(None)), // Somebody moved it away.
        Err(error) => return Ok(Err(error)),
    };
    let request = Request::Restore(state.clone());
    // From here on, and while no other request is under way: the service may seal it again under another key before it answers.
    let answer = link.call_when(&request, || parent.settled.lock().add(name, &state))?;
    if matches!(answer, Reply::Restored(_)) {
        return Ok(Ok(None));
    }
    parent.settled.lock().remove(name);
    Ok(Ok(Some(match answer {
        Reply::Error(error) => error,
        _ => ControlError::Malformed,
    })))
}

/// A bundle, its chain if another was installed since, and its state: together, for they may come long after the others.
fn provision(link: &Link, store: &Shared<Store>, id: KeyId) -> Result<Answered, CallError> {
    let (bundle, request) = match read(&store.lock(), id) {
        Ok(Some(read)) => read,
        Ok(None) => return Ok(Ok(None)), // It was retired meanwhile.
        Err(error) => return Ok(Err(error)),
    };
    match link.call(&request)? {
        Reply::Provisioned(key) if key.id != id => {
            Event::ReplayChanged.about().key(key.id).say(format_args!(
                "replay: bundles/{id}.toml: what S3 has there now is key {}; it takes the other's place",
                key.id
            ));
            if let Err(error) = store.lock().follow_bundle(&bundle, key.id) {
                return Ok(Err(error));
            }
        }
        // An earlier connection of this run had got so far.
        Reply::Provisioned(_) | Reply::Error(ControlError::KeyExists) => finish(link, store, &bundle)?,
        Reply::Error(error) => return Ok(Ok(Some(error))),
        _ => return Ok(Ok(Some(ControlError::Malformed))),
    }
    Ok(Ok(None))
}

fn read(store: &Store, id: KeyId) -> Result<Option<(KeptBundle, Request)>, ItemError> {
    if !store.is_bundle(id) {
        return Ok(None);
    }
    let bundle = store.bundle(id)?;
    let request = Request::Provision(store.provision(&bundle)?);
    Ok(Some((bundle, request)))
}

fn finish(link: &Link, store: &Shared<Store>, bundle: &KeptBundle) -> Result<(), CallError> {
    let key = bundle.key.id;
    let chain = store.lock().chain(key);
    let report = |what: &str, reply| {
        if let Reply::Error(error) = reply {
            Event::ReplayRefused.say(format_args!("replay: {what}: {}", advice::refused(error)));
        }
    };
    match chain {
        Ok(Some(chain)) => {
            let install = Request::InstallChain(InstallChain { key, chain });
            report(&format!("chains/{key}.pem"), link.call(&install)?);
        }
        Ok(None) => {}
        Err(error) => Event::ReplayRefused.say(format_args!("replay: {error}")),
    }
    if bundle.key.superseded {
        report(&format!("bundles/{key}.toml"), link.call(&Request::Supersede(key))?);
    }
    Ok(())
}
