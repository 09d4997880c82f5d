//! A machine's files, made up for one test.

use std::path::{Path, PathBuf};

/// A directory that goes with the test.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new(test: &str) -> Self {
        let root = std::env::temp_dir().join(format!("enclave-init-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        Self(root)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.0.join(path)).unwrap()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
