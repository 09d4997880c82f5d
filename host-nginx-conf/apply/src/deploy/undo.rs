//! How a deployment is undone, written before anything is switched: whoever finds it knows that no server had passed yet.

use enclave_tls_apply::LiveCertificate;
use enclave_wire::Name;
use serde::{Deserialize, Serialize};

use crate::deploy::Live;
use crate::deploy::reloaded::Served;
use crate::disk::{DiskError, Folder, Readers};
use crate::failure::Failure;

/// A deployment that is not settled.
#[must_use = "it is settled or rolled back"]
pub(crate) struct Undo<'a> {
    records: &'a Folder,
    live: &'a Live,
    had: Served,
    firsts: Served,
}

impl<'a> Undo<'a> {
    /// Remembers the certificates that are about to be switched: what is live now of those that have something live, and what
    /// the others are to have.
    pub(crate) fn prepare(records: &'a Folder, live: &'a Live, had: Served, firsts: Served) -> Result<Self, Failure> {
        if !(had.is_empty() && firsts.is_empty()) {
            let record = Record::new(&had, &firsts);
            let text = serde_json::to_vec(&record).map_err(|_| Failure::Undo(records.path_of(FILE)))?;
            records.write(FILE, &text, Readers::Owner)?;
        }
        Ok(Self {
            records,
            live,
            had,
            firsts,
        })
    }

    /// Whether there is anything to undo.
    pub(crate) fn switches(&self) -> bool {
        !(self.had.is_empty() && self.firsts.is_empty())
    }

    /// Whether this certificate had another generation live before.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.had.contains_key(name)
    }

    /// The certificates that had nothing live before, and what they are switched to.
    pub(crate) fn firsts(&self) -> &Served {
        &self.firsts
    }

    /// What a server served before of what it serves now.
    pub(crate) fn before(&self, serves: &Served) -> Served {
        let kept = serves.iter().filter(|(name, _)| !self.firsts.contains_key(*name));
        kept.map(|(name, now)| (name.clone(), *self.had.get(name).unwrap_or(now)))
            .collect()
    }

    /// All that had a live generation have it again. Not settled yet.
    pub(crate) fn put_back(&self) -> Result<Vec<LiveCertificate>, DiskError> {
        let had = super::reloaded::list(&self.had);
        had.iter().try_for_each(|certificate| self.live.point(certificate))?;
        Ok(had)
    }

    /// What the links point at now stays.
    pub(crate) fn settle(self) -> Result<(), DiskError> {
        self.live.sync()?;
        settle(self.records)
    }

    /// All links are as before.
    pub(crate) fn roll_back(self) -> Result<(), DiskError> {
        let had = super::reloaded::list(&self.had);
        roll_back(self.records, self.live, &had, self.firsts.keys())
    }
}

/// What was undone of a deployment that was cut off.
#[derive(Default)]
pub(crate) struct Undone {
    /// What is live again.
    pub(crate) put_back: Vec<LiveCertificate>,
    /// What has nothing live again.
    pub(crate) withdrawn: Vec<Name>,
}

/// Undoes a deployment that was cut off.
pub(crate) fn recover(records: &Folder, live: &Live) -> Result<Undone, Failure> {
    let Some(text) = records.read(FILE, MAX_FILE)? else {
        return Ok(Undone::default());
    };
    let undone = Record::read(&text).ok_or_else(|| Failure::Undo(records.path_of(FILE)))?;
    roll_back(records, live, &undone.put_back, undone.withdrawn.iter())?;
    Ok(undone)
}

fn roll_back<'n>(
    records: &Folder,
    live: &Live,
    had: &[LiveCertificate],
    mut absent: impl Iterator<Item = &'n Name>,
) -> Result<(), DiskError> {
    had.iter().try_for_each(|certificate| live.point(certificate))?;
    absent.try_for_each(|name| live.take_away(name))?;
    live.sync()?;
    settle(records)
}

fn settle(records: &Folder) -> Result<(), DiskError> {
    records.remove(FILE)?;
    records.sync()
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    had: Vec<LiveCertificate>,
    /// Had nothing live.
    absent: Vec<String>,
}

impl Record {
    fn new(had: &Served, firsts: &Served) -> Self {
        Self {
            had: super::reloaded::list(had),
            absent: firsts.keys().map(Name::to_string).collect(),
        }
    }

    fn read(text: &[u8]) -> Option<Undone> {
        let record = match serde_json::from_slice(text).ok()? {
            Form::Whole(record) => record,
            Form::Earlier(had) => Self {
                had,
                absent: Vec::new(),
            },
        };
        let absent = record.absent.iter().map(|name| name.parse().ok());
        Some(Undone {
            withdrawn: absent.collect::<Option<_>>()?,
            put_back: record.had,
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Whole(Record),
    /// Of a release that left first generations where they were.
    Earlier(Vec<LiveCertificate>),
}

const FILE: &str = "undo.json";
/// A thousand certificates with the longest names.
const MAX_FILE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use enclave_wire::Usage;

    use super::*;
    use crate::state::tests::{Scratch, deployment};

    #[test]
    fn a_record_undoes_what_was_switched_and_nothing_of_others() {
        let scratch = Scratch::new();
        let base = Folder::open(&scratch.path).unwrap();
        let records = base.enter_private("records").unwrap();
        let live = Live::open(&base).unwrap();
        let directory = |at| deployment("www", at, Usage::Tls).directory();
        let served = |name: &str, at| Served::from([(name.parse().unwrap(), directory(at))]);
        let [had, firsts] = [served("www", 1), served("new", 1)];
        drop(Undo::prepare(&records, &live, had.clone(), firsts).unwrap());
        for certificate in
            super::super::reloaded::list(&[served("www", 2), served("new", 1)].into_iter().flatten().collect())
        {
            live.point(&certificate).unwrap();
        }
        let undone = recover(&records, &live).unwrap();
        assert_eq!((undone.put_back.len(), undone.withdrawn.len()), (1, 1));
        assert_eq!(live.all().unwrap(), had);
        assert!(records.names().unwrap().is_empty());

        // Cut off before the switch, where something of others stood in its place.
        symlink("/etc", scratch.path.join("live/new")).unwrap();
        std::fs::create_dir(scratch.path.join("live/dir")).unwrap();
        let firsts = [served("new", 1), served("dir", 1)].into_iter().flatten().collect();
        drop(Undo::prepare(&records, &live, Served::new(), firsts).unwrap());
        recover(&records, &live).unwrap();
        assert!(scratch.path.join("live/new").is_symlink() && scratch.path.join("live/dir").is_dir());
    }

    #[test]
    fn a_record_of_an_earlier_release_is_understood() {
        let scratch = Scratch::new();
        let base = Folder::open(&scratch.path).unwrap();
        let live = Live::open(&base).unwrap();
        let directory = deployment("www", 1, Usage::Tls).directory();
        let text = format!("[{{\"name\":\"www\",\"directory\":\"{directory}\"}}]");
        base.write(FILE, text.as_bytes(), Readers::Owner).unwrap();
        assert_eq!(recover(&base, &live).unwrap().put_back.len(), 1);
        assert_eq!(live.get(&"www".parse().unwrap()).unwrap(), Some(directory));
        for bad in ["", "{}", "{\"had\":[],\"absent\":[\"../x\"]}", "{\"had\":[]}"] {
            base.write(FILE, bad.as_bytes(), Readers::Owner).unwrap();
            assert!(matches!(recover(&base, &live), Err(Failure::Undo(_))), "{bad}");
        }
    }
}
