//! The key scan of threat 47: no form of any private key anywhere but in the service; and where keys are known to be, the
//! same search must find them, or its silence elsewhere would prove nothing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::lab::{Key, Lab};
use crate::process;
use crate::progress;
use crate::table::{Table, Verdict};

/// Scans every process of the lab, its logs and the machine's shared memory.
pub(super) fn all(lab: &Lab, keyscan: &Path) -> Result<Table> {
    let places = places(lab);
    let report = progress::step("searching", || scan(lab, keyscan, &places))?;
    let keys: Vec<&Key> = lab.description().keys.iter().collect();
    let mut table = Table::new([
        "where",
        "searched",
        "keys sought",
        "keys found",
        "must be found",
        "note",
    ]);
    for place in &places {
        let seen = Seen::at(place, &report, &keys)?;
        let note = match (place.expects, seen.missing.is_empty()) {
            (Expects::Nothing, _) => String::new(),
            (Expects::Imported, true) => "every number and encoding of each".to_owned(),
            (_, true) => "every number of each".to_owned(),
            (_, false) => format!("not found: {}", seen.missing.join(", ")),
        };
        let wanted = place.wanted(&keys);
        let mebibytes = format!("{} MiB", seen.bytes.div_ceil(1 << 20));
        let holds = Verdict::of(seen.found == wanted && seen.missing.is_empty());
        let [sought, found, wanted] = [keys.len(), seen.found.len(), wanted.len()].map(|count| count.to_string());
        table.row([place.name.clone(), mebibytes, sought, found, wanted, note], holds);
    }
    Ok(table)
}

/// Some processes or files that must all hold the same keys.
struct Place {
    name: String,
    pids: Vec<u32>,
    files: Vec<PathBuf>,
    expects: Expects,
}

#[derive(Clone, Copy)]
enum Expects {
    Nothing,
    /// The service: every key.
    All,
    /// The control NGINX: the keys that it serves from files.
    ImportedTls,
    /// The files of the imported keys.
    Imported,
}

impl Expects {
    fn key(self, key: &Key) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::ImportedTls => key.usage == "tls" && key.origin == "imported",
            Self::Imported => key.private_key.is_some(),
        }
    }

    /// A key's numbers stay in memory while it is used. Its encodings do not, OpenSSL and the service drop them; but of
    /// the files they are all, PKCS#8 in PEM and in DER, with the older DER in it.
    fn component(self, component: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All | Self::ImportedTls => !component.contains("DER") && !component.contains("PEM"),
            Self::Imported => component != "PKCS#1 PEM" && component != "SEC1 PEM",
        }
    }
}

impl Place {
    fn wanted<'a>(&self, keys: &[&'a Key]) -> BTreeSet<&'a str> {
        keys.iter()
            .filter(|key| self.expects.key(key))
            .map(|key| key.label.as_str())
            .collect()
    }

    fn has(&self, target: &Target) -> bool {
        match target.pid {
            Some(pid) => self.pids.contains(&pid),
            None => self.files.iter().any(|file| Path::new(&target.name).starts_with(file)),
        }
    }
}

/// What the scan saw at one place.
struct Seen<'a> {
    bytes: u64,
    found: BTreeSet<&'a str>,
    /// Components that should be there too.
    missing: Vec<String>,
}

impl<'a> Seen<'a> {
    fn at(place: &Place, report: &Report, keys: &[&'a Key]) -> Result<Self> {
        let targets: Vec<&Target> = report.targets.iter().filter(|target| place.has(target)).collect();
        let unreadable = targets.iter().find_map(|target| target.error.as_ref());
        ensure!(
            unreadable.is_none(),
            "{}: {}",
            place.name,
            unreadable.map_or("", String::as_str)
        );
        let read = targets.iter().filter(|target| target.pid.is_some()).count();
        ensure!(
            read == place.pids.len(),
            "{}: {read} of {} processes were searched",
            place.name,
            place.pids.len()
        );
        let mut seen = Self {
            bytes: targets.iter().map(|target| target.bytes).sum(),
            found: BTreeSet::new(),
            missing: Vec::new(),
        };
        for &key in keys {
            let hits: BTreeSet<&str> = targets.iter().flat_map(|target| target.components(key)).collect();
            if !hits.is_empty() {
                seen.found.insert(&key.label);
            }
            if place.expects.key(key) {
                let sought = report
                    .sought(key)
                    .filter(|part| !hits.contains(part) && place.expects.component(part));
                seen.missing
                    .extend(sought.map(|part| format!("{} of {}", part, key.label)));
            }
        }
        Ok(seen)
    }
}

fn places(lab: &Lab) -> Vec<Place> {
    let description = lab.description();
    let process = |name: &str| description.pids.get(name).copied();
    let place = |name: String, pids: Vec<u32>, expects| Place {
        name,
        pids,
        files: Vec::new(),
        expects,
    };
    let server = |via: &str, expects| {
        let named = description.servers.get(via).map(|files| files.process.as_str());
        let master = named.and_then(process);
        let pids: Vec<u32> = master
            .into_iter()
            .chain(master.map(process::children).unwrap_or_default())
            .collect();
        place(
            format!("{}, {} processes", named.unwrap_or(via).replace('-', " "), pids.len()),
            pids,
            expects,
        )
    };
    let without_keys = description.servers.keys().filter(|via| *via != "file");
    let mut places: Vec<Place> = without_keys.map(|via| server(via, Expects::Nothing)).collect();
    places.push(place(
        "agent, supervisor, root helper".into(),
        ["agent", "supervisor", "apply"]
            .into_iter()
            .filter_map(process)
            .collect(),
        Expects::Nothing,
    ));
    places.push(Place {
        name: "logs, servers' files, /dev/shm".into(),
        pids: Vec::new(),
        files: vec![lab.place().logs(), lab.place().base(), "/dev/shm".into()],
        expects: Expects::Nothing,
    });
    places.push(Place {
        name: "sealed states, bundles".into(),
        pids: Vec::new(),
        files: ["sealed", "bundles"].map(|part| lab.place().replay().join(part)).into(),
        expects: Expects::Nothing,
    });
    places.push(place(
        "control: the service".into(),
        process("service").into_iter().collect(),
        Expects::All,
    ));
    let mut file = server("file", Expects::ImportedTls);
    file.name = format!("control: {}", file.name);
    places.push(file);
    places.push(Place {
        name: "control: the imported keys' files".into(),
        pids: Vec::new(),
        files: vec![lab.place().privates()],
        expects: Expects::Imported,
    });
    places
}

/// Born keys are sought by their public keys, imported ones by all that is known of them.
fn scan(lab: &Lab, keyscan: &Path, places: &[Place]) -> Result<Report> {
    let mut command = Command::new(keyscan);
    command.arg("--json");
    for key in &lab.description().keys {
        match &key.private_key {
            Some(path) => command.arg("--private-key").arg(path),
            None => command.arg("--public-key").arg(&key.public_key),
        };
    }
    for pid in places.iter().flat_map(|place| &place.pids) {
        command.arg("--pid").arg(pid.to_string());
    }
    for file in places.iter().flat_map(|place| &place.files) {
        command.arg("--file").arg(file);
    }
    // It also reports if it could not read something; that is judged place by place.
    let output = process::output(&mut command)?;
    serde_json::from_slice(&output.stdout).with_context(|| format!("keyscan: {}", process::text(&output.stderr)))
}

/// What `keyscan --json` prints, as far as it is used here.
#[derive(Deserialize)]
struct Report {
    keys: Vec<SearchedKey>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct SearchedKey {
    /// The stem of its file's name, which is its label.
    name: String,
    searched: Vec<String>,
}

#[derive(Deserialize)]
struct Target {
    pid: Option<u32>,
    name: String,
    bytes: u64,
    error: Option<String>,
    keys: Vec<TargetKey>,
}

#[derive(Deserialize)]
struct TargetKey {
    key: String,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    component: String,
}

impl Report {
    fn sought(&self, key: &Key) -> impl Iterator<Item = &str> {
        let found = self.keys.iter().filter(|searched| searched.name == key.label);
        found.flat_map(|searched| searched.searched.iter().map(String::as_str))
    }
}

impl Target {
    fn components(&self, key: &Key) -> impl Iterator<Item = &str> {
        let found = self.keys.iter().filter(|found| found.key == key.label);
        found.flat_map(|found| found.hits.iter().map(|hit| hit.component.as_str()))
    }
}
