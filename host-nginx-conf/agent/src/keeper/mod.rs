//! The keeper: makes the enclave and the web servers into what the configuration says, again and again.
//!
//! A pass looks at what is there and at what shall be, and does what is missing; it keeps nothing in mind that it could not look up,
//! but for when it did what ([`memory`]), so it may be cut off at any point. Whatever fails concerns one certificate, client or server
//! ([`troubles`]), is said once and tried again with growing waits, and the others go on. Servers keep what they have until something
//! better has been tested. While the enclave cannot be asked nothing is done at all.

mod absent;
mod accounts;
mod attempts;
mod beating;
mod bundle;
mod chains;
mod clients;
mod commands;
mod deploy;
mod history;
mod hooks;
mod keys;
mod machine;
mod make;
mod memory;
mod objects;
mod orders;
mod outside;
mod plan;
mod reminders;
mod renewals;
mod report;
mod retire;
mod revocation;
mod rotations;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod troubles;
mod wanted;
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_apply::Generation;
use enclave_tls_config::{Certificate, Config};
use enclave_wire::Name;

use crate::Shared;
use crate::aws::versions::Versions;
use crate::clock::Clock;
pub(crate) use beating::Beating;
use bundle::Bundles;
use chains::Chains;
pub(crate) use commands::is_for_the_keeper;
use history::History;
use hooks::Hooks;
use keys::Keys;
use machine::Machine;
use memory::Memory;
use orders::Orders;
use outside::Watches;
pub(crate) use outside::{Network, Outside};
use plan::{Plan, plan};
pub(crate) use report::Found;
use troubles::{Troubles, What};
use world::EnclaveError;
pub(crate) use world::{Enclave, Helper};

/// What the keeper works with.
pub(crate) struct Keeper<E, H> {
    enclave: Arc<E>,
    helper: H,
    outside: Box<dyn Outside>,
    clock: Arc<dyn Clock>,
    memory: Memory,
    history: History,
    hooks: Hooks,
    watches: Watches,
    /// In [`Clock::monotonic`].
    remind_at: Duration,
    troubles: Troubles,
    orders: Orders,
    chains: Chains,
    bundles: Bundles,
    pending: clients::Pending,
    objects: objects::Written,
    /// What was made live and is not known to be used yet.
    given: BTreeMap<Name, Generation>,
    /// What the helper found on this machine.
    machine: Machine,
    /// The enclave's time, or this machine's where it is not known: as of this pass.
    now: i64,
    /// Stored, and not in the enclave: as of this pass.
    not_open: BTreeMap<Name, String>,
    /// What S3 says of bundles.
    pub(crate) versions: Arc<Versions>,
    /// What the last pass found, for the report.
    pub(crate) found: Arc<Shared<Found>>,
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    pub(crate) fn new(
        enclave: Arc<E>,
        helper: H,
        outside: Box<dyn Outside>,
        clock: Arc<dyn Clock>,
        directory: &Path,
    ) -> Self {
        Self {
            enclave,
            helper,
            outside,
            history: History::new(directory),
            hooks: Hooks::new(),
            watches: Watches::default(),
            remind_at: Duration::ZERO,
            memory: Memory::open(directory, Arc::clone(&clock)),
            troubles: Troubles::new(Arc::clone(&clock)),
            orders: Orders::default(),
            clock,
            chains: Chains::default(),
            bundles: Bundles::default(),
            pending: clients::Pending::default(),
            objects: objects::Written::new(directory),
            given: BTreeMap::new(),
            machine: Machine::default(),
            now: 0,
            not_open: BTreeMap::new(),
            versions: Arc::default(),
            found: Arc::default(),
        }
    }

    /// Looks at everything once, and does what is missing. How long until the next look, unless something changes before.
    pub(crate) fn pass(&mut self, config: &Config) -> Duration {
        self.troubles.keep(config);
        let keys = self.listed();
        self.look_at_helper();
        let its_time = keys.as_ref().ok().and_then(|_| self.enclave.now());
        self.now = its_time.unwrap_or_else(|| self.clock.now());
        let (keys, did_all) = match keys {
            Ok(mut keys) => {
                let did = self.bring_about(config, &mut keys);
                (did.map(|all| (keys, all)), matches!(did, Ok(true)))
            }
            Err(error) => (Err(error), false),
        };
        let is_away = keys.is_err();
        let goes_on = std::mem::take(&mut self.orders.is_to_go_on);
        if let Ok((keys, _)) = &keys {
            self.remember_live(config, keys);
        }
        self.write_down();
        self.publish(config, keys.as_ref().map(|(keys, _)| keys).map_err(|error| *error));
        match (is_away, did_all && !goes_on) {
            // The bell rings when it comes.
            (true, _) => NOW_AND_THEN,
            (false, false) => AT_LEAST,
            (false, true) => self.next().unwrap_or(NOW_AND_THEN).clamp(AT_LEAST, NOW_AND_THEN),
        }
    }

    /// Saves what is remembered: at the end of a pass, and before the one that begins what an administrator asks for.
    fn write_down(&mut self) {
        match self.memory.save() {
            Ok(()) => self.troubles.well(&What::Memory),
            Err(error) => self.troubles.failed(What::Memory, &error.to_string()),
        }
    }

    /// What the enclave has, and what is stored and not in it.
    fn listed(&mut self) -> Result<Keys, EnclaveError> {
        // Before the keys and after them: what is opened meanwhile was not open when they were listed, and what a restart has just closed
        // is in neither.
        let before = self.enclave.not_open();
        let keys = self.enclave.keys()?;
        self.not_open = self.enclave.not_open();
        self.not_open.extend(before);
        Ok(keys.into_iter().collect())
    }

    /// Until something is to be done that nobody rings the bell for.
    fn next(&self) -> Option<Duration> {
        let due = self.memory.rotations().next_due();
        let due = due.map(|due| Duration::from_secs(due.saturating_sub(self.memory.counted())));
        let waits = [self.troubles.next(), self.watches.next(self.clock.monotonic()), due];
        waits.into_iter().flatten().min()
    }

    /// Whether all was looked at; an error is an enclave that cannot be asked, by which the pass ends.
    fn bring_about(&mut self, config: &Config, keys: &mut Keys) -> Result<bool, EnclaveError> {
        self.note_retired();
        self.chains.keep(keys, &self.enclave.newer_chains());
        self.memory.keep(config, keys, &self.not_open);
        self.begin_what_is_open(config, keys);
        self.note_distrusted(keys)?;
        self.set_aside(keys)?;
        self.clients(config)?;
        let did_all = self.make_keys(config, keys)?;
        self.order(config, keys)?;
        self.deploy(config, keys)?;
        if self.look_outside(config, keys)? {
            self.deploy(config, keys)?;
        }
        self.retire(config, keys)?;
        self.revocations(config, keys)?;
        self.remind(config, keys);
        self.objects(config, keys)?;
        Ok(did_all)
    }

    /// What the helper has. Without it servers keep what they have.
    fn look_at_helper(&mut self) {
        match self.helper.state() {
            Ok(state) => {
                self.troubles.well(&What::Helper);
                self.machine.found(state);
            }
            Err(error) => {
                self.troubles.failed(What::Helper, &error.why);
                self.machine.lost();
            }
        }
    }

    /// Remembers how long what is live is valid: once the enclave has a newer chain for the key, it says that only of the newer one.
    fn remember_live(&mut self, config: &Config, keys: &Keys) {
        for certificate in config.certificates.values() {
            let Some(live) = self.plan(config, certificate, keys, false).live else {
                continue;
            };
            let has = self
                .chains
                .known(live)
                .filter(|directory| self.machine.live(&live.name) == Some(*directory));
            if let (Some(directory), Some(validity)) = (has, live.validity) {
                self.memory.is_live(&live.name, directory, validity);
            }
        }
    }

    fn plan<'a>(&self, config: &Config, certificate: &Certificate, keys: &'a Keys, is_new: bool) -> Plan<'a> {
        plan(
            certificate,
            &config.clients_of(certificate),
            keys.of(&certificate.name),
            self.not_open.get(&certificate.name).map(String::as_str),
            is_new,
            self.now,
        )
    }
}

/// What a request of one certificate, client or key came to: away, by which the pass ends, or its own trouble.
fn its_own<T>(outcome: Result<T, EnclaveError>) -> Result<Result<T, String>, EnclaveError> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(error) if error.is_away() => Err(error),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Files of bundles, servers that were started, and whatever else nobody rings the bell for.
const NOW_AND_THEN: Duration = Duration::from_secs(30);
/// So that what fails at once does not become a lack of CPU.
const AT_LEAST: Duration = Duration::from_millis(500);
