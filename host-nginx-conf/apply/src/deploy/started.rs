//! Servers that were started after the last switch: they have read what is live, and need no reload for it.
//!
//! Compared is the time since boot, in the kernel's ticks for both: a clock that is set, forwards or backwards, changes neither, as it
//! would change the times of files. Where in doubt a server is reloaded once more, which harms nobody.

use std::fs;

use enclave_tls_config::Config;
use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::deploy::Live;
use crate::deploy::reloaded::{Reloaded, Served, Told};
use crate::disk::{DiskError, Folder, Readers};
use crate::servers::Master;

/// When links were last switched: the boot of the machine, and the ticks since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Switched {
    boot: String,
    ticks: u64,
}

impl Switched {
    /// Before anything is switched: until [`Switched::settled`] nobody counts as started since.
    pub(crate) fn begins(records: &Folder) -> Result<(), DiskError> {
        records.remove(FILE)
    }

    /// All is switched that will be.
    pub(crate) fn settled(records: &Folder) -> Result<(), DiskError> {
        let Some(now) = Self::now() else { return Ok(()) };
        // Serialising strings and numbers into memory does not fail.
        let text = serde_json::to_vec(&now).unwrap_or_default();
        records.write(FILE, &text, Readers::Owner)
    }

    fn now() -> Option<Self> {
        let time = clock_gettime(ClockId::Boottime);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?);
        let a_second = clock_ticks_per_second();
        let part = nanos.checked_mul(a_second)?.checked_div(1_000_000_000)?;
        Some(Self {
            boot: boot()?,
            ticks: seconds.checked_mul(a_second)?.checked_add(part)?,
        })
    }

    fn load(records: &Folder) -> Option<Self> {
        serde_json::from_slice(&records.read(FILE, MAX_FILE).ok()??).ok()
    }

    /// Whether a process that runs now was started after it, by its own ticks. In the same tick it may have been before.
    fn is_before(&self, boot: &str, started: u64) -> bool {
        self.boot != boot || started > self.ticks
    }
}

/// Writes down of each server that runs with something else than what is live, as far as is known, whether it was started since.
pub(crate) fn notice(records: &Folder, live: &Live, config: &Config) -> Result<(), DiskError> {
    let (Some(switched), Some(boot)) = (Switched::load(records), boot()) else {
        return Ok(());
    };
    let mut reloaded = Reloaded::load(records)?;
    let all = live.all()?;
    for (name, server) in &config.servers {
        let serves: Served = config
            .certificates_of(name)
            .filter_map(|certificate| all.get_key_value(&certificate.name))
            .map(|(name, directory)| (name.clone(), *directory))
            .collect();
        if serves.is_empty() || reloaded.get(name) == Some(&serves) {
            continue;
        }
        let started = Master::find(server).ok().flatten().and_then(|master| master.started());
        if started.is_some_and(|started| switched.is_before(&boot, started)) {
            // It has no process that serves anything older.
            let told = Told {
                served: serves,
                older: Vec::new(),
            };
            reloaded.set(records, name, Some(told))?;
        }
    }
    Ok(())
}

/// Which boot of the machine this is.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

const FILE: &str = "switched.json";
const MAX_FILE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::started;
    use crate::state::tests::Scratch;

    #[test]
    fn only_who_was_started_in_a_later_tick_or_a_later_boot_is_newer() {
        let switched = Switched {
            boot: "a".to_owned(),
            ticks: 100,
        };
        assert!(!switched.is_before("a", 99) && !switched.is_before("a", 100));
        assert!(switched.is_before("a", 101) && switched.is_before("b", 1));
    }

    #[test]
    fn a_record_counts_only_once_it_is_settled() {
        let scratch = Scratch::new();
        let records = Folder::open(&scratch.path).unwrap();
        Switched::settled(&records).unwrap();
        let switched = Switched::load(&records).unwrap();
        let own = started(std::process::id()).unwrap();
        assert!(!switched.is_before(&boot().unwrap(), own), "this process was before");
        std::thread::sleep(std::time::Duration::from_millis(50));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let its = started(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            switched.is_before(&boot().unwrap(), its.unwrap()),
            "{switched:?} {its:?}"
        );
        Switched::begins(&records).unwrap();
        assert_eq!(Switched::load(&records), None);
        Switched::begins(&records).unwrap();
    }
}
