//! How a deployment is undone, written before anything is switched: whoever finds it knows that no server had passed yet.

use enclave_tls_apply::LiveCertificate;

use crate::deploy::Live;
use crate::disk::{DiskError, Folder, Readers};
use crate::failure::Failure;

/// A deployment that is not settled.
#[must_use = "it is settled or rolled back"]
pub(crate) struct Undo<'a> {
    records: &'a Folder,
    live: &'a Live,
    before: Vec<LiveCertificate>,
}

impl<'a> Undo<'a> {
    /// Remembers what is live now of the certificates that are about to be switched.
    pub(crate) fn prepare(records: &'a Folder, live: &'a Live, before: Vec<LiveCertificate>) -> Result<Self, Failure> {
        if !before.is_empty() {
            let text = serde_json::to_vec(&before).map_err(|_| Failure::Undo(records.path_of(FILE)))?;
            records.write(FILE, &text, Readers::Owner)?;
        }
        Ok(Self { records, live, before })
    }

    /// Whether it would change this certificate.
    pub(crate) fn has(&self, name: &enclave_wire::Name) -> bool {
        self.before.iter().any(|certificate| certificate.name == *name)
    }

    /// What was switched to stays.
    pub(crate) fn settle(self) -> Result<(), DiskError> {
        settle(self.records)
    }

    /// All links are as before.
    pub(crate) fn roll_back(self) -> Result<Vec<LiveCertificate>, DiskError> {
        roll_back(self.records, self.live, &self.before)?;
        Ok(self.before)
    }
}

/// Undoes a deployment that was cut off, and says what is live again.
pub(crate) fn recover(records: &Folder, live: &Live) -> Result<Vec<LiveCertificate>, Failure> {
    let Some(text) = records.read(FILE, MAX_FILE)? else {
        return Ok(Vec::new());
    };
    let before: Vec<LiveCertificate> =
        serde_json::from_slice(&text).map_err(|_| Failure::Undo(records.path_of(FILE)))?;
    roll_back(records, live, &before)?;
    Ok(before)
}

fn roll_back(records: &Folder, live: &Live, before: &[LiveCertificate]) -> Result<(), DiskError> {
    for certificate in before {
        live.point(certificate)?;
    }
    live.sync()?;
    settle(records)
}

fn settle(records: &Folder) -> Result<(), DiskError> {
    records.remove(FILE)?;
    records.sync()
}

const FILE: &str = "undo.json";
/// A thousand certificates with the longest names.
const MAX_FILE: usize = 1 << 20;
