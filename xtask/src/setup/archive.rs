//! Files of Debian's, by version and content, taken once into the cache.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::Release;
use super::apt::PrivateApt;
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

/// The package's `.deb`.
pub(crate) fn download(paths: &Paths, archive: &Archive) -> Result<PathBuf> {
    fetch(paths, archive, None, ".deb")
}

/// The source's original tarball, from another suite of Debian than this system's.
pub(crate) fn download_source(paths: &Paths, archive: &Archive, suite: &str) -> Result<PathBuf> {
    fetch(paths, archive, Some(suite), ".orig.tar.xz")
}

fn fetch(paths: &Paths, archive: &Archive, suite: Option<&str>, ending: &str) -> Result<PathBuf> {
    let Archive {
        package,
        version,
        sha256,
    } = archive;
    let dir = paths.cache(&format!("download {package} {version} {sha256} {suite:?}"));
    let kept = dir.join(format!("{package}{ending}"));
    if kept.exists() {
        return Ok(kept);
    }
    progress::step(&format!("downloading {package} {version}"), || {
        drop(fs::remove_dir_all(&dir)); // what an interrupted run left
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let release = Release::of_this_system()?;
        ensure!(release.is_debian_12(), "{}", release.refusal(&[package]));
        let apt = PrivateApt::prepare_with(paths, &release.codename, &Vec::from_iter(suite))?;
        apt.update()?;
        apt.download(&dir, package, version, suite.is_some())?;
        let found = with_ending(&dir, ending)?;
        let hash = hex::encode(Sha256::digest(fs::read(&found)?));
        ensure!(hash == *sha256, "{} is {hash}, not {sha256}", found.display());
        Ok(fs::rename(found, &kept)?)
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
