//! What the keeper knows beyond its own life: `keeper.json` in the agent's directory. All of it is a matter of when, never of whether:
//! without the file grace times begin anew, and bundles are given once more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use enclave_tls_admin::files::{self, Pending};
use enclave_tls_config::Config;
use enclave_wire::{KeyId, Name};
use serde::{Deserialize, Serialize};

/// The file, and what it holds.
pub(super) struct Memory {
    file: PathBuf,
    facts: Facts,
    is_saved: bool,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    /// When a generation was superseded, by its key's id.
    superseded: BTreeMap<String, i64>,
    /// SHA-256 of the bundle that was given last, by the certificate's name.
    bundles: BTreeMap<String, String>,
    /// When a client's credential was made, by its name.
    credentials: BTreeMap<String, i64>,
    /// When a server was last told to reload.
    reloaded: BTreeMap<String, i64>,
    /// When servers were last given another generation, by the certificate's name.
    #[serde(default)]
    deployed: BTreeMap<String, i64>,
}

impl Memory {
    pub(super) fn open(directory: &Path) -> Self {
        let file = directory.join("keeper.json");
        let facts = match files::read_public(&file, MAX_FILE) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| error.to_string()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Facts::default()),
            Err(error) => Err(error.to_string()),
        };
        let facts = facts.unwrap_or_else(|why| {
            crate::log::Event::KeeperForgot.say(format_args!("{}: {why}; grace times begin anew", file.display()));
            Facts::default()
        });
        Self {
            file,
            facts,
            is_saved: true,
        }
    }

    /// When this key was superseded. The first to ask says that it was `now`.
    pub(super) fn superseded(&mut self, id: KeyId, now: i64) -> i64 {
        let at = self.facts.superseded.entry(id.to_string());
        self.is_saved &= matches!(at, std::collections::btree_map::Entry::Occupied(_));
        // A clock that was set back would make it wait for ever.
        *at.and_modify(|at| *at = now.min(*at)).or_insert(now)
    }

    pub(super) fn forget(&mut self, id: KeyId) {
        self.is_saved &= self.facts.superseded.remove(&id.to_string()).is_none();
    }

    pub(super) fn bundle(&self, name: &Name) -> Option<&str> {
        self.facts.bundles.get(name.as_str()).map(String::as_str)
    }

    pub(super) fn gave_bundle(&mut self, name: &Name, digest: String) {
        self.facts.bundles.insert(name.to_string(), digest);
        self.is_saved = false;
    }

    /// When the credential of a client was made. The first to ask says that it was `now`.
    pub(super) fn credential(&mut self, client: &Name, now: i64) -> i64 {
        let at = self.facts.credentials.entry(client.to_string());
        self.is_saved &= matches!(at, std::collections::btree_map::Entry::Occupied(_));
        *at.and_modify(|at| *at = now.min(*at)).or_insert(now)
    }

    pub(super) fn made_credential(&mut self, client: &Name, now: i64) {
        self.facts.credentials.insert(client.to_string(), now);
        self.is_saved = false;
    }

    pub(super) fn reloaded(&self, server: &Name) -> Option<i64> {
        self.facts.reloaded.get(server.as_str()).copied()
    }

    pub(super) fn did_reload(&mut self, server: &Name, now: i64) {
        self.facts.reloaded.insert(server.to_string(), now);
        self.is_saved = false;
    }

    pub(super) fn did_deploy(&mut self, certificate: &Name, now: i64) {
        self.facts.deployed.insert(certificate.to_string(), now);
        self.is_saved = false;
    }

    /// Of the certificates that there are; the others are forgotten.
    pub(super) fn deployed(&mut self, config: &Config) -> BTreeMap<String, i64> {
        let is_there = |name: &String| {
            name.parse()
                .is_ok_and(|name: Name| config.certificates.contains_key(&name))
        };
        let before = self.facts.deployed.len();
        self.facts.deployed.retain(|name, _| is_there(name));
        self.is_saved &= self.facts.deployed.len() == before;
        self.facts.deployed.clone()
    }

    /// Writes what is new. A full disk costs grace times that begin anew, and is tried again at the next pass.
    pub(super) fn save(&mut self) -> io::Result<()> {
        if self.is_saved {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&self.facts)?;
        Pending::write(&self.file, 0o600, &text).and_then(Pending::replace)?;
        self.is_saved = true;
        Ok(())
    }
}

/// 20,000 keys, and as many names, of some 100 bytes each.
const MAX_FILE: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_known_again_and_a_clock_set_back_does_not_lengthen_a_grace_time() {
        let directory = std::env::temp_dir().join(format!("agent-memory-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&directory));
        std::fs::create_dir(&directory).unwrap();
        let (id, name) = (KeyId([7; 32]), "www".parse().unwrap());
        let mut memory = Memory::open(&directory);
        assert_eq!(memory.superseded(id, 1_000), 1_000);
        memory.gave_bundle(&name, "ab".to_owned());
        memory.save().unwrap();

        let mut memory = Memory::open(&directory);
        assert_eq!(memory.superseded(id, 2_000), 1_000);
        assert_eq!(memory.superseded(id, 500), 500);
        assert_eq!(memory.bundle(&name), Some("ab"));
        memory.forget(id);
        assert_eq!(memory.superseded(id, 3_000), 3_000);

        std::fs::write(directory.join("keeper.json"), "{\"what\":1}").unwrap();
        assert_eq!(Memory::open(&directory).bundle(&name), None, "begins anew");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
