//! What the cache holds is made once, also where two commands want it at the same moment.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

/// Makes what belongs in `root`, unless `made`, which comes last, is there by now. Another command that makes the same is waited for.
pub(crate) fn once(root: &Path, made: &Path, make: impl FnOnce() -> Result<()>) -> Result<()> {
    if made.exists() {
        return Ok(());
    }
    let _alone = Alone::at(root)?;
    if made.exists() {
        return Ok(());
    }
    make()
}

/// Nobody else is at this place. The kernel ends it with the process, whatever becomes of that.
pub(crate) struct Alone {
    _open: File,
}

impl Alone {
    pub(crate) fn at(place: &Path) -> Result<Self> {
        // Beside the place, which whoever makes it may remove.
        let path = place.with_extension("lock");
        let file = open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => {
                eprintln!("  waiting for another command, which has {}", path.display());
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Self { _open: file })
    }
}

/// To read is enough for a lock: the file may be root's.
fn open(path: &Path) -> std::io::Result<File> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => (),
        other => return other,
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => File::open(path),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[test]
    fn of_many_at_once_one_makes_it_and_the_others_find_it_whole() {
        let dir = std::env::temp_dir().join(format!("enclave-tls-once-{}", std::process::id()));
        let (root, made) = (dir.join("root"), dir.join("root/made"));
        let (running, runs) = (AtomicU32::new(0), AtomicU32::new(0));
        let make = || {
            assert_eq!(running.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            std::thread::sleep(Duration::from_millis(50));
            fs::create_dir_all(&root)?;
            fs::write(&made, "")?;
            runs.fetch_add(1, Ordering::SeqCst);
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        };
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    once(&root, &made, make).unwrap();
                    assert!(made.exists());
                });
            }
        });
        assert_eq!(runs.into_inner(), 1);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn what_failed_is_tried_again() {
        let dir = std::env::temp_dir().join(format!("enclave-tls-again-{}", std::process::id()));
        let root = dir.join("root");
        let fail = || -> Result<()> { anyhow::bail!("no network") };
        assert!(once(&root, &root, fail).is_err());
        once(&root, &root, || Ok(fs::create_dir_all(&root)?)).unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
