//! `/etc/nitro_enclaves/allocator.yaml`: what is reserved for enclaves when the instance starts.
//!
//! Not YAML in general: the lines that the allocator's own file has, one pool or a list of pools with the keys `memory_mib`,
//! `cpu_count` and `cpu_pool`. What is written otherwise is refused with its line, and never guessed at.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use super::cpus::parse_list;
use super::finding::{Finding, Remedy};
use super::root::Root;
use crate::cli::RunOptions;

/// All of its pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocator {
    pub pools: Vec<Pool>,
}

/// Memory, and CPUs of one NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub memory_mib: u64,
    pub cpus: Cpus,
}

/// Which CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// So many, chosen by the allocator.
    Count(u32),
    /// These.
    Pool(BTreeSet<u32>),
}

impl Allocator {
    pub fn parse(text: &str) -> Result<Self, AllocatorError> {
        let mut open: Vec<Open> = Vec::new();
        let mut listed = false;
        for (index, line) in text.lines().enumerate() {
            let number = index.saturating_add(1);
            let content = line.split('#').next().unwrap_or_default();
            let (item, content) = match content.trim().strip_prefix("- ") {
                Some(rest) => (true, rest.trim()),
                None => (false, content.trim()),
            };
            if content.is_empty() || content == "---" {
                continue;
            }
            if item || open.is_empty() {
                listed |= item;
                open.push(Open::default());
            }
            // A key at the margin below a list belongs to nothing.
            let misplaced = listed && !item && !line.starts_with([' ', '\t']);
            let Some(pool) = open.last_mut().filter(|_| !misplaced) else {
                return Err(AllocatorError::Line {
                    number,
                    what: "it belongs to no pool",
                });
            };
            pool.take(content)
                .map_err(|what| AllocatorError::Line { number, what })?;
        }
        let pools = open.into_iter().map(Open::close).collect::<Result<Vec<_>, _>>()?;
        match pools.is_empty() {
            true => Err(AllocatorError::Empty),
            false => Ok(Self { pools }),
        }
    }

    pub fn memory_mib(&self) -> u64 {
        self.pools
            .iter()
            .fold(0, |sum, pool| sum.saturating_add(pool.memory_mib))
    }

    pub fn cpus(&self) -> u32 {
        self.pools
            .iter()
            .fold(0, |sum, pool| sum.saturating_add(pool.cpus.count()))
    }
}

impl Cpus {
    fn count(&self) -> u32 {
        match self {
            Self::Count(count) => *count,
            Self::Pool(cpus) => u32::try_from(cpus.len()).unwrap_or(u32::MAX),
        }
    }
}

/// Whether it exists and reserves enough for the wanted enclave alone.
pub(super) fn findings(root: &Root, wanted: &RunOptions) -> Vec<Finding> {
    let text = match root.read(FILE) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let install = Remedy::run(
                "dnf install aws-nitro-enclaves-cli && systemctl enable --now nitro-enclaves-allocator.service",
            );
            return vec![Finding::bad(SUBJECT, format!("there is no {FILE}"), install)];
        }
        Err(error) => {
            return vec![Finding::doubtful(
                SUBJECT,
                format!("{FILE} cannot be read: {error}"),
                Remedy::run(format!("chmod 0644 {FILE}")),
            )];
        }
    };
    let allocator = match Allocator::parse(&text) {
        Ok(allocator) => allocator,
        Err(error) => {
            return vec![Finding::bad(
                SUBJECT,
                format!("{FILE}: {error}"),
                Remedy::allocator("correct it"),
            )];
        }
    };
    let memory = (allocator.memory_mib() < wanted.memory_mib).then(|| {
        let found = format!(
            "{} MiB are reserved, the enclave needs {}",
            allocator.memory_mib(),
            wanted.memory_mib
        );
        Finding::bad(
            SUBJECT,
            found,
            Remedy::allocator(&format!("set memory_mib: {}", wanted.memory_mib.max(LEAST_MEMORY))),
        )
    });
    let cpus = (allocator.cpus() < wanted.cpus).then(|| {
        let found = format!(
            "{} CPUs are reserved, the enclave needs {}",
            allocator.cpus(),
            wanted.cpus
        );
        Finding::bad(
            SUBJECT,
            found,
            Remedy::allocator(&format!("set cpu_count: {} (and remove cpu_pool)", wanted.cpus)),
        )
    });
    let bad: Vec<Finding> = memory.into_iter().chain(cpus).collect();
    match bad.is_empty() {
        true => {
            let found = format!(
                "{} MiB and {} CPUs are reserved for enclaves",
                allocator.memory_mib(),
                allocator.cpus()
            );
            vec![Finding::good(SUBJECT, found)]
        }
        false => bad,
    }
}

/// Why it is not understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllocatorError {
    Line {
        number: usize,
        what: &'static str,
    },
    /// A pool without one of its keys, or with both kinds of CPUs.
    Memory,
    Cpus,
    Empty,
}

impl fmt::Display for AllocatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { number, what } => write!(f, "line {number}: {what}"),
            Self::Memory => f.write_str("a pool has no memory_mib"),
            Self::Cpus => f.write_str("a pool needs cpu_count or cpu_pool, and not both"),
            Self::Empty => f.write_str("it reserves nothing"),
        }
    }
}

impl std::error::Error for AllocatorError {}

/// A pool whose lines are still being read.
#[derive(Default)]
struct Open {
    memory_mib: Option<u64>,
    count: Option<u32>,
    pool: Option<BTreeSet<u32>>,
}

impl Open {
    fn take(&mut self, content: &str) -> Result<(), &'static str> {
        let (key, value) = content.split_once(':').ok_or("it is no `key: value`")?;
        let value = value.trim().trim_matches('"');
        let taken = match key.trim() {
            "memory_mib" => self
                .memory_mib
                .replace(value.parse().map_err(|_| "memory_mib is no number")?)
                .is_some(),
            "cpu_count" => self
                .count
                .replace(value.parse().map_err(|_| "cpu_count is no number")?)
                .is_some(),
            "cpu_pool" => self
                .pool
                .replace(parse_list(value).ok_or("cpu_pool is no list as 2,3,6-9")?)
                .is_some(),
            _ => return Err("the key is not memory_mib, cpu_count or cpu_pool"),
        };
        if taken {
            Err("the key stands there twice")
        } else {
            Ok(())
        }
    }

    fn close(self) -> Result<Pool, AllocatorError> {
        let cpus = match (self.count, self.pool) {
            (Some(count), None) => Cpus::Count(count),
            (None, Some(pool)) => Cpus::Pool(pool),
            (None, None) | (Some(_), Some(_)) => return Err(AllocatorError::Cpus),
        };
        Ok(Pool {
            memory_mib: self.memory_mib.ok_or(AllocatorError::Memory)?,
            cpus,
        })
    }
}

pub(super) const FILE: &str = "/etc/nitro_enclaves/allocator.yaml";
pub(super) const RESTART: &str = "systemctl restart nitro-enclaves-allocator.service (while no enclave runs)";
const SUBJECT: &str = "allocator";
/// As the file is delivered: less saves nothing that an instance would miss.
const LEAST_MEMORY: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_its_own_file_are_read() {
        let one =
            Allocator::parse("---\n# Enclave configuration file.\nmemory_mib: 512\n#\ncpu_count: 2 # cores\n").unwrap();
        assert_eq!((one.memory_mib(), one.cpus()), (512, 2));
        let listed =
            Allocator::parse("- memory_mib: 512\n  cpu_count: 2\n- memory_mib: 256\n  cpu_pool: \"2,3,6-9\"\n")
                .unwrap();
        assert_eq!((listed.memory_mib(), listed.cpus(), listed.pools.len()), (768, 8, 2));
    }

    #[test]
    fn what_is_written_otherwise_is_refused_with_its_line() {
        for (text, wanted) in [
            ("", "reserves nothing"),
            ("memory_mib: 512", "cpu_count or cpu_pool"),
            ("memory_mib: 512\ncpu_count: 2\ncpu_pool: 1-3", "not both"),
            ("cpu_count: 2", "no memory_mib"),
            (
                "memory_mib: 512\nmemory_mib: 512\ncpu_count: 2",
                "line 2: the key stands there twice",
            ),
            ("memory_mib: lots\ncpu_count: 2", "line 1: memory_mib is no number"),
            ("memory_mib: 512\ncpu_pool: 3-1", "line 2: cpu_pool"),
            ("memory: 512", "line 1: the key is not"),
            ("memory_mib 512", "line 1: it is no"),
            (
                "- memory_mib: 512\n  cpu_count: 2\ncpu_count: 2",
                "line 3: it belongs to no pool",
            ),
        ] {
            let error = Allocator::parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text:?}: {error}");
        }
    }
}
