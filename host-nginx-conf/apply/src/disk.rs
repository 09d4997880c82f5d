//! Directories that are ours, and files that a reader sees whole or not at all.
//!
//! Everything is reached by `openat` from one directory to the next, through no symbolic link, and only through directories that
//! nobody but root and this process's user can change.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, fchmod, fchown, fstat, fsync, mkdirat, openat, readlinkat, renameat,
    symlinkat, syncfs, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, geteuid};
use zeroize::Zeroizing;

/// An open directory.
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// Who may read a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Readers {
    /// Everybody: it says where things are, and no secret.
    All,
    /// Its owner.
    Owner,
    /// Its owner and this group.
    Group(Gid),
}

/// What is wrong with the disk.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// The system refused.
    System {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Others can change what is in this directory, or there is something else in its place.
    NotOurs(PathBuf),
    /// A file is longer than any that was written here.
    TooLong(PathBuf),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { doing, path, source } => write!(f, "cannot {doing} {}: {source}", path.display()),
            Self::NotOurs(path) => write!(
                f,
                "{} is no directory that only root can change; see who made it, then move it away, or chown root and chmod 755",
                path.display()
            ),
            Self::TooLong(path) => write!(f, "{} is not of this program; move it away", path.display()),
        }
    }
}

impl Folder {
    /// Opens a directory, and makes it where there is none. Its parents are the administrator's, and so is its mode where it is there.
    pub(crate) fn open(path: &Path) -> Result<Self, DiskError> {
        match Self::existing_at(CWD, path, path.to_owned()) {
            Err(DiskError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Self::make(CWD, path, path.to_owned(), PUBLIC)
            }
            outcome => outcome,
        }
    }

    /// A directory in this one that everybody can read, made where there is none.
    pub(crate) fn enter(&self, name: &str) -> Result<Self, DiskError> {
        Self::make(&self.descriptor, Path::new(name), self.path.join(name), PUBLIC)
    }

    /// A directory in this one that only its owner can read, made where there is none.
    pub(crate) fn enter_private(&self, name: &str) -> Result<Self, DiskError> {
        Self::make(&self.descriptor, Path::new(name), self.path.join(name), PRIVATE)
    }

    /// A directory in this one, if it is there.
    pub(crate) fn existing(&self, name: &str) -> Result<Option<Self>, DiskError> {
        match Self::existing_at(&self.descriptor, Path::new(name), self.path.join(name)) {
            Err(DiskError::System { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    fn make(at: impl rustix::fd::AsFd, name: &Path, path: PathBuf, mode: u32) -> Result<Self, DiskError> {
        let folder = Self::make_if_absent(at, name, path, mode)?;
        let stat = fstat(&folder.descriptor).map_err(|error| folder.failed("look at", error))?;
        // Whatever the umask said when it was made, and whoever was killed before the mode was set.
        if stat.st_mode & MODE != mode {
            let outcome = fchmod(&folder.descriptor, Mode::from_raw_mode(mode));
            outcome.map_err(|error| folder.failed("set the mode of", error))?;
        }
        Ok(folder)
    }

    fn make_if_absent(at: impl rustix::fd::AsFd, name: &Path, path: PathBuf, mode: u32) -> Result<Self, DiskError> {
        match mkdirat(&at, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => Self::existing_at(at, name, path),
            Err(error) => Err(system("make", &path, error)),
        }
    }

    fn existing_at(at: impl rustix::fd::AsFd, name: &Path, path: PathBuf) -> Result<Self, DiskError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = match openat(at, name, flags, Mode::empty()) {
            Ok(descriptor) => descriptor,
            // A symbolic link, or no directory.
            Err(Errno::LOOP | Errno::NOTDIR) => return Err(DiskError::NotOurs(path)),
            Err(error) => return Err(system("open", &path, error)),
        };
        let stat = fstat(&descriptor).map_err(|error| system("look at", &path, error))?;
        let owner_is_trusted = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
        if !owner_is_trusted || stat.st_mode & WRITABLE_BY_OTHERS != 0 {
            return Err(DiskError::NotOurs(path));
        }
        Ok(Self { descriptor, path })
    }

    /// The path of something in this directory, for messages.
    pub(crate) fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Puts a file in place of what was there, so that it stays after a loss of power. Owner, group and mode are set before there is anything in it.
    pub(crate) fn write(&self, name: &str, contents: &[u8], readers: Readers) -> Result<(), DiskError> {
        self.place(name, contents, readers, true)?;
        self.sync()
    }

    /// As [`write`](Self::write), where the same is not there already.
    pub(crate) fn write_if_other(&self, name: &str, contents: &[u8], readers: Readers) -> Result<(), DiskError> {
        match self.read(name, contents.len()) {
            Ok(Some(old)) if *old == contents => Ok(()),
            Ok(_) | Err(DiskError::TooLong(_)) => self.write(name, contents, readers),
            Err(error) => Err(error),
        }
    }

    /// As [`write`](Self::write), but for a loss of power: [`sync_all`](Self::sync_all) comes later, once for many files.
    pub(crate) fn write_unsynced(&self, name: &str, contents: &[u8], readers: Readers) -> Result<(), DiskError> {
        self.place(name, contents, readers, false)
    }

    fn place(&self, name: &str, contents: &[u8], readers: Readers, durable: bool) -> Result<(), DiskError> {
        let temporary = temporary(name);
        self.remove(&temporary)?;
        let outcome = self
            .fill(&temporary, contents, readers, durable)
            .and_then(|()| renameat(&self.descriptor, &temporary, &self.descriptor, name).map_err(io::Error::from));
        outcome.map_err(|source| {
            // Best effort: the next writer removes it too.
            drop(self.remove(&temporary));
            system("write", &self.path_of(name), source)
        })
    }

    fn fill(&self, name: &str, contents: &[u8], readers: Readers, durable: bool) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600))?);
        let mode = match readers {
            Readers::All => 0o644,
            Readers::Owner => 0o600,
            Readers::Group(group) => {
                if fstat(&file)?.st_gid != group.as_raw() {
                    fchown(&file, None, Some(group))?;
                }
                0o640
            }
        };
        fchmod(&file, Mode::from_raw_mode(mode))?;
        file.write_all(contents)?;
        if durable { file.sync_all() } else { Ok(()) }
    }

    /// Reads a regular file. None where there is none.
    pub(crate) fn read(&self, name: &str, max: usize) -> Result<Option<Zeroizing<Vec<u8>>>, DiskError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match openat(&self.descriptor, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed_at("open", name, error)),
        };
        let stat = fstat(&file).map_err(|error| self.failed_at("look at", name, error))?;
        let length = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || length > max {
            return Err(DiskError::TooLong(self.path_of(name)));
        }
        // Room for all of it at once: a vector that grows leaves copies of a secret behind.
        let mut contents = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
        file.take(u64::try_from(length).unwrap_or(u64::MAX))
            .read_to_end(&mut contents)
            .map_err(|source| system("read", &self.path_of(name), source))?;
        Ok(Some(contents))
    }

    /// Makes a symbolic link, in place of the one that was there.
    pub(crate) fn link(&self, name: &str, target: &str) -> Result<(), DiskError> {
        let temporary = temporary(name);
        self.remove(&temporary)?;
        symlinkat(target, &self.descriptor, &temporary)
            .and_then(|()| renameat(&self.descriptor, &temporary, &self.descriptor, name))
            .map_err(|error| self.failed_at("link", name, error))
    }

    /// Where a symbolic link points. None where there is none.
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<String>, DiskError> {
        match readlinkat(&self.descriptor, name, Vec::new()) {
            Ok(target) => Ok(target.into_string().ok()),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(self.failed_at("read", name, error)),
        }
    }

    /// Gives a directory in this one another name.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        renameat(&self.descriptor, from, &self.descriptor, to).map_err(|error| self.failed_at("rename", from, error))
    }

    /// Removes a file or a link, if it is there.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DiskError> {
        match unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.failed_at("remove", name, error)),
        }
    }

    /// Removes a directory in this one and the files in it, if it is there.
    pub(crate) fn remove_folder(&self, name: &str) -> Result<(), DiskError> {
        let Some(folder) = self.existing(name)? else {
            return Ok(());
        };
        for file in folder.names()? {
            folder.remove(&file)?;
        }
        unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR).map_err(|error| self.failed_at("remove", name, error))
    }

    /// The names of what is in it, sorted; those that are no UTF-8 are not ours.
    pub(crate) fn names(&self) -> Result<Vec<String>, DiskError> {
        let failed = |error| self.failed("list", error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.descriptor).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().to_str()
                && !matches!(name, "." | "..")
            {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Names in it outlive a loss of power.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        fsync(&self.descriptor).map_err(|error| self.failed("write", error))
    }

    /// All that was written to its file system outlives a loss of power. For a thousand files it takes a fraction of the time of
    /// as many `fsync`.
    pub(crate) fn sync_all(&self) -> Result<(), DiskError> {
        syncfs(&self.descriptor).map_err(|error| self.failed("write", error))
    }

    /// For a lock.
    pub(crate) fn open_lock(&self, name: &str) -> Result<OwnedFd, DiskError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600))
            .map_err(|error| self.failed_at("open", name, error))
    }

    fn failed(&self, doing: &'static str, error: Errno) -> DiskError {
        system(doing, &self.path, error)
    }

    fn failed_at(&self, doing: &'static str, name: &str, error: Errno) -> DiskError {
        system(doing, &self.path_of(name), error)
    }
}

fn system(doing: &'static str, path: &Path, error: impl Into<io::Error>) -> DiskError {
    DiskError::System {
        doing,
        path: path.to_owned(),
        source: error.into(),
    }
}

/// One name for each file, so that what a killed process leaves behind is found again. No [`Name`](enclave_wire::Name) begins with a dot.
fn temporary(name: &str) -> String {
    format!(".{name}.new")
}

const PUBLIC: u32 = 0o755;
const PRIVATE: u32 = 0o700;
const MODE: u32 = 0o7777;
const WRITABLE_BY_OTHERS: u32 = 0o022;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::state::tests::Scratch;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn files_have_their_mode_and_are_replaced() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.path).unwrap().enter("a").unwrap();
        folder.write("all", b"1", Readers::All).unwrap();
        folder.write("all", b"2", Readers::All).unwrap();
        folder.write("owner", b"", Readers::Owner).unwrap();
        let own = Gid::from_raw(std::os::unix::fs::MetadataExt::gid(
            &std::fs::metadata(&scratch.path).unwrap(),
        ));
        folder.write("group", b"", Readers::Group(own)).unwrap();
        let modes = ["a", "a/all", "a/owner", "a/group"].map(|name| mode(&scratch.path.join(name)));
        assert_eq!(modes, [0o755, 0o644, 0o600, 0o640]);
        assert_eq!(**folder.read("all", 1).unwrap().unwrap(), *b"2");
        assert!(folder.read("none", 1).unwrap().is_none());
        assert!(matches!(folder.read("all", 0), Err(DiskError::TooLong(_))));
        assert_eq!(folder.names().unwrap(), ["all", "group", "owner"]);
    }

    #[test]
    fn a_directory_whose_maker_was_killed_before_its_mode_was_set_gets_it() {
        let scratch = Scratch::new();
        let path = scratch.path.join("base");
        for (name, mode) in [("", 0o750), ("live", 0o700), ("private", 0o755)] {
            std::fs::create_dir(path.join(name)).unwrap();
            std::fs::set_permissions(path.join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        let folder = Folder::open(&path).unwrap();
        folder.enter("live").unwrap();
        folder.enter_private("private").unwrap();
        let modes = ["", "live", "private"].map(|name| mode(&path.join(name)));
        // The first is the administrator's.
        assert_eq!(modes, [0o750, 0o755, 0o700]);
    }

    #[test]
    fn what_a_killed_writer_left_is_in_nobodys_way() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.path).unwrap();
        std::fs::write(scratch.path.join(".f.new"), "half").unwrap();
        symlink("nowhere", scratch.path.join(".l.new")).unwrap();
        folder.write("f", b"whole", Readers::All).unwrap();
        folder.link("l", "there").unwrap();
        assert_eq!(folder.names().unwrap(), ["f", "l"]);
        assert_eq!(folder.read_link("l").unwrap().as_deref(), Some("there"));
        assert_eq!(folder.read_link("f").unwrap(), None);
    }

    #[test]
    fn nothing_is_reached_through_a_link_or_a_directory_of_others() {
        let scratch = Scratch::new();
        let folder = Folder::open(&scratch.path).unwrap();
        let elsewhere = Scratch::new();
        symlink(&elsewhere.path, scratch.path.join("link")).unwrap();
        assert!(matches!(folder.enter("link"), Err(DiskError::NotOurs(_))));
        assert!(matches!(folder.existing("link"), Err(DiskError::NotOurs(_))));
        // A file behind a link is neither read nor written.
        std::fs::write(elsewhere.path.join("victim"), "old").unwrap();
        symlink(elsewhere.path.join("victim"), scratch.path.join("file")).unwrap();
        assert!(folder.read("file", 10).is_err());
        folder.write("file", b"new", Readers::All).unwrap();
        assert_eq!(std::fs::read(elsewhere.path.join("victim")).unwrap(), b"old");

        folder.enter("open").unwrap();
        std::fs::set_permissions(scratch.path.join("open"), PermissionsExt::from_mode(0o775)).unwrap();
        let refusal = folder.enter("open").err().unwrap().to_string();
        assert!(refusal.contains("no directory that only root can change"), "{refusal}");
    }
}
