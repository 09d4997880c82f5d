//! A directory that stays open, so that its files are reachable after a change of root or of user.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::fcntl_dupfd_cloexec;

/// An open directory, and what it was when it was opened.
pub(super) struct Directory {
    descriptor: OwnedFd,
    identity: (u64, u64),
}

impl Directory {
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
        let identity = identity(&descriptor)?;
        Some(Self { descriptor, identity })
    }

    /// The first `limit` bytes of a regular file, and one more where it is longer.
    ///
    /// A host that closes every descriptor it does not know has made the number mean something else: then there is no file.
    pub(super) fn read(&self, file: &Path, limit: usize) -> Option<Vec<u8>> {
        if identity(&self.descriptor)? != self.identity {
            return None;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        let opened = openat(&self.descriptor, file, flags, Mode::empty()).ok()?;
        let is_file = FileType::from_raw_mode(fstat(&opened).ok()?.st_mode) == FileType::RegularFile;
        let limit = limit.saturating_add(1);
        // Room for all of it at once: a vector that grows leaves copies of a secret behind.
        let mut bytes = Vec::with_capacity(limit);
        let mut file = File::from(opened).take(u64::try_from(limit).ok()?);
        (is_file && file.read_to_end(&mut bytes).is_ok()).then_some(bytes)
    }
}

fn identity(descriptor: &OwnedFd) -> Option<(u64, u64)> {
    fstat(descriptor).ok().map(|stat| (stat.st_dev, stat.st_ino))
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
