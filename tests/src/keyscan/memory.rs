//! The memory of a process, from `/proc/PID/{maps,pagemap,mem}`.
//!
//! Skipped is only what cannot hold a secret of the process: pages of a mapped file that are as they are in the file
//! (programs, libraries, certificates), anonymous pages that were never touched, and the kernel's own `[vvar]` and
//! `[vsyscall]`. Pages without access rights are read like all others. Everything else that cannot be read is reported.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::pages::PAGE;
use super::{Region, Snapshot, Unreadable};

/// Reads all memory of the process that may hold a secret.
pub(super) fn snapshot(pid: u32) -> Snapshot {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim_end()
        .to_owned();
    match Process::open(pid).and_then(|process| Ok((process.mappings()?, process))) {
        Ok((mappings, process)) => process.read(name, mappings),
        Err(error) => Snapshot::failed(name, Some(pid), error),
    }
}

struct Process {
    pid: u32,
    memory: File,
    pagemap: File,
}

impl Process {
    fn open(pid: u32) -> io::Result<Self> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        Ok(Self { pid, memory, pagemap })
    }

    fn mappings(&self) -> io::Result<Vec<Mapping>> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid))?;
        match maps.lines().map(Mapping::parse).collect::<Option<Vec<_>>>() {
            // A kernel thread, or a process that has just ended.
            Some(mappings) if mappings.is_empty() => Err(io::Error::other("the process has no memory")),
            Some(mappings) => Ok(mappings),
            None => Err(io::Error::other("/proc/PID/maps is not as proc(5) says")),
        }
    }

    fn read(&self, name: String, mappings: Vec<Mapping>) -> Snapshot {
        let mut reading = Reading::default();
        for mapping in &mappings {
            match self.wanted(mapping) {
                Ok(runs) => runs.into_iter().for_each(|run| self.read_run(run, &mut reading)),
                Err(error) => reading.fail(mapping.range.clone(), &error),
            }
        }
        // Pages of a process that ends cannot be told from pages that it gave back, so what was read is not all of it.
        let error = self
            .mappings()
            .err()
            .map(|error| format!("ended during the scan: {error}"));
        let parts = mappings
            .into_iter()
            .map(|mapping| (mapping.range.start, mapping.name))
            .collect();
        let Reading { regions, unreadable } = reading;
        Snapshot {
            name,
            pid: Some(self.pid),
            regions,
            parts,
            unreadable,
            error,
        }
    }

    /// The runs of pages of a mapping that are to be read.
    fn wanted(&self, mapping: &Mapping) -> io::Result<Vec<Range<u64>>> {
        match mapping.rule() {
            Rule::Nothing => Ok(Vec::new()),
            Rule::All => Ok(vec![mapping.range.clone()]),
            Rule::OwnPages => self.own_pages(&mapping.range),
        }
    }

    /// The pages that are the process's own: anonymous ones and private copies of a file's, in memory or swapped out.
    fn own_pages(&self, range: &Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut entries = [0; 8 * 4096];
        let mut page = range.start;
        while page < range.end {
            let pages = (range.end - page) / PAGE_SIZE;
            let len = usize::try_from(pages * 8).map_or(entries.len(), |len| len.min(entries.len()));
            self.pagemap.read_exact_at(&mut entries[..len], page / PAGE_SIZE * 8)?;
            for entry in entries[..len].as_chunks().0 {
                if is_own(u64::from_ne_bytes(*entry)) {
                    match runs.last_mut() {
                        Some(run) if run.end == page => run.end += PAGE_SIZE,
                        _ => runs.push(page..page + PAGE_SIZE),
                    }
                }
                page += PAGE_SIZE;
            }
        }
        Ok(runs)
    }

    fn read_run(&self, run: Range<u64>, reading: &mut Reading) {
        let mut buffer = vec![0; 256 * PAGE];
        let mut at = run.start;
        while at < run.end {
            let len = usize::try_from(run.end - at).map_or(buffer.len(), |len| len.min(buffer.len()));
            match self.memory.read_exact_at(&mut buffer[..len], at) {
                Ok(()) => reading.push(at, &buffer[..len]),
                Err(_) => self.read_page_by_page(at, &mut buffer[..len], reading),
            }
            at = at.saturating_add(bytes(len));
        }
    }

    fn read_page_by_page(&self, start: u64, buffer: &mut [u8], reading: &mut Reading) {
        for (at, page) in (start..).step_by(PAGE).zip(buffer.chunks_mut(PAGE)) {
            match self.memory.read_exact_at(page, at) {
                Ok(()) => reading.push(at, page),
                Err(_) if self.is_gone(at) => {}
                Err(error) => reading.fail(at..at + PAGE_SIZE, &error),
            }
        }
    }

    /// Whether the process has given the page back since its mappings were read.
    fn is_gone(&self, page: u64) -> bool {
        let Ok(mappings) = self.mappings() else { return true };
        match mappings.iter().find(|mapping| mapping.range.contains(&page)) {
            None => true,
            Some(mapping) => self
                .wanted(mapping)
                .is_ok_and(|runs| !runs.iter().any(|run| run.contains(&page))),
        }
    }
}

/// Bits of a pagemap entry (Documentation/admin-guide/mm/pagemap.rst): 63 in memory, 62 swapped out, 61 a page of a file
/// or of shared memory.
fn is_own(entry: u64) -> bool {
    entry & (1 << 63 | 1 << 62) != 0 && entry & (1 << 61) == 0
}

/// One line of `/proc/PID/maps`.
#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<u64>,
    shared_and_writable: bool,
    name: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Nothing,
    OwnPages,
    All,
}

impl Mapping {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let range = u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?;
        let rights = fields.next()?;
        let shared_and_writable = rights.get(1..2)? == "w" && rights.get(3..4)? == "s";
        let name = fields.nth(3).unwrap_or_default().trim_start().to_owned();
        Some(Self {
            range,
            shared_and_writable,
            name,
        })
    }

    fn rule(&self) -> Rule {
        if matches!(self.name.as_str(), "[vvar]" | "[vvar_vclock]" | "[vsyscall]") {
            return Rule::Nothing;
        }
        // Shared memory has no own pages, and no file that could be scanned in its place. (Anonymous shared memory,
        // memfd and System V segments are all named as deleted files.)
        let no_file = self.name.ends_with(" (deleted)") || self.name.starts_with("/dev/shm/");
        if no_file || self.shared_and_writable {
            Rule::All
        } else {
            Rule::OwnPages
        }
    }
}

#[derive(Default)]
struct Reading {
    regions: Vec<Region>,
    unreadable: Vec<Unreadable>,
}

impl Reading {
    fn push(&mut self, start: u64, page: &[u8]) {
        match self.regions.last_mut() {
            Some(last) if last.start + bytes(last.bytes.len()) == start => last.bytes.extend_from_slice(page),
            _ => self.regions.push(Region {
                start,
                bytes: page.to_vec(),
            }),
        }
    }

    fn fail(&mut self, range: Range<u64>, error: &io::Error) {
        let error = error.to_string();
        match self.unreadable.last_mut() {
            Some(last) if last.end == range.start && last.error == error => last.end = range.end,
            _ => self.unreadable.push(Unreadable {
                start: range.start,
                end: range.end,
                error,
            }),
        }
    }
}

/// A length in memory as a distance between addresses: on every platform of ours a `usize` is a `u64`.
fn bytes(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

const PAGE_SIZE: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(line: &str) -> Mapping {
        Mapping::parse(line).unwrap()
    }

    #[test]
    fn lines_of_maps() {
        let heap = mapping("55a0c0000000-55a0c0021000 rw-p 00000000 00:00 0                          [heap]");
        assert_eq!(heap.range, 0x55a0_c000_0000..0x55a0_c002_1000);
        assert_eq!((heap.name.as_str(), heap.rule()), ("[heap]", Rule::OwnPages));
        let anonymous = mapping("7f0000000000-7f0000001000 ---p 00000000 00:00 0 ");
        assert_eq!((anonymous.name.as_str(), anonymous.rule()), ("", Rule::OwnPages));
        let library = mapping("7f0000000000-7f0000001000 r-xp 0001f000 fe:00 1234        /usr/lib/a b.so");
        assert_eq!(
            (library.name.as_str(), library.rule()),
            ("/usr/lib/a b.so", Rule::OwnPages)
        );
        for all in [
            "7f0000000000-7f0000001000 rw-s 00000000 00:01 2050       /dev/zero (deleted)",
            "7f0000000000-7f0000001000 r--s 00000000 00:01 2050       /memfd:x (deleted)",
            "7f0000000000-7f0000001000 r--p 00000000 00:19 2050       /dev/shm/x",
            "7f0000000000-7f0000001000 rw-s 00000000 fe:00 2050       /var/cache/x",
        ] {
            assert_eq!(mapping(all).rule(), Rule::All, "{all}");
        }
        let kernel = mapping("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0          [vsyscall]");
        assert_eq!(kernel.rule(), Rule::Nothing);
        assert_eq!(Mapping::parse("hello"), None);
    }

    #[test]
    fn own_memory_is_read_and_a_process_that_is_not_there_is_an_error() {
        let secret = std::hint::black_box(vec![0x5a_u8; 3 * PAGE]);
        let snapshot = snapshot(std::process::id());
        assert_eq!(snapshot.error, None);
        let address = secret.as_ptr().addr() as u64;
        let region = snapshot.regions.iter().find(|region| {
            region.start <= address && address + 3 * PAGE_SIZE <= region.start + bytes(region.bytes.len())
        });
        let offset = usize::try_from(address - region.unwrap().start).unwrap();
        assert_eq!(region.unwrap().bytes[offset..][..3 * PAGE], secret);
        assert!(super::snapshot(u32::MAX).error.is_some());
    }
}
