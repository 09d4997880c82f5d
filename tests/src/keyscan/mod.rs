//! Finds private keys in the memory of processes and in files.
//!
//! Of a *born* key only the public key is known, and that is enough: a window of memory that divides an RSA modulus is
//! a factor of it (`factor`), and a window d with d·G = Q is an EC scalar (`scalar`). Windows begin at every byte,
//! are read in both byte orders, and may be skipped if they have fewer than 20 distinct bytes. Of an *imported* key all
//! components and encodings are searched for as they are (`known`). An Ed25519 key can only be found as a known one.
//!
//! What is not seen: a page of a file that is mapped and unchanged (`memory` has the exact rule; give the file as a
//! target), a secret in parts or transformed (masked, in Montgomery form), and whatever changes during the scan.
//!
//! Forked processes share most of their pages. Equal pages are searched once, see `pages`.

mod factor;
mod files;
mod key;
mod known;
mod memory;
mod pages;
mod private;
mod report;
mod scalar;
#[cfg(test)]
mod testkeys;
mod windows;

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

pub use key::{Key, KeyError};
pub use report::{Hit, KeyReport, Place, Report, SearchedKey, TargetReport, Unreadable};

use known::KnownSearch;
use pages::Pages;
use report::Findings;

/// What to look through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The memory of a process.
    Process(u32),
    /// A file, or all regular files under a directory.
    Path(PathBuf),
}

/// Looks through all targets for all keys. A target that cannot be read says so in its report.
pub fn scan(keys: &[Key], targets: &[Target]) -> Report {
    let began = Instant::now();
    let known = KnownSearch::new(keys);
    let searches = key::window_searches(keys);
    let overlap = searches.iter().map(|search| search.window_len() - 1).max().unwrap_or(0);

    let mut pages = Pages::new(overlap);
    let mut findings = Findings::new(keys);
    for (target, snapshot) in targets.iter().flat_map(snapshots).enumerate() {
        for region in &snapshot.regions {
            for found in known.search(&region.bytes) {
                findings.add(target, region.start, &found);
            }
            pages.add(target, region.start, &region.bytes);
        }
        findings.add_target(snapshot);
    }
    pages.search(&searches, |place, found| {
        findings.add(place.target, place.address, &found)
    });
    findings.report(began.elapsed())
}

/// The readable part of one target.
#[derive(Debug)]
struct Snapshot {
    /// What the target is called in the report.
    name: String,
    pid: Option<u32>,
    /// Contiguous stretches, in order.
    regions: Vec<Region>,
    /// Where each named part begins, in order: `[heap]`, `/usr/sbin/nginx`, …
    parts: Vec<(u64, String)>,
    unreadable: Vec<Unreadable>,
    /// Why nothing of the target could be read.
    error: Option<String>,
}

impl Snapshot {
    fn failed(name: String, pid: Option<u32>, error: impl ToString) -> Self {
        let error = Some(error.to_string());
        Self {
            name,
            pid,
            regions: Vec::new(),
            parts: Vec::new(),
            unreadable: Vec::new(),
            error,
        }
    }
}

#[derive(Debug)]
struct Region {
    start: u64,
    bytes: Vec<u8>,
}

fn snapshots(target: &Target) -> Vec<Snapshot> {
    match target {
        Target::Process(pid) => vec![memory::snapshot(*pid)],
        Target::Path(path) => files::snapshots(path),
    }
}

/// A search through windows of memory that needs only public keys.
trait WindowSearch: Sync {
    fn window_len(&self) -> usize;
    fn search(&self, bytes: &[u8], found: &mut Vec<Found>);
}

/// A component of a key at an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// Index of the key.
    key: usize,
    component: &'static str,
    order: Order,
    offset: usize,
}

/// The order of the bytes of a number. Encodings and Ed25519 seeds have only one, which is called big.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Most significant byte first, as in DER.
    Big,
    /// Least significant byte first, as in memory.
    Little,
}

impl Order {
    /// These big-endian bytes in this order.
    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Big => bytes.to_vec(),
            Self::Little => bytes.iter().rev().copied().collect(),
        }
    }
}
