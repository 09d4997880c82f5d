//! Accounts at CAs: their keys, which are born in the enclave, and their registration.

use std::path::Path;

use enclave_tls_admin::acme as words;
use enclave_tls_admin::eab::BindingFile;
use enclave_tls_admin::files;
use enclave_tls_config::{Account, Config, Directory};
use enclave_wire::control::{
    self, Binding, ControlError, Create, Job, JobId, JobKind, JobOutcome, JobPhase, KeyInfo, Reply, Request,
};
use enclave_wire::{KeyId, KeyType, Name, State, Usage};

use super::keys::Keys;
use super::orders::digest;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Makes each account's key, and registers it or finds it again.
    pub(super) fn accounts(&mut self, config: &Config, keys: &mut Keys) -> Result<(), EnclaveError> {
        for (name, account) in &config.accounts {
            let what = What::Account(name.clone());
            let outcome = match key_of(name, keys).map(|key| key.id) {
                Some(id) => its_own(self.register(name, account, id))?,
                None if self.troubles.is_early(&what) => continue,
                None => its_own(self.make_account(name, account, keys))?,
            };
            match outcome {
                Ok(true) => self.troubles.well(&what),
                Ok(false) => {}
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    fn make_account(&mut self, name: &Name, account: &Account, keys: &mut Keys) -> Result<bool, EnclaveError> {
        // What is stored of it comes back: another would be another account.
        if self.not_open.contains_key(name) {
            return Ok(false);
        }
        let request = Request::Create(Create {
            name: name.clone(),
            key_type: KeyType::P256,
            usage: Usage::AcmeAccount,
            dns_names: Vec::new().try_into().map_err(|_| EnclaveError::Unexpected)?,
            clients: Vec::new().try_into().map_err(|_| EnclaveError::Unexpected)?,
            sealed: account.sealed.clone(),
        });
        match self.enclave.ask(&request)? {
            Reply::Created(key) if key.name == *name => {
                let event = Event::AccountCreated.about().certificate(name).key(key.id);
                event.say(format_args!("the key of account {name} is born ({})", key.id));
                keys.put(key);
                self.orders.is_to_go_on = true;
                Ok(true)
            }
            _ => Err(EnclaveError::Unexpected),
        }
    }

    /// Whether it is known to be registered.
    fn register(&mut self, name: &Name, account: &Account, id: KeyId) -> Result<bool, EnclaveError> {
        let with = digest(account);
        let job = JobId {
            kind: JobKind::Account,
            key: id,
        };
        let state = match self.is_under_way(id) {
            true => self.job(job)?,
            false => None,
        };
        let state = match state {
            Some(state) => state,
            None if self.is_registered(id, &with) => return Ok(true),
            None if self.is_too_early(name, account, id, &with) => return Ok(false),
            None => match job_of(account, id) {
                Ok(account) => match self.begin(Job::Account(account), id, &with)? {
                    Some(state) => state,
                    None => return Ok(false),
                },
                Err(why) => {
                    self.troubles.failed(What::Account(name.clone()), &why);
                    return Ok(false);
                }
            },
        };
        match state.phase {
            JobPhase::Done(JobOutcome::Account(url)) => {
                if self.memory.attempts().account(id) != Some(url.as_str()) {
                    let event = Event::AccountRegistered.about().certificate(name).key(id);
                    event.say(format_args!("account {name} is registered: {}", url.as_str()));
                }
                self.memory.attempts_mut().registered(&id.to_string(), &url);
                self.orders.registered.insert(id, with);
                Ok(true)
            }
            JobPhase::Waiting | JobPhase::Running(_) => Ok(false),
            JobPhase::Done(_) => Err(EnclaveError::Unexpected),
            JobPhase::Failed(failure) => {
                self.failed(id, &failure);
                self.told(name, account.directory.url(), &failure);
                self.troubles
                    .failed(What::Account(name.clone()), &words::failed(&failure));
                Ok(false)
            }
        }
    }

    /// The account that ordered a key's certificate, or, where nobody remembers that, the one that the configuration names. None: it has
    /// no key, or the certificate comes from elsewhere.
    pub(super) fn account_of(&self, config: &Config, key: &KeyInfo, keys: &Keys) -> Option<control::Account> {
        let Some(by) = self.memory.attempts().ordered_by(key.id) else {
            let acme = config.certificates.get(&key.name)?.source.acme()?;
            let its_key = key_of(&acme.account, keys)?;
            return job_of(config.accounts.get(&acme.account)?, its_key.id).ok();
        };
        let is_its = |one: &&KeyInfo| one.usage == Usage::AcmeAccount && one.id.to_string() == by.key;
        Some(control::Account {
            key: keys.all().find(is_its)?.id,
            directory: by.directory(),
            // For those that are registered anew.
            contacts: Vec::new().try_into().ok()?,
            terms_agreed: true,
            binding: None,
        })
    }

    fn is_too_early(&self, name: &Name, account: &Account, id: KeyId, with: &str) -> bool {
        let (attempts, now) = (self.memory.attempts(), self.memory.counted());
        let told = attempts.told_until(name, account.directory.url(), now);
        told.is_some() || attempts.is_early(id, with, now)
    }

    /// Whether this run found or registered it as it is in the configuration, and knows its URL.
    fn is_registered(&self, id: KeyId, with: &str) -> bool {
        let is_of_run = self.orders.registered.get(&id).is_some_and(|known| known == with);
        is_of_run && self.memory.attempts().account(id).is_some()
    }
}

/// The key of an account, if there is one.
pub(super) fn key_of<'a>(name: &Name, keys: &'a Keys) -> Option<&'a KeyInfo> {
    let its = keys.of(name).iter();
    let standing = its.filter(|key| key.state == State::Live && key.usage == Usage::AcmeAccount);
    standing.max_by_key(|key| key.generation)
}

/// What the enclave is told of an account; or what is wrong with the file of its binding.
pub(super) fn job_of(account: &Account, key: KeyId) -> Result<control::Account, String> {
    let binding = account
        .eab
        .as_deref()
        .map(|file| binding(file, &account.directory))
        .transpose()?;
    let too_many = |_| EnclaveError::Refused(ControlError::LimitReached).to_string();
    Ok(control::Account {
        key,
        directory: account.directory.url().clone(),
        contacts: account.contacts.clone().try_into().map_err(too_many)?,
        // The configuration has no account without it.
        terms_agreed: true,
        binding,
    })
}

fn binding(file: &Path, directory: &Directory) -> Result<Binding, String> {
    let says = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let text = files::read_public(file, MAX_BINDING).map_err(|error| says(&error))?;
    let read = BindingFile::parse(&text).map_err(|error| says(&error))?;
    if read.directory != *directory.url() {
        let other = read.directory.as_str();
        return Err(says(&format_args!(
            "it is for {other}, and the account's directory is {directory}: name the file that was made for it"
        )));
    }
    Ok(read.binding)
}

/// A ciphertext of 6 KiB in base64, and the rest.
const MAX_BINDING: usize = 16_384;
