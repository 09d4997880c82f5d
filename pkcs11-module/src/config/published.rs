//! The public objects file, as it was when it was last good.

use std::path::Path;
use std::sync::Arc;

use enclave_wire::Objects;

use super::directory::{Directory, Stamp};

/// What was read of the file.
#[derive(Clone, Default)]
pub(super) struct PublishedFile {
    /// The state of the file that was looked at last, whether it was good or not.
    seen: Option<Stamp>,
    /// What the last good one said.
    objects: Option<Arc<Objects>>,
}

impl PublishedFile {
    /// Looks at the file again, and reads it if it is another than before.
    ///
    /// One that cannot be read, is too long, damaged or of another version is as good as none: what was read before stays. The host
    /// must start with whatever is there, and there is no one to tell; the agent, who writes it, reads it too. One that is longer than
    /// `longest` is left for later.
    pub(super) fn read_again(&mut self, directory: &Directory, file: &Path, longest: usize) {
        let Some(opened) = directory.open(file) else {
            return;
        };
        let stamp = opened.stamp();
        let length = stamp.length().filter(|length| *length <= longest);
        let Some(length) = length.filter(|_| self.seen != Some(stamp)) else {
            return;
        };
        // What there was no memory for is looked at again.
        let Some(bytes) = opened.read(length) else {
            return;
        };
        if let Ok(objects) = Objects::parse(&bytes) {
            self.objects = Some(Arc::new(objects));
        }
        self.seen = Some(stamp);
    }

    /// Takes what was read elsewhere, later than what is here.
    pub(super) fn keep(&mut self, objects: Arc<Objects>) {
        self.objects = Some(objects);
    }

    /// What the last good file said.
    pub(super) fn objects(&self) -> Option<&Arc<Objects>> {
        self.objects.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Fixture {
        home: PathBuf,
        directory: Directory,
        published: PublishedFile,
    }

    impl Fixture {
        fn new(name: &str) -> Self {
            let home = std::env::temp_dir().join(format!("enclave-tls-published-{name}-{}", std::process::id()));
            fs::create_dir_all(&home).unwrap();
            let directory = Directory::of(&home.join("pkcs11.toml")).unwrap();
            Self {
                home,
                directory,
                published: PublishedFile::default(),
            }
        }

        /// Renames a file of these bytes into place and has it read.
        fn put(&mut self, bytes: &[u8]) -> Option<Arc<Objects>> {
            fs::write(self.home.join("new"), bytes).unwrap();
            fs::rename(self.home.join("new"), self.home.join("objects")).unwrap();
            self.read()
        }

        fn read(&mut self) -> Option<Arc<Objects>> {
            self.published
                .read_again(&self.directory, Path::new("objects"), Objects::MAX_FILE);
            self.published.objects().cloned()
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.home);
        }
    }

    #[test]
    fn a_file_that_did_not_change_is_not_read_again() {
        let mut fixture = Fixture::new("same");
        assert!(fixture.read().is_none());
        let first = fixture.put(&Objects::default().to_file()).unwrap();
        assert!(Arc::ptr_eq(&first, &fixture.read().unwrap()));
        let second = fixture.put(&Objects::default().to_file()).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn one_that_is_too_long_for_now_is_read_later() {
        let mut fixture = Fixture::new("later");
        let bytes = Objects::default().to_file();
        let before = fixture.put(&bytes).unwrap();
        fs::write(fixture.home.join("new"), &bytes).unwrap();
        fs::rename(fixture.home.join("new"), fixture.home.join("objects")).unwrap();
        let file = Path::new("objects");
        let longest = bytes.len() - 1;
        fixture.published.read_again(&fixture.directory, file, longest);
        assert!(Arc::ptr_eq(&before, fixture.published.objects().unwrap()));
        assert!(!Arc::ptr_eq(&before, &fixture.read().unwrap()));
    }

    #[test]
    fn what_is_no_such_file_changes_nothing() {
        let mut fixture = Fixture::new("bad");
        let good = Objects::default().to_file();
        let too_long = [&good[..], &vec![0; Objects::MAX_FILE]].concat();
        let mut other_version = good.clone();
        other_version[20] = 2;
        let bad = [&[][..], b"text", &good[..good.len() - 1], &other_version, &too_long];
        for bytes in bad {
            assert!(fixture.put(bytes).is_none());
        }
        let read = fixture.put(&good).unwrap();
        for bytes in bad {
            assert!(Arc::ptr_eq(&read, &fixture.put(bytes).unwrap()));
        }
        fs::remove_file(fixture.home.join("objects")).unwrap();
        fs::create_dir(fixture.home.join("objects")).unwrap();
        assert!(Arc::ptr_eq(&read, &fixture.read().unwrap()));
    }
}
