//! Whether a job may begin: what the policy and the keys say, before anybody is asked anything.

use std::sync::Arc;

use enclave_https::Url;
use enclave_policy::aws::KeyArn;
use enclave_wire::control::{Account, Binding, ControlError, Job, Order, Url as UrlText};
use enclave_wire::{KeyId, Usage};

use crate::keystore::Key;
use crate::serve::State;
use crate::serve::force::Force;

pub(super) fn check(state: &State, job: &Job) -> Result<(), ControlError> {
    let force = state.in_force().ok_or(ControlError::PolicyFirst)?;
    state.platform.machine.has_room()?;
    match job {
        Job::Account(account) => check_account(state, force, account),
        Job::Order(order) => check_order(state, force, order),
        Job::Renewal(renewal) => {
            allowed(force, &renewal.directory)?;
            certified(state, &renewal.key).map(drop)
        }
        Job::Revoke(revoke) => {
            check_account(state, force, &revoke.account)?;
            certified(state, &revoke.key).map(drop)
        }
        Job::Caa(caa) => {
            check_account(state, force, &caa.account)?;
            force.policy.resolver().map(drop)
        }
    }
}

/// A directory that the policy names, and the roots that its server is known by.
pub(super) fn allowed(force: &Force, directory: &UrlText) -> Result<(Url, Vec<Vec<u8>>), ControlError> {
    let url: Url = directory.as_str().parse().map_err(|error| {
        tracing::warn!(directory = directory.as_str(), %error, "not the URL of a directory");
        ControlError::DirectoryRefused
    })?;
    let roots = force.policy.acme_roots(url.host(), url.port(), url.path())?;
    Ok((url, roots))
}

/// A key for certificates, which an account's is not.
pub(super) fn certificates_key(state: &State, id: &KeyId) -> Result<Arc<Key>, ControlError> {
    let key = state.keys.get(id)?;
    match key.usage() {
        Usage::AcmeAccount => Err(ControlError::AccountKey),
        Usage::Tls | Usage::TlsClient | Usage::Digest => Ok(key),
    }
}

/// A key that has a certificate.
pub(super) fn certified(state: &State, id: &KeyId) -> Result<Arc<Key>, ControlError> {
    let key = certificates_key(state, id)?;
    if key.chain().certificates().is_empty() {
        return Err(ControlError::NoCertificate);
    }
    Ok(key)
}

fn check_account(state: &State, force: &Force, account: &Account) -> Result<(), ControlError> {
    allowed(force, &account.directory)?;
    if state.keys.get(&account.key)?.usage() != Usage::AcmeAccount {
        return Err(ControlError::AccountKey);
    }
    account
        .binding
        .as_ref()
        .map_or(Ok(()), |binding| binding_key(force, binding).map(drop))
}

/// The KMS key that opens a binding's: one that the policy allows for bundles.
pub(super) fn binding_key(force: &Force, binding: &Binding) -> Result<KeyArn, ControlError> {
    let kms_key: KeyArn = binding.kms_key.as_str().parse().map_err(|error| {
        tracing::warn!(%error, "not the ARN of a KMS key");
        ControlError::KmsKeyRefused
    })?;
    force.policy.bundle_key(&kms_key)?;
    Ok(kms_key)
}

fn check_order(state: &State, force: &Force, order: &Order) -> Result<(), ControlError> {
    check_account(state, force, &order.account)?;
    if certificates_key(state, &order.key)?.dns_names().is_empty() {
        return Err(ControlError::ChainNames);
    }
    resumed(order).map(drop)
}

/// The order that goes on: at the same server, since the policy names no other.
pub(super) fn resumed(order: &Order) -> Result<Option<Url>, ControlError> {
    let Some(resume) = &order.resume else {
        return Ok(None);
    };
    let parse = |text: &UrlText| text.as_str().parse::<Url>().map_err(|_| ControlError::DirectoryRefused);
    let (resume, directory) = (parse(resume)?, parse(&order.account.directory)?);
    if resume.same_server(&directory) {
        Ok(Some(resume))
    } else {
        Err(ControlError::DirectoryRefused)
    }
}
