//! One pass over the directory, for a service that has just started.

use enclave_wire::control::{ControlError, Import, InstallChain, InstallCredential, Reply, Request};
use enclave_wire::{BootId, Chain, KeyId, Name};

use super::opening::{self, Opened};
use crate::Shared;
use crate::link::{CallError, Link};
use crate::log::Event;
use crate::parent::Parent;
use crate::store::{Credential, ItemError, KeptKey, Store};
use crate::waiting::Item;
use enclave_tls_admin::advice;

/// The pass, and what it came to.
pub(crate) struct Replay<'a> {
    link: &'a Link,
    store: &'a Shared<Store>,
    parent: &'a Parent,
    done: u32,
    refused: u32,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(link: &'a Link, store: &'a Shared<Store>, parent: &'a Parent) -> Self {
        Self {
            link,
            store,
            parent,
            done: 0,
            refused: 0,
        }
    }

    /// Goes through the directory, and gives back what AWS cannot open now.
    pub(crate) fn run(mut self, boot: BootId, items: Vec<Item>) -> Result<Vec<Item>, CallError> {
        let credentials = self.store.lock().credentials();
        for item in credentials {
            self.credentials(item)?;
        }
        let (states, bundles): (Vec<_>, _) = items.into_iter().partition(|item| matches!(item, Item::State(_)));
        let mut left = self.open(states)?;
        let keys = self.store.lock().keys();
        for key in &keys {
            self.key(key)?;
        }
        let chains = self.store.lock().chains();
        let is_bundle = |id: &KeyId| {
            bundles
                .iter()
                .any(|item| matches!(item, Item::Bundle(its, _) if its == id))
        };
        for item in chains
            .into_iter()
            .filter(|item| !item.as_ref().is_ok_and(|(id, _)| is_bundle(id)))
        {
            self.chain(item)?;
        }
        // If AWS does not answer now, it is not asked for these either.
        left.extend(if left.is_empty() { self.open(bundles)? } else { bundles });
        for key in keys.iter().flatten().filter(|key| key.superseded) {
            self.ask(&format!("keys/{}.toml", key.id), &Request::Supersede(key.id))?;
        }
        self.tell_what_is_lost(boot);
        self.summarise(left.len());
        Ok(left)
    }

    fn summarise(&self, left: usize) {
        let rest = match left {
            0 => String::new(),
            _ => format!(", {left} wait for AWS"),
        };
        Event::ReplayDone.say(format_args!(
            "replayed {} items, {} refused{rest}",
            self.done, self.refused
        ));
    }

    /// Opens one after the other. Once AWS does not answer, the rest waits until the service is open: it has keys to serve with.
    fn open(&mut self, items: Vec<Item>) -> Result<Vec<Item>, CallError> {
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            match opening::open(self.link, self.store, self.parent, &item)? {
                Opened::Done => self.done = self.done.saturating_add(1),
                Opened::Refused => self.refused = self.refused.saturating_add(1),
                Opened::NotNow(_) => return Ok(std::iter::once(item).chain(items).collect()),
            }
        }
        Ok(Vec::new())
    }

    fn chain(&mut self, item: Result<(KeyId, Chain), ItemError>) -> Result<(), CallError> {
        match item {
            Ok((key, chain)) => {
                let request = Request::InstallChain(InstallChain { key, chain });
                self.ask(&format!("chains/{key}.pem"), &request)?;
            }
            Err(error) => self.wrong(&error),
        }
        Ok(())
    }

    fn credentials(&mut self, item: Result<(Name, Vec<Credential>), ItemError>) -> Result<(), CallError> {
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
                    Event::ReplayRefused.about().key(key.id).say(format_args!(
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
                Event::ReplayRefused.say(format_args!("replay: {file}: {}", advice::refused(error)));
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
        Event::ReplayRefused.say(format_args!("replay: {error}"));
    }

    fn tell_what_is_lost(&mut self, boot: BootId) {
        let volatile = self.store.lock().volatile();
        for item in volatile {
            match item {
                Ok(key) if key.boot != boot => {
                    let lost = Event::ReplayLost
                        .about()
                        .certificate(&key.name)
                        .generation(key.generation);
                    lost.key(key.id).say(format_args!(
                        "the restart lost {} generation {} ({}, {}), id {}",
                        key.name, key.generation, key.origin, key.usage, key.id
                    ));
                }
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
        sealed: None,
        pkcs8: store.private_key(key.id)?,
    }))
}
