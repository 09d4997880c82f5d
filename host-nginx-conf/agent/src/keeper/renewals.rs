//! Accounts and renewals, as `status` shows them.

use enclave_tls_admin::acme::{Account, Renewal};
use enclave_tls_config::{Acme, Certificate, Challenge, Config};
use enclave_wire::Name;

use super::Keeper;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, Helper};

impl<E: Enclave, H: Helper> Keeper<E, H> {
    pub(super) fn report_accounts(&self, config: &Config, keys: Option<&Keys>) -> Vec<Account> {
        let report = |(name, account): (&Name, &enclave_tls_config::Account)| {
            let key = keys.and_then(|keys| super::accounts::key_of(name, keys));
            let url = key.and_then(|key| self.memory.attempts().account(key.id));
            let not_open = self
                .not_open
                .get(name)
                .map(|why| format!("{}: {why}", super::orders::NOT_OPEN));
            Account {
                name: name.to_string(),
                directory: account.directory.to_string(),
                key: key.map(|key| key.id.to_string()),
                url: url.map(str::to_owned),
                sealed: account.sealed.is_some(),
                problem: self
                    .troubles
                    .why(&What::Account(name.clone()))
                    .map(str::to_owned)
                    .or(not_open),
            }
        };
        config.accounts.iter().map(report).collect()
    }

    pub(super) fn renewal(&self, certificate: &Certificate, keys: &Keys) -> Option<Renewal> {
        let acme = certificate.source.acme()?;
        let attempts = self.memory.attempts();
        let newest = super::orders::newest(certificate, keys);
        let waits = newest.filter(|key| key.validity.is_none());
        let schedule = self.schedule(certificate, keys);
        let attempt = waits.and_then(|key| attempts.of(key.id));
        Some(Renewal {
            account: acme.account.to_string(),
            challenge: challenge(acme).to_owned(),
            next: schedule.map(|schedule| schedule.at),
            why: schedule.map(|schedule| schedule.why.as_str().to_owned()),
            explanation: newest.and_then(|key| attempts.explanation(key.id)).map(str::to_owned),
            last: attempts.issued(certificate.name.as_str()),
            failures: attempt.map_or(0, |attempt| attempt.failures),
            progress: waits.and_then(|key| self.orders.progress.get(&key.id)).cloned(),
            problem: attempt.and_then(|attempt| attempt.why.clone()),
        })
    }
}

const fn challenge(acme: &Acme) -> &'static str {
    match acme.challenge {
        Challenge::Http01 => "http-01",
        Challenge::Dns01 => "dns-01",
        Challenge::None => "none",
    }
}
