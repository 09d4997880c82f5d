//! What each server was last reloaded with.
//!
//! Written after the signal. Whoever is killed in between has the server reload twice, never not at all.

use std::collections::BTreeMap;

use enclave_tls_apply::{Directory, LiveCertificate};
use enclave_wire::Name;
use serde::{Deserialize, Serialize};

use crate::disk::{DiskError, Folder, Readers};
use crate::servers::Worker;

/// The live generations of a server's certificates.
pub(crate) type Served = BTreeMap<Name, Directory>;

/// Each server's.
#[derive(Default)]
pub(crate) struct Reloaded(BTreeMap<Name, Told>);

/// What a server was told.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// What it was reloaded with.
    pub(crate) served: Served,
    /// The processes that its master had when it was told, which may serve something older.
    pub(crate) older: Vec<Worker>,
}

impl Reloaded {
    /// Reads the record. One that cannot be read is none: then each server is tested and reloaded once more, which harms nobody.
    pub(crate) fn load(records: &Folder) -> Result<Self, DiskError> {
        let file = match records.read(FILE, MAX_FILE) {
            Ok(file) => file,
            Err(DiskError::TooLong(_)) => None,
            Err(error @ (DiskError::System { .. } | DiskError::NotOurs(_))) => return Err(error),
        };
        let read = file.and_then(|text| serde_json::from_slice::<Vec<Entry>>(&text).ok());
        let entries = read.unwrap_or_default().into_iter();
        Ok(Self(entries.filter_map(Entry::into_told).collect()))
    }

    pub(crate) fn get(&self, server: &Name) -> Option<&Served> {
        self.0.get(server).map(|told| &told.served)
    }

    /// The processes that a server's master had before it was last told to reload, and that still run.
    pub(crate) fn older(&self, server: &Name) -> Vec<u32> {
        let older = self.0.get(server).into_iter().flat_map(|told| &told.older);
        older.filter_map(Worker::running).collect()
    }

    /// Remembers that a server was told to reload; or, with none, that it does not run, and will start with who knows what.
    pub(crate) fn set(&mut self, records: &Folder, server: &Name, told: Option<Told>) -> Result<(), DiskError> {
        let is_same = self.0.get(server) == told.as_ref();
        match told {
            Some(told) => self.0.insert(server.clone(), told),
            None => self.0.remove(server),
        };
        if is_same {
            return Ok(());
        }
        let entries: Vec<_> = self.0.iter().map(|(server, told)| Entry::new(server, told)).collect();
        // Serialising strings and numbers into memory does not fail.
        let text = serde_json::to_vec(&entries).unwrap_or_default();
        records.write(FILE, &text, Readers::Owner)
    }
}

/// As a list, for a reply or a file.
pub(crate) fn list(served: &Served) -> Vec<LiveCertificate> {
    let entries = served.iter();
    entries
        .map(|(name, directory)| LiveCertificate {
            name: name.clone(),
            directory: *directory,
        })
        .collect()
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    server: String,
    with: Vec<LiveCertificate>,
    /// Absent in what an older release wrote.
    #[serde(default)]
    older: Vec<Worker>,
}

impl Entry {
    fn new(server: &Name, told: &Told) -> Self {
        Self {
            server: server.to_string(),
            with: list(&told.served),
            older: told.older.clone(),
        }
    }

    fn into_told(self) -> Option<(Name, Told)> {
        let with = self.with.into_iter();
        let told = Told {
            served: with.map(|one| (one.name, one.directory)).collect(),
            older: self.older,
        };
        Some((self.server.parse().ok()?, told))
    }
}

const FILE: &str = "reloaded.json";
/// A thousand certificates in a dozen servers.
const MAX_FILE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use enclave_wire::Usage;

    use super::*;
    use crate::state::tests::{Scratch, deployment};

    #[test]
    fn a_record_is_read_as_it_was_written_and_a_broken_one_is_none() {
        let scratch = Scratch::new();
        let records = Folder::open(&scratch.path).unwrap();
        let server: Name = "main".parse().unwrap();
        let served = BTreeMap::from([("www".parse().unwrap(), deployment("www", 3, Usage::Tls).directory())]);
        let mut reloaded = Reloaded::load(&records).unwrap();
        assert_eq!(reloaded.get(&server), None);
        let told = Told {
            served: served.clone(),
            older: Vec::new(),
        };
        reloaded.set(&records, &server, Some(told)).unwrap();
        assert_eq!(Reloaded::load(&records).unwrap().get(&server), Some(&served));
        reloaded.set(&records, &server, None).unwrap();
        assert_eq!(Reloaded::load(&records).unwrap().get(&server), None);
        records.write(FILE, b"[{", Readers::Owner).unwrap();
        assert_eq!(Reloaded::load(&records).unwrap().get(&server), None);
    }
}
