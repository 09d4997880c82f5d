//! What the keeper knows beyond its own life: `keeper.json` in the agent's directory. All of it is a matter of when, never of whether:
//! without the file grace times begin anew, and bundles are given once more.
//!
//! Ages are counted, not computed from the time of day: while the agent runs by the monotonic clock, so that a clock that is set ends no
//! grace time and rotates nothing; across the agent's absence by the time of day, of which no more than a day is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use enclave_tls_admin::files::{self, Pending};
use enclave_tls_apply::Directory;
use enclave_tls_config::Config;
use enclave_wire::control::Validity;
use enclave_wire::{KeyId, Name};
use serde::{Deserialize, Serialize};

use super::absent::{self, Absent};
use super::attempts::Attempts;
use super::keys::Keys;
use super::rotations::Rotations;
use crate::clock::Clock;
use crate::log::Event;

/// The file, and what it holds.
pub(super) struct Memory {
    file: PathBuf,
    clock: Arc<dyn Clock>,
    facts: Facts,
    is_saved: bool,
    /// [`Clock::monotonic`] when the file was read, and what was counted then.
    began: (Duration, u64),
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// Seconds that all agents of this directory have counted, and what time of day it was then.
    counted: u64,
    saved: i64,
    /// By its key's id, since when a generation is one that servers no longer get: as counted.
    superseded: BTreeMap<String, u64>,
    /// By its name, a client's credential.
    credentials: BTreeMap<String, Made>,
    /// By the certificate's name, SHA-256 of the bundle that was given last.
    bundles: BTreeMap<String, String>,
    /// By its name, when a server was last told to reload; for people.
    reloaded: BTreeMap<String, i64>,
    /// By the certificate's name, when servers were last given another generation; for people.
    deployed: BTreeMap<String, i64>,
    /// By the certificate's name, what was live last and how long its certificate is valid.
    #[serde(default)]
    live: BTreeMap<String, Live>,
    /// Certificates with files of generations that are gone.
    unpruned: BTreeSet<String>,
    #[serde(default)]
    rotations: Rotations,
    #[serde(default)]
    attempts: Attempts,
    #[serde(default, skip_serializing_if = "Absent::is_empty")]
    absent: Absent,
}

/// When a credential was made: as counted, and for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Made {
    counted: u64,
    at: i64,
}

/// What is live of a certificate. Servers may have an older chain than the enclave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    directory: String,
    not_before: i64,
    not_after: i64,
}

/// Since when something is so, as counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since(u64);

impl Memory {
    pub(super) fn open(directory: &Path, clock: Arc<dyn Clock>) -> Self {
        let file = directory.join("keeper.json");
        let facts = match files::read_public(&file, MAX_FILE) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Facts::default()),
            Err(error) => Err(error.to_string()),
        };
        let facts: Facts = facts.unwrap_or_else(|why| {
            Event::KeeperForgot.say(format_args!("{}: {why}; grace times begin anew", file.display()));
            Facts::default()
        });
        let away = u64::try_from(clock.now().saturating_sub(facts.saved)).unwrap_or(0);
        let began = (clock.monotonic(), facts.counted.saturating_add(away.min(MAX_AWAY_S)));
        Self {
            file,
            clock,
            facts,
            is_saved: true,
            began,
        }
    }

    /// Whether so much time has passed since then. Where part of it was counted by the time of day, an hour of it is awaited anyhow.
    pub(super) fn has_passed(&self, since: Since, time: Duration) -> bool {
        let passed = self.counted().saturating_sub(since.0) >= time.as_secs();
        passed && (since.0 >= self.began.1 || self.ran() >= time.min(HOUR))
    }

    /// Since when servers no longer get this key. The first to ask says that it is since now.
    pub(super) fn superseded(&mut self, id: KeyId) -> Since {
        let now = self.counted();
        let is_saved = &mut self.is_saved;
        let since = self.facts.superseded.entry(id.to_string()).or_insert_with(|| {
            *is_saved = false;
            now
        });
        Since(*since)
    }

    /// Servers may get this key again, or it is gone.
    pub(super) fn forget(&mut self, id: KeyId) {
        if !self.facts.superseded.is_empty() {
            self.is_saved &= self.facts.superseded.remove(&id.to_string()).is_none();
        }
    }

    pub(super) fn bundle(&self, name: &Name) -> Option<&str> {
        self.facts.bundles.get(name.as_str()).map(String::as_str)
    }

    pub(super) fn gave_bundle(&mut self, name: &Name, digest: String) {
        let before = self.facts.bundles.insert(name.to_string(), digest.clone());
        self.is_saved &= before == Some(digest);
    }

    /// When the credential of a client was made. The first to ask says that it was now.
    pub(super) fn credential(&mut self, client: &Name) -> Since {
        if !self.facts.credentials.contains_key(client.as_str()) {
            self.made_credential(client);
        }
        let made = self.facts.credentials.get(client.as_str());
        Since(made.map_or_else(|| self.counted(), |made| made.counted))
    }

    /// The same as a time of day, for people.
    pub(super) fn credential_made(&self, client: &Name) -> Option<i64> {
        self.facts.credentials.get(client.as_str()).map(|made| made.at)
    }

    pub(super) fn made_credential(&mut self, client: &Name) {
        let made = Made {
            counted: self.counted(),
            at: self.clock.now(),
        };
        self.facts.credentials.insert(client.to_string(), made);
        self.is_saved = false;
    }

    pub(super) fn reloaded(&self, server: &Name) -> Option<i64> {
        self.facts.reloaded.get(server.as_str()).copied()
    }

    pub(super) fn did_reload(&mut self, server: &Name) {
        self.facts.reloaded.insert(server.to_string(), self.clock.now());
        self.is_saved = false;
    }

    pub(super) fn deployed(&self) -> &BTreeMap<String, i64> {
        &self.facts.deployed
    }

    pub(super) fn did_deploy(&mut self, certificate: &Name) {
        self.facts.deployed.insert(certificate.to_string(), self.clock.now());
        self.is_saved = false;
    }

    /// How long the certificate in this directory is valid, if it is the one that was live last.
    pub(super) fn validity(&self, certificate: &Name, directory: &Directory) -> Option<Validity> {
        let live = self.facts.live.get(certificate.as_str())?;
        (live.directory == directory.to_string()).then_some(Validity {
            not_before: live.not_before,
            not_after: live.not_after,
        })
    }

    /// The certificate in this directory is live.
    pub(super) fn is_live(&mut self, certificate: &Name, directory: &Directory, validity: Validity) {
        if self.validity(certificate, directory) == Some(validity) {
            return;
        }
        let live = Live {
            directory: directory.to_string(),
            not_before: validity.not_before,
            not_after: validity.not_after,
        };
        self.facts.live.insert(certificate.to_string(), live);
        self.is_saved = false;
    }

    /// What is remembered of orders.
    pub(super) fn attempts(&self) -> &Attempts {
        &self.facts.attempts
    }

    /// The same, to be changed: it is written again.
    pub(super) fn attempts_mut(&mut self) -> &mut Attempts {
        self.is_saved = false;
        &mut self.facts.attempts
    }

    /// What is remembered of rotations.
    pub(super) fn rotations(&self) -> &Rotations {
        &self.facts.rotations
    }

    /// The same, to be changed: it is written again.
    pub(super) fn rotations_mut(&mut self) -> &mut Rotations {
        self.is_saved = false;
        &mut self.facts.rotations
    }

    /// Whether so much time has passed since [`Self::counted`] was this.
    pub(super) fn has_passed_since(&self, counted: u64, time: Duration) -> bool {
        self.has_passed(Since(counted), time)
    }

    /// Files of a generation that is gone are to be removed, or were.
    pub(super) fn leave_files(&mut self, name: &Name, are_left: bool) {
        self.is_saved &= if are_left {
            !self.facts.unpruned.insert(name.to_string())
        } else {
            !self.facts.unpruned.remove(name.as_str())
        };
    }

    pub(super) fn unpruned(&self) -> Vec<Name> {
        self.facts
            .unpruned
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect()
    }

    /// Forgets what is of nothing any more. What is of a key that may be stored under a name that is not open stays.
    pub(super) fn keep(&mut self, config: &Config, keys: &Keys, not_open: &BTreeMap<Name, String>) {
        let now = self.counted();
        let Facts {
            superseded,
            credentials,
            bundles,
            reloaded,
            deployed,
            live,
            rotations,
            attempts,
            absent,
            ..
        } = &mut self.facts;
        let listed = absent::ids(keys);
        let remembered = superseded.keys().chain(rotations.ids()).chain(attempts.ids());
        self.is_saved &= !absent.look(remembered, &listed, !not_open.is_empty(), now);
        let kept = absent.and(listed);
        superseded.retain(|id, _| kept.has(id));
        self.is_saved &= !rotations.keep(config, &kept, not_open);
        self.is_saved &= !attempts.keep(&kept);
        let is_of = |name: &str| Name::try_from(name);
        credentials.retain(|name, _| is_of(name).is_ok_and(|name| config.clients.contains_key(&name)));
        bundles.retain(|name, _| is_of(name).is_ok_and(|name| config.certificates.contains_key(&name)));
        deployed.retain(|name, _| is_of(name).is_ok_and(|name| config.certificates.contains_key(&name)));
        live.retain(|name, _| is_of(name).is_ok_and(|name| config.certificates.contains_key(&name)));
        reloaded.retain(|name, _| is_of(name).is_ok_and(|name| config.servers.contains_key(&name)));
    }

    /// Writes what is new, and now and then what was counted. A full disk costs grace times that begin anew, and is tried again.
    pub(super) fn save(&mut self) -> io::Result<()> {
        let counted = self.counted();
        if self.is_saved && counted.saturating_sub(self.facts.counted) < COUNTED_EVERY_S {
            return Ok(());
        }
        self.facts.counted = counted;
        self.facts.saved = self.clock.now();
        let text = serde_json::to_vec_pretty(&self.facts)?;
        self.is_saved = false;
        Pending::write(&self.file, 0o600, &text).and_then(Pending::replace)?;
        self.is_saved = true;
        Ok(())
    }

    fn ran(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began.0)
    }

    /// Seconds that were counted.
    pub(super) fn counted(&self) -> u64 {
        self.began.1.saturating_add(self.ran().as_secs())
    }
}

/// 20,000 keys, and as many names, of some 100 bytes each.
const MAX_FILE: usize = 8 << 20;
/// An instance that is stopped for the night ages all the same. More may be a clock that was set.
const MAX_AWAY_S: u64 = 86_400;
/// What an agent that is killed forgets to have counted.
const COUNTED_EVERY_S: u64 = 600;
const HOUR: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::{Directory, Simulated};

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn what_was_saved_is_known_again() {
        let (directory, clock) = (Directory::new(), Simulated::new());
        let (id, name) = (KeyId([7; 32]), "www".parse().unwrap());
        let mut memory = Memory::open(directory.path(), clock.clone());
        let since = memory.superseded(id);
        memory.gave_bundle(&name, "ab".to_owned());
        memory.leave_files(&name, true);
        memory.save().unwrap();
        clock.pass(DAY / 2);

        let mut memory = Memory::open(directory.path(), clock.clone());
        assert_eq!(memory.superseded(id), since);
        assert_eq!(memory.bundle(&name), Some("ab"));
        assert_eq!(memory.unpruned(), std::slice::from_ref(&name));
        memory.forget(id);
        assert_ne!(memory.superseded(id), since);

        std::fs::write(directory.path().join("keeper.json"), "{\"what\":1}").unwrap();
        assert_eq!(Memory::open(directory.path(), clock).bundle(&name), None, "begins anew");
    }

    #[test]
    fn threat_18_a_clock_that_is_set_changes_no_age() {
        let (directory, clock) = (Directory::new(), Simulated::new());
        let mut memory = Memory::open(directory.path(), clock.clone());
        let since = memory.superseded(KeyId([7; 32]));
        for step in [10, -20, 10, 3_000, -2_990] {
            clock.set(step * 365 * 86_400);
            assert!(!memory.has_passed(since, Duration::from_secs(60)));
            assert!(memory.save().is_ok());
        }
        clock.pass(DAY);
        assert!(memory.has_passed(since, DAY));
        assert!(!memory.has_passed(since, DAY + Duration::from_secs(1)));
    }

    #[test]
    fn threat_18_of_an_agents_absence_a_day_is_believed_and_an_hour_awaited() {
        let (directory, clock) = (Directory::new(), Simulated::new());
        let mut memory = Memory::open(directory.path(), clock.clone());
        let since = memory.superseded(KeyId([7; 32]));
        memory.save().unwrap();
        clock.set(10 * 365 * 86_400);
        let memory = Memory::open(directory.path(), clock.clone());
        assert!(!memory.has_passed(since, DAY), "not at once");
        assert!(!memory.has_passed(since, DAY * 3));
        clock.pass(HOUR);
        assert!(memory.has_passed(since, DAY));
        assert!(!memory.has_passed(since, DAY * 2), "ten years are not believed");
        clock.set(-20 * 365 * 86_400);
        let memory = Memory::open(directory.path(), clock);
        assert!(!memory.has_passed(since, HOUR), "a clock set back counts nothing");
    }
}
