//! A directory for one test.

use std::path::{Path, PathBuf};

/// Gone when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("emulator-nsm-{}-{test}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What a test leaves in the system's temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
