//! Files of Debian's, by version and content, taken once into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::apt::{PrivateApt, Suite};
use super::once::once;
use crate::paths::Paths;
use crate::progress;

/// A Debian package, or a Debian source, of which one file is what we want.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Of the `.deb`, or of the source's original `.orig.tar.xz`.
    pub(crate) sha256: &'static str,
}

/// What to take where Debian has the version no more: it drops one when the next comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// The content is what counts.
    Nothing,
    /// The suite's newest, by Debian's signature alone. For tools of the lab's, which go into nothing that we make.
    Newest,
}

/// The package's `.deb`.
pub(crate) fn download(paths: &Paths, archive: &Archive, instead: Instead) -> Result<PathBuf> {
    fetch(paths, archive, None, ".deb", instead)
}

/// The `.deb` of another suite of Debian than this system's: to be unpacked, not to be installed.
pub(crate) fn download_of(paths: &Paths, archive: &Archive, suite: &'static str, instead: Instead) -> Result<PathBuf> {
    fetch(paths, archive, Some(Suite::Packages(suite)), ".deb", instead)
}

/// The source's original tarball, from another suite of Debian than this system's.
pub(crate) fn download_source(
    paths: &Paths,
    archive: &Archive,
    suite: &'static str,
    instead: Instead,
) -> Result<PathBuf> {
    fetch(paths, archive, Some(Suite::Sources(suite)), ".orig.tar.xz", instead)
}

fn fetch(paths: &Paths, archive: &Archive, suite: Option<Suite>, ending: &str, instead: Instead) -> Result<PathBuf> {
    let is_source = matches!(suite, Some(Suite::Sources(_)));
    let Archive {
        package,
        version,
        sha256,
    } = archive;
    let dir = paths.cache(&format!("download {package} {version} {sha256} {suite:?}"));
    let kept = dir.join(format!("{package}{ending}"));
    let take = || {
        drop(fs::remove_dir_all(&dir)); // what an interrupted run left
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (apt, _) = PrivateApt::with_lists(paths, suite, &[package])?;
        match apt.download(&dir, package, Some(version), is_source) {
            Ok(()) => {
                let found = with_ending(&dir, ending)?;
                let hash = hex::encode(Sha256::digest(fs::read(&found)?));
                ensure!(hash == *sha256, "{} is {hash}, not {sha256}", found.display());
            }
            Err(error) if instead == Instead::Nothing => return Err(error),
            Err(_) => {
                apt.download(&dir, package, None, is_source)?;
                eprintln!("  Debian has {package} {version} no more: its newest is taken instead");
            }
        }
        Ok(fs::rename(with_ending(&dir, ending)?, &kept)?)
    };
    once(&dir, &kept, || {
        progress::step(&format!("downloading {package} {version}"), take)
    })?;
    Ok(kept)
}

fn with_ending(dir: &Path, ending: &str) -> Result<PathBuf> {
    let files = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
    files
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(ending))
        .with_context(|| format!("nothing that ends in {ending} was downloaded"))
}
