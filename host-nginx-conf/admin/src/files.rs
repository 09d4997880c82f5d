//! Files that are read whole within a limit, and written so that a reader sees the old one or the new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::hex;

/// Reads at most `max` bytes. They are wiped on drop, and were never anywhere else: the buffer does not grow.
pub fn read(path: &Path, max: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut contents = Zeroizing::new(Vec::with_capacity(max.saturating_add(2)));
    read_into(&mut contents, path, max)?;
    Ok(contents)
}

/// Reads at most `max` bytes of what is no secret, into a buffer that grows with the file.
pub fn read_public(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    read_into(&mut contents, path, max)?;
    Ok(contents)
}

fn read_into(contents: &mut Vec<u8>, path: &Path, max: usize) -> io::Result<()> {
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(contents)?;
    if contents.len() > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it has more than {max} bytes"),
        ));
    }
    Ok(())
}

/// A complete file under a temporary name beside the one it is for. Dropped, it is removed.
pub struct Pending {
    file: File,
    temporary: PathBuf,
    target: PathBuf,
}

impl Pending {
    /// Writes `contents` with this mode, whatever the umask says.
    pub fn write(target: &Path, mode: u32, contents: &[u8]) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let temporary = directory(target).join(format!("{TEMPORARY}{}", hex::encode(&random)));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let mut pending = Self {
            file,
            temporary,
            target: target.to_owned(),
        };
        pending.file.write_all(contents)?;
        pending.file.set_permissions(Permissions::from_mode(mode))?;
        pending.file.sync_all()?;
        Ok(pending)
    }

    /// Gives it to a group, and to root where we are root.
    pub fn give_to_group(&self, gid: u32) -> io::Result<()> {
        fchown(&self.file, None, Some(gid))?;
        self.file.sync_all()
    }

    /// Takes the place of whatever file has its name.
    pub fn replace(self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.target)?;
        sync_directory(directory(&self.target))
    }

    /// Takes its name if no file has it.
    pub fn create(self) -> io::Result<()> {
        fs::hard_link(&self.temporary, &self.target)?;
        fs::remove_file(&self.temporary)?;
        sync_directory(directory(&self.target))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After success there is nothing under this name; after a failure there is nothing else to do about it.
        drop(fs::remove_file(&self.temporary));
    }
}

/// Whether `path` may be replaced: it is absent, or a file. Renaming over a device or a symbolic link is never what was meant.
pub fn is_replaceable(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Makes the removal or renaming of files in it durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The number of a group: `group` itself, or its line in /etc/group. Groups from elsewhere (LDAP) are given by number.
pub fn group_id(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")?;
    groups
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| {
            (fields.next() == Some(group))
                .then(|| fields.nth(1)?.parse().ok())
                .flatten()
        })
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("/etc/group has no group {group}")))
}

/// The directory of a file, also of one that is named alone.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// What the names of temporary files begin with.
pub const TEMPORARY: &str = ".tmp-";

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ctl-files-{name}-{}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let dir = scratch("atomic");
        let target = dir.join("a");
        drop(Pending::write(&target, 0o640, b"dropped").unwrap());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);

        Pending::write(&target, 0o640, b"first").unwrap().create().unwrap();
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o7777, 0o640);
        let error = Pending::write(&target, 0o640, b"second").unwrap().create().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"first");

        Pending::write(&target, 0o600, b"third").unwrap().replace().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"third");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_is_longer_than_the_limit_is_not_read() {
        let dir = scratch("limit");
        fs::write(dir.join("a"), [0; 10]).unwrap();
        assert_eq!(read(&dir.join("a"), 10).unwrap().len(), 10);
        assert!(read(&dir.join("a"), 9).is_err());
        assert_eq!(read_public(&dir.join("a"), 10).unwrap().len(), 10);
        assert!(read_public(&dir.join("a"), 9).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn links_and_devices_are_not_replaced() {
        assert!(!is_replaceable(Path::new("/dev/null")).unwrap());
        assert!(!is_replaceable(Path::new("/dev/stdout")).unwrap());
        assert!(is_replaceable(Path::new("/nonexistent")).unwrap());
    }

    #[test]
    fn groups_are_found_by_name_and_by_number() {
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("4711").unwrap(), 4711);
        assert!(group_id("no-such-group").is_err());
    }
}
