//! Who can change a file: what acts on its word must know that only those did who may.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Who may be able to change a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owners {
    /// Root alone.
    Root,
    /// Root, and the user that this process acts as.
    RootOrReader,
}

/// Why a file was not read. Its administrator is at fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum PermissionError {
    /// It or a directory on the way to it cannot be read.
    Read(PathBuf, std::io::Error),
    /// It is not below `/`.
    Relative(PathBuf),
    /// It is no regular file.
    NotAFile(PathBuf),
    /// It is longer than this many bytes.
    TooLong(PathBuf, u64),
    /// It, or a directory or a link on the way to it, is of a user who may not change it.
    Owner(PathBuf, u32),
    /// Others than its owner can write to it, or to a directory on the way to it.
    Writable(PathBuf, u32),
    /// Links lead to links for ever.
    Links(PathBuf),
}

impl std::fmt::Display for PermissionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Relative(path) => write!(f, "{}: write an absolute path", path.display()),
            Self::NotAFile(path) => write!(f, "{}: this is no regular file: name one", path.display()),
            Self::TooLong(path, most) => write!(
                f,
                "{}: above {most} bytes, which no such file has: name another",
                path.display()
            ),
            Self::Owner(path, uid) => write!(
                f,
                "{0}: it belongs to user {uid}, who could change what is read: run `chown -h root {0}`",
                path.display()
            ),
            Self::Writable(path, mode) => write!(
                f,
                "{0}: its mode is {mode:04o}, so others than its owner could change what is read: run `chmod go-w {0}`",
                path.display()
            ),
            Self::Links(path) => write!(f, "{}: its symbolic links do not end: remove one", path.display()),
        }
    }
}

impl std::error::Error for PermissionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(_, error) => Some(error),
            Self::Relative(_)
            | Self::NotAFile(_)
            | Self::TooLong(..)
            | Self::Owner(..)
            | Self::Writable(..)
            | Self::Links(_) => None,
        }
    }
}

/// Checks that nobody but `owners` can change what `path` is: the file, each directory and each symbolic link on the way to it.
///
/// A directory with the sticky bit, as `/tmp`, may be writable: only its owner takes away or replaces what is in it. Access control
/// lists count: where one lets others write, the group's bits show it.
pub fn check(path: &Path, owners: Owners) -> Result<(), PermissionError> {
    if !path.is_absolute() {
        return Err(PermissionError::Relative(path.to_owned()));
    }
    let mut links: u32 = 0;
    let mut reached = PathBuf::from("/");
    check_one(&reached, &stat(&reached)?, owners)?;
    // What remains, the next one last.
    let mut remaining = reversed(path);
    while let Some(part) = remaining.pop() {
        if part == Path::new("..") {
            // Where it leads was checked on the way down.
            reached.pop();
            continue;
        }
        let next = reached.join(&part);
        let metadata = stat(&next)?;
        if metadata.file_type().is_symlink() {
            links = links.saturating_add(1);
            if links > MAX_LINKS {
                return Err(PermissionError::Links(path.to_owned()));
            }
            check_owner(&next, &metadata, owners)?;
            let target = std::fs::read_link(&next).map_err(|error| PermissionError::Read(next.clone(), error))?;
            if target.is_absolute() {
                reached = PathBuf::from("/");
            }
            remaining.extend(reversed(&target));
        } else {
            check_one(&next, &metadata, owners)?;
            reached = next;
        }
    }
    Ok(())
}

/// Reads a file that nobody but `owners` can change, at most `most` bytes.
pub fn read(path: &Path, owners: Owners, most: u64) -> Result<Vec<u8>, PermissionError> {
    let path = &std::path::absolute(path).map_err(|error| PermissionError::Read(path.to_owned(), error))?;
    check(path, owners)?;
    let unread = |error| PermissionError::Read(path.clone(), error);
    // Opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err(PermissionError::NotAFile(path.clone()));
    }
    let file = File::open(path).map_err(unread)?;
    // Nobody but the owners can have changed the way here since; this is what they put there.
    check_one(path, &file.metadata().map_err(unread)?, owners)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    if u64::try_from(bytes.len()).is_ok_and(|read| read <= most) {
        Ok(bytes)
    } else {
        Err(PermissionError::TooLong(path.clone(), most))
    }
}

fn stat(path: &Path) -> Result<Metadata, PermissionError> {
    std::fs::symlink_metadata(path).map_err(|error| PermissionError::Read(path.to_owned(), error))
}

fn check_one(path: &Path, metadata: &Metadata, owners: Owners) -> Result<(), PermissionError> {
    check_owner(path, metadata, owners)?;
    let mode = metadata.mode() & 0o7777;
    let is_sticky = metadata.is_dir() && mode & STICKY != 0;
    if mode & WRITABLE_BY_OTHERS != 0 && !is_sticky {
        return Err(PermissionError::Writable(path.to_owned(), mode));
    }
    Ok(())
}

fn check_owner(path: &Path, metadata: &Metadata, owners: Owners) -> Result<(), PermissionError> {
    let reader = match owners {
        Owners::Root => ROOT,
        Owners::RootOrReader => rustix::process::geteuid().as_raw(),
    };
    match metadata.uid() {
        uid if uid == ROOT || uid == reader => Ok(()),
        uid => Err(PermissionError::Owner(path.to_owned(), uid)),
    }
}

fn reversed(path: &Path) -> Vec<PathBuf> {
    let parts = path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(PathBuf::from(part)),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    let mut parts: Vec<PathBuf> = parts.collect();
    parts.reverse();
    parts
}

const ROOT: u32 = 0;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// What Linux itself follows.
const MAX_LINKS: u32 = 40;
