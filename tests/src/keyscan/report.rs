//! What a scan found, for people and as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Found, Key, Order, Snapshot};

/// The result of a scan.
#[derive(Debug, Serialize)]
pub struct Report {
    /// How long the scan took.
    pub seconds: f64,
    /// What was looked for.
    pub keys: Vec<SearchedKey>,
    /// Where, in the order given.
    pub targets: Vec<TargetReport>,
}

impl Report {
    /// Whether every target could be read, up to single pages.
    pub fn is_complete(&self) -> bool {
        self.targets.iter().all(|target| target.error.is_none())
    }
}

/// A key that was looked for.
#[derive(Debug, Serialize)]
pub struct SearchedKey {
    /// The name it was given.
    pub name: String,
    /// `RSA-2048`, `P-256`, …
    pub algorithm: String,
    /// The components and encodings that would have been found.
    pub searched: Vec<&'static str>,
}

/// What was found in one process or file.
#[derive(Debug, Serialize)]
pub struct TargetReport {
    /// The process, or none for a file.
    pub pid: Option<u32>,
    /// Command name or path.
    pub name: String,
    /// How many bytes were looked through.
    pub bytes: usize,
    /// Why it could not be read (wholly); then no hit means nothing.
    pub error: Option<String>,
    /// Pages that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// One entry for each key.
    pub keys: Vec<KeyReport>,
}

/// What was found of one key in one target.
#[derive(Debug, Serialize)]
pub struct KeyReport {
    /// The name of the key.
    pub key: String,
    /// Whether there is any hit.
    pub found: bool,
    /// One entry for each component and byte order that was found.
    pub hits: Vec<Hit>,
}

/// A component of a key, found at least once.
#[derive(Debug, Serialize)]
pub struct Hit {
    /// `factor`, `scalar`, `d`, `PKCS#8 DER`, …
    pub component: &'static str,
    /// In which byte order.
    pub order: Order,
    /// How many times.
    pub count: usize,
    /// The first places.
    pub places: Vec<Place>,
}

/// Where a component was found.
#[derive(Debug, Serialize)]
pub struct Place {
    /// The address in the process or the offset in the file.
    #[serde(serialize_with = "hexadecimal")]
    pub address: u64,
    /// `[heap]`, a mapped file, or empty.
    pub part: String,
}

/// Pages that could not be read.
#[derive(Debug, Serialize)]
pub struct Unreadable {
    /// The first address.
    #[serde(serialize_with = "hexadecimal")]
    pub start: u64,
    /// The address behind the last.
    #[serde(serialize_with = "hexadecimal")]
    pub end: u64,
    /// What the kernel said.
    pub error: String,
}

/// Collects what the searches find.
pub(super) struct Findings<'a> {
    keys: &'a [Key],
    targets: Vec<TargetReport>,
    parts: Vec<Vec<(u64, String)>>,
    /// By target, key, component and order. A set: searches overlap at the edges of pages.
    addresses: BTreeMap<(usize, usize, &'static str, Order), BTreeSet<u64>>,
}

impl<'a> Findings<'a> {
    pub(super) fn new(keys: &'a [Key]) -> Self {
        Self {
            keys,
            targets: Vec::new(),
            parts: Vec::new(),
            addresses: BTreeMap::new(),
        }
    }

    /// Adds the next target. What was found in it may have been added before.
    pub(super) fn add_target(&mut self, snapshot: Snapshot) {
        let report = |key: &Key| KeyReport {
            key: key.name().to_owned(),
            found: false,
            hits: Vec::new(),
        };
        self.parts.push(snapshot.parts);
        self.targets.push(TargetReport {
            pid: snapshot.pid,
            name: snapshot.name,
            bytes: snapshot.regions.iter().map(|region| region.bytes.len()).sum(),
            error: snapshot.error,
            unreadable: snapshot.unreadable,
            keys: self.keys.iter().map(report).collect(),
        });
    }

    /// Something found at an offset from `base`.
    pub(super) fn add(&mut self, target: usize, base: u64, found: &Found) {
        let address = base + u64::try_from(found.offset).unwrap_or(u64::MAX - base);
        self.addresses
            .entry((target, found.key, found.component, found.order))
            .or_default()
            .insert(address);
    }

    pub(super) fn report(mut self, took: Duration) -> Report {
        for ((target, key, component, order), addresses) in self.addresses {
            let parts = &self.parts[target];
            let place = |address: &u64| Place {
                address: *address,
                part: part_at(parts, *address),
            };
            let places = addresses.iter().take(MAX_PLACES).map(place).collect();
            let report = &mut self.targets[target].keys[key];
            report.found = true;
            report.hits.push(Hit {
                component,
                order,
                count: addresses.len(),
                places,
            });
        }
        let keys = self.keys.iter().map(|key| SearchedKey {
            name: key.name().to_owned(),
            algorithm: key.algorithm(),
            searched: key.searched(),
        });
        Report {
            seconds: took.as_secs_f64(),
            keys: keys.collect(),
            targets: self.targets,
        }
    }
}

fn part_at(parts: &[(u64, String)], address: u64) -> String {
    let behind = parts.partition_point(|(start, _)| *start <= address);
    behind
        .checked_sub(1)
        .map(|index| parts[index].1.clone())
        .unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .targets
            .iter()
            .map(|target| target.to_string().len())
            .max()
            .unwrap_or(0);
        let key_width = self.keys.iter().map(|key| key.name.len()).max().unwrap_or(0);
        for target in &self.targets {
            for key in &target.keys {
                writeln!(f, "{:width$}  {:key_width$}  {key}", target.to_string(), key.key)?;
            }
            for pages in &target.unreadable {
                let Unreadable { start, end, error } = pages;
                writeln!(
                    f,
                    "{:width$}  {start:#x}-{end:#x} could not be read: {error}",
                    target.to_string()
                )?;
            }
            if let Some(error) = &target.error {
                writeln!(f, "{:width$}  could not be read: {error}", target.to_string())?;
            }
        }
        for key in self.keys.iter().filter(|key| key.searched.is_empty()) {
            writeln!(f, "{} ({}) cannot be found by its public key", key.name, key.algorithm)?;
        }
        let bytes: usize = self.targets.iter().map(|target| target.bytes).sum();
        writeln!(
            f,
            "{} keys, {} targets, {} KiB, {:.1} s",
            self.keys.len(),
            self.targets.len(),
            bytes / 1024,
            self.seconds
        )
    }
}

impl fmt::Display for TargetReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} ({pid})", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for KeyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.found {
            return f.write_str("-");
        }
        f.write_str("FOUND")?;
        for (index, hit) in self.hits.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let order = match hit.order {
                Order::Big => "big",
                Order::Little => "little",
            };
            write!(f, "{comma} {} ({order}) ×{}", hit.component, hit.count)?;
            if let Some(place) = hit.places.first() {
                write!(f, " at {:#x} {}", place.address, place.part)?;
            }
        }
        Ok(())
    }
}

fn hexadecimal<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{address:#x}"))
}

/// Enough to look at; the count tells the rest.
const MAX_PLACES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_by_the_mapping_they_are_in() {
        let parts = [(0x1000, "a".to_owned()), (0x5000, "b".to_owned())];
        assert_eq!(part_at(&parts, 0x4fff), "a");
        assert_eq!(part_at(&parts, 0x5000), "b");
        assert_eq!(part_at(&parts, 0xfff), "");
    }
}
