//! Where the machine's files are read.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// `/`, or the directory of a test that looks like one.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Of an absolute path.
    pub(super) fn path(&self, absolute: &str) -> PathBuf {
        self.0.join(absolute.trim_start_matches('/'))
    }

    /// A small file of text.
    pub(super) fn read(&self, absolute: &str) -> io::Result<String> {
        let mut text = String::new();
        File::open(self.path(absolute))?
            .take(MAX_FILE)
            .read_to_string(&mut text)?;
        Ok(text)
    }

    /// A file that holds one number.
    pub(super) fn number(&self, absolute: &str) -> Option<u64> {
        self.read(absolute).ok()?.trim().parse().ok()
    }

    /// The names in a directory; none where it is missing.
    pub(super) fn names(&self, absolute: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(absolute)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    pub(super) fn exists(&self, absolute: &str) -> bool {
        Path::exists(&self.path(absolute))
    }
}

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

/// `/etc/group` of a large site; all others are far below.
const MAX_FILE: u64 = 4 << 20;
