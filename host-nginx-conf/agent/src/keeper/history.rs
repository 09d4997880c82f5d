//! What became of each certificate, and when: `history.jsonl` in the agent's directory, for people. Nothing is decided by it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use enclave_tls_admin::files::{self, Pending};
use enclave_tls_admin::report::Happening;
use enclave_wire::control::KeyInfo;

use super::Keeper;
use super::rotations::Issued;
use super::troubles;
use super::world::{Enclave, Helper};

/// The file.
pub(super) struct History {
    file: PathBuf,
}

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Made,
    Deployed,
    LookedAt,
    TakenBack,
    RolledBack,
    Superseded,
    Retired,
    RotationAsked,
    RevocationAsked,
    Revoked,
    /// A key was wiped by an administrator, or lost, before its certificate was revoked.
    Gone,
}

impl What {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Made => "made",
            Self::Deployed => "deployed",
            Self::LookedAt => "looked-at",
            Self::TakenBack => "taken-back",
            Self::RolledBack => "rolled-back",
            Self::Superseded => "superseded",
            Self::Retired => "retired",
            Self::RotationAsked => "rotation-asked",
            Self::RevocationAsked => "revocation-asked",
            Self::Revoked => "revoked",
            Self::Gone => "gone",
        }
    }
}

impl History {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            file: directory.join("history.jsonl"),
        }
    }

    /// Of a certificate, oldest first. What cannot be read is left out.
    pub(super) fn of(&self, certificate: &str) -> io::Result<Vec<Happening>> {
        let all = self.all()?.into_iter();
        Ok(all.filter(|one| one.certificate == certificate).collect())
    }

    fn add(&self, happening: &Happening) -> io::Result<()> {
        let mut line = serde_json::to_vec(happening)?;
        line.push(b'\n');
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.file)?;
        file.write_all(&line)?;
        if file.metadata()?.len() > MAX_FILE {
            self.shorten()?;
        }
        Ok(())
    }

    /// Leaves each certificate's newest, and of all no more than half of the file.
    fn shorten(&self) -> io::Result<()> {
        let all = self.all()?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        let mut lines = Vec::new();
        let mut length: u64 = 0;
        for one in all.iter().rev() {
            let count = counts.entry(&one.certificate).or_default();
            *count = count.saturating_add(1);
            let line = serde_json::to_vec(one)?;
            let longer = length.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
            if *count <= EACH && longer <= MAX_FILE.div_euclid(2) {
                length = longer;
                lines.push(line);
            }
        }
        let text: Vec<u8> = lines
            .into_iter()
            .rev()
            .flat_map(|line| [line, b"\n".to_vec()].concat())
            .collect();
        Pending::write(&self.file, 0o600, &text).and_then(Pending::replace)
    }

    fn all(&self) -> io::Result<Vec<Happening>> {
        let most = usize::try_from(MAX_FILE.saturating_mul(2)).unwrap_or(usize::MAX);
        let text = match files::read_public(&self.file, most) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // A line that a power cut left half is none.
        let lines = text.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Notes what happened to a generation; `by`: the administrator who wanted it.
    pub(super) fn happened(&mut self, what: What, key: &KeyInfo, by: Option<u32>, says: Option<String>) {
        let happening = Happening {
            at: self.clock.now(),
            certificate: key.name.to_string(),
            what: what.as_str().to_owned(),
            generation: Some(key.generation),
            key: Some(key.id.to_string()),
            serial: self.chains.serial(key),
            not_after: key.validity.map(|validity| validity.not_after),
            origin: Some(key.origin.to_string()),
            by,
            says,
        };
        self.note(&happening);
    }

    /// The same of a generation whose key is gone.
    pub(super) fn happened_to(&mut self, what: What, id: &str, issued: &Issued, by: Option<u32>, says: String) {
        self.note(&Happening {
            at: self.clock.now(),
            certificate: issued.certificate.clone(),
            what: what.as_str().to_owned(),
            generation: Some(issued.generation),
            key: Some(id.to_owned()),
            serial: Some(issued.serial.clone()),
            not_after: Some(issued.not_after),
            origin: None,
            by,
            says: Some(says),
        });
    }

    /// Notes which generations administrators have had wiped. What it never heard of has no history.
    pub(super) fn note_retired(&mut self) {
        let retired = self.enclave.retired();
        if retired.is_empty() {
            return;
        }
        let known = match self.history.all() {
            Ok(known) => known,
            Err(error) => return self.troubles.failed(troubles::What::History, &error.to_string()),
        };
        for (id, by) in retired {
            let id = id.to_string();
            if let Some(last) = known.iter().rfind(|one| one.key.as_ref() == Some(&id)) {
                self.note(&Happening {
                    at: self.clock.now(),
                    what: What::Retired.as_str().to_owned(),
                    by: Some(by),
                    says: None,
                    ..last.clone()
                });
            }
        }
    }

    /// Notes what happened to a certificate as a whole.
    pub(super) fn note(&mut self, happening: &Happening) {
        match self.history.add(happening) {
            Ok(()) => self.troubles.well(&troubles::What::History),
            Err(error) => self.troubles.failed(troubles::What::History, &error.to_string()),
        }
    }
}

/// Some ten happenings each of two thousand certificates.
const MAX_FILE: u64 = 8 << 20;
/// Half a year of a certificate that lives six days.
const EACH: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::tests::Directory;

    fn happening(certificate: &str, at: i64, says: &str) -> Happening {
        Happening {
            at,
            certificate: certificate.to_owned(),
            what: "made".to_owned(),
            says: Some(says.to_owned()),
            ..Happening::default()
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_but_for_half_lines() {
        let directory = Directory::new();
        let history = History::new(directory.path());
        assert_eq!(history.of("www").unwrap(), []);
        for (certificate, at) in [("www", 1), ("shop", 2), ("www", 3)] {
            history.add(&happening(certificate, at, "")).unwrap();
        }
        let file = directory.path().join("history.jsonl");
        let text = std::fs::read_to_string(&file).unwrap() + "{\"at\":4,\"certifi";
        std::fs::write(&file, text).unwrap();
        let times: Vec<_> = history.of("www").unwrap().iter().map(|one| one.at).collect();
        assert_eq!(times, [1, 3]);
    }

    #[test]
    fn it_does_not_grow_without_end_and_keeps_the_newest_of_each() {
        let directory = Directory::new();
        let history = History::new(directory.path());
        history.add(&happening("rare", 0, "")).unwrap();
        let long = "x".repeat(100_000);
        for at in 0..300 {
            history.add(&happening("www", at, &long)).unwrap();
        }
        let file = directory.path().join("history.jsonl");
        assert!(std::fs::metadata(file).unwrap().len() <= MAX_FILE);
        let its = history.of("www").unwrap();
        assert_eq!(its.last().unwrap().at, 299);
        assert!(its.windows(2).all(|two| two[0].at + 1 == two[1].at));
    }
}
