//! A directory that stays open, so that its files are reachable after a change of root or of user.

use std::fs::File;
use std::io::Read;
use std::os::fd::RawFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::fcntl_dupfd_cloexec;

use crate::descriptor::Descriptor;

/// An open directory.
pub(super) struct Directory(Descriptor);

impl Directory {
    /// Its number, as long as that means this directory.
    pub(super) fn number(&self) -> Option<RawFd> {
        self.0.number()
    }

    /// The directory that a file is in.
    pub(super) fn of(file: &Path) -> Option<Self> {
        let parent = match file.parent()? {
            here if here.as_os_str().is_empty() => Path::new("."),
            parent => parent,
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, parent, flags, Mode::empty()).ok()?;
        // Numbers 0 to 2 are the host's: a daemon that had closed them would open /dev/null over this.
        let descriptor = fcntl_dupfd_cloexec(&opened, 3).ok()?;
        Some(Self(Descriptor::new(descriptor)?))
    }

    /// The first `limit` bytes of a regular file, and one more where it is longer.
    pub(super) fn read(&self, file: &Path, limit: usize) -> Option<Vec<u8>> {
        self.open(file)?.read(limit)
    }

    /// A regular file.
    ///
    /// A host that closes every descriptor it does not know has made the number mean something else: then there is no file.
    pub(super) fn open(&self, file: &Path) -> Option<Opened> {
        self.number()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = openat(&self.0, file, flags, Mode::empty()).ok()?;
        let stat = fstat(&opened).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        is_file.then(|| Opened {
            file: File::from(opened),
            stamp: Stamp::of(&stat),
        })
    }
}

/// A regular file that is open.
pub(super) struct Opened {
    file: File,
    stamp: Stamp,
}

impl Opened {
    /// Which file it is, and in which state.
    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// Its first `limit` bytes, and one more where it is longer.
    pub(super) fn read(self, limit: usize) -> Option<Vec<u8>> {
        let limit = limit.saturating_add(1);
        // Room for all of it at once: a vector that grows leaves copies of a secret behind.
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(limit).ok()?;
        let mut file = self.file.take(u64::try_from(limit).ok()?);
        file.read_to_end(&mut bytes).is_ok().then_some(bytes)
    }
}

/// Tells one state of a file from another without reading it. A file that another was renamed over has another number; one that is written
/// in place has another time, unless that happens twice in one tick of the kernel's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    file: (u64, u64),
    changed: (i64, u64),
    length: i64,
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
            length: stat.st_size,
        }
    }

    /// The length of the file, in bytes.
    pub(super) fn length(&self) -> Option<usize> {
        usize::try_from(self.length).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_through_the_directory() {
        let directory = Directory::of(Path::new("/proc/self/status")).unwrap();
        assert!(directory.read(Path::new("nonexistent"), 10).is_none());
        assert!(directory.read(Path::new("/dev/zero"), 10).is_none(), "no regular file");
        let directory = Directory::of(Path::new("/etc/passwd")).unwrap();
        assert_eq!(directory.read(Path::new("passwd"), 4).unwrap().len(), 5);
        assert!(directory.read(Path::new("."), 4).is_none());
    }
}
