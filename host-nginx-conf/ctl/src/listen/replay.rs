//! What the enclave is told when it dials: its policy, and all that a restart made it forget.
//!
//! The order matters: a key names its clients, so credentials come first; a chain needs its key; and which generation is superseded
//! is said last. An item that is wrong or refused costs one line of the log, and the others go on. A policy is different:
//! without the one that the parent wrote the service might allow more than it says, so nothing follows a policy that was refused.

use enclave_wire::BootId;
use enclave_wire::control::{ControlError, Import, InstallChain, InstallCredential, Phase, Reply, Request};

use super::control::Greeted;
use super::link::{CallError, Link};
use super::{Shared, say};
use crate::advice;
use crate::store::{Credential, ItemError, KeptKey, Store};

/// Why a greeting broke off.
#[derive(Debug)]
pub(super) enum GreetError {
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
pub(super) fn greet(link: &Link, store: Option<&Shared<Store>>) -> Result<Greeted, GreetError> {
    let status = match link.call(&Request::Status)? {
        Reply::Status(status) => status,
        Reply::Error(error) => return Err(GreetError::Refused("status", error)),
        _ => return Err(GreetError::Unexpected("status")),
    };
    let version = status.version.as_str();
    say(&format!(
        "the service is here: version {version}, boot {}, {}",
        status.boot,
        phase(status.phase)
    ));
    match status.phase {
        Phase::Serving => return Ok(Greeted::Ready(status.boot)),
        Phase::AwaitingReady => {}
        Phase::AwaitingPolicy => {
            if !give_policy(link, store)? {
                return Ok(Greeted::PolicyRefused);
            }
        }
    }
    if let Some(store) = store {
        Replay {
            link,
            store,
            done: 0,
            refused: 0,
        }
        .run(status.boot)?;
    }
    match link.call(&Request::Ready)? {
        Reply::Serving => Ok(Greeted::Ready(status.boot)),
        Reply::Error(error) => Err(GreetError::Refused("ready", error)),
        _ => Err(GreetError::Unexpected("ready")),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::AwaitingPolicy => "waiting for its policy",
        Phase::AwaitingReady => "waiting for the replay",
        Phase::Serving => "serving",
    }
}

fn give_policy(link: &Link, store: Option<&Shared<Store>>) -> Result<bool, GreetError> {
    let policy = match store.map(|store| store.lock().policy()).transpose() {
        Ok(policy) => policy.flatten(),
        Err(error) => {
            say(&format!(
                "replay: {error}; correct it and start `listen` again: until then the service stays closed"
            ));
            return Ok(false);
        }
    };
    match link.call(&Request::Policy(policy))? {
        Reply::PolicyTaken | Reply::Error(ControlError::PolicyAlreadySet) => Ok(true),
        Reply::Error(error) => {
            say(&format!(
                "replay: policy.toml: {}; until then the service stays closed",
                advice::refused(error)
            ));
            Ok(false)
        }
        _ => Err(GreetError::Unexpected("policy")),
    }
}

/// One pass over the directory.
struct Replay<'a> {
    link: &'a Link,
    store: &'a Shared<Store>,
    done: u32,
    refused: u32,
}

impl Replay<'_> {
    fn run(mut self, boot: BootId) -> Result<(), CallError> {
        let credentials = self.store.lock().credentials();
        for item in credentials {
            self.credentials(item)?;
        }
        let keys = self.store.lock().keys();
        for key in &keys {
            self.key(key)?;
        }
        let chains = self.store.lock().chains();
        for item in chains {
            match item {
                Ok((key, chain)) => {
                    let request = Request::InstallChain(InstallChain { key, chain });
                    self.ask(&format!("chains/{key}.pem"), &request)?;
                }
                Err(error) => self.wrong(&error),
            }
        }
        for key in keys.iter().flatten().filter(|key| key.superseded) {
            self.ask(&format!("keys/{}.toml", key.id), &Request::Supersede(key.id))?;
        }
        self.tell_what_is_lost(boot);
        say(&format!("replayed {} items, {} refused", self.done, self.refused));
        Ok(())
    }

    fn credentials(&mut self, item: Result<(enclave_wire::Name, Vec<Credential>), ItemError>) -> Result<(), CallError> {
        let (client, credentials) = match item {
            Ok(item) => item,
            Err(error) => {
                self.wrong(&error);
                return Ok(());
            }
        };
        for Credential { id, verifier } in credentials {
            let install = InstallCredential {
                client: client.clone(),
                id,
                verifier,
            };
            self.ask(
                &format!("credentials/{client}.toml"),
                &Request::InstallCredential(install),
            )?;
        }
        Ok(())
    }

    fn key(&mut self, key: &Result<KeptKey, ItemError>) -> Result<(), CallError> {
        let request = match key {
            Ok(key) => import(key, &self.store.lock()),
            Err(error) => {
                self.wrong(error);
                return Ok(());
            }
        };
        match (request, key) {
            (Ok(request), Ok(key)) => match self.ask(&format!("keys/{}.toml", key.id), &request)? {
                Some(Reply::Imported(info)) if info.id != key.id => {
                    self.refused = self.refused.saturating_add(1);
                    say(&format!(
                        "replay: keys/{}.pem: its key is {}; name its files so",
                        key.id, info.id
                    ));
                }
                _ => {}
            },
            (Err(error), _) => self.wrong(&error),
            (Ok(_), Err(_)) => {}
        }
        Ok(())
    }

    /// Asks for one item, and reports it if it was refused.
    fn ask(&mut self, file: &str, request: &Request) -> Result<Option<Reply>, CallError> {
        match self.link.call(request)? {
            // An earlier connection of this boot had got so far.
            Reply::Error(ControlError::KeyExists) => self.done = self.done.saturating_add(1),
            Reply::Error(error) => {
                self.refused = self.refused.saturating_add(1);
                say(&format!("replay: {file}: {}", advice::refused(error)));
            }
            reply => {
                self.done = self.done.saturating_add(1);
                return Ok(Some(reply));
            }
        }
        Ok(None)
    }

    fn wrong(&mut self, error: &ItemError) {
        self.refused = self.refused.saturating_add(1);
        say(&format!("replay: {error}"));
    }

    fn tell_what_is_lost(&mut self, boot: BootId) {
        let volatile = self.store.lock().volatile();
        for item in volatile {
            match item {
                Ok(key) if key.boot != boot => say(&format!(
                    "the restart lost {} generation {} ({}, {}), id {}",
                    key.name, key.generation, key.origin, key.usage, key.id
                )),
                Ok(_) => {}
                Err(error) => self.wrong(&error),
            }
        }
    }
}

fn import(key: &KeptKey, store: &Store) -> Result<Request, ItemError> {
    let too_many = |_| ItemError::too_many_names(key.id);
    Ok(Request::Import(Import {
        name: key.name.clone(),
        usage: key.usage,
        dns_names: key.dns_names.clone().try_into().map_err(too_many)?,
        clients: key.clients.clone().try_into().map_err(too_many)?,
        pkcs8: store.private_key(key.id)?,
    }))
}
