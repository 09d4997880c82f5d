//! NGINX of a newer Debian, which takes `store:` URIs, with the OpenSSL, pkcs11-provider and C library of its own: unpacked beside
//! the system's, not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::apt::{PrivateApt, Suite};
use super::once::once;
use crate::paths::Paths;
use crate::process;
use crate::progress;

/// By which the test finds it.
pub(crate) const VARIABLE: &str = "ENCLAVE_TLS_NEWER_NGINX";

/// The directory that holds `root`, all of it as it lies in a Debian of its suite, and `patchelf`, by which a program is told of the
/// libraries there.
pub(crate) fn nginx(paths: &Paths) -> Result<PathBuf> {
    let dir = paths.cache(&format!("newer nginx {SUITE} {PACKAGES:?}"));
    let root = dir.join("root");
    once(&dir, &root, || {
        progress::step(&format!("downloading NGINX of Debian's {SUITE}"), || {
            drop(fs::remove_dir_all(&dir)); // what an interrupted run left
            let debs = dir.join("debs");
            fs::create_dir_all(&debs).with_context(|| format!("cannot make {}", debs.display()))?;
            let (apt, release) = PrivateApt::with_lists(paths, Some(Suite::Packages(SUITE)), &PACKAGES)?;
            apt.download_with_all_that_they_need(&debs, &PACKAGES)?;
            // This system's, which runs on its C library.
            apt.download(&debs, &format!("patchelf/{}", release.codename), None, false)?;
            let (unpacked, tool) = (dir.join("unpacked"), dir.join("tool"));
            unpack(&debs, &tool)?;
            unpack(&debs.join("archives"), &unpacked)?;
            fs::rename(tool.join("usr/bin/patchelf"), dir.join("patchelf")).context("no patchelf")?;
            fs::remove_dir_all(&debs)?;
            Ok(fs::rename(&unpacked, &root)?)
        })
    })?;
    Ok(dir)
}

/// Unpacks all packages that lie in a directory, into another.
pub(super) fn unpack(debs: &Path, into: &Path) -> Result<()> {
    let files = fs::read_dir(debs)?.flatten().map(|entry| entry.path());
    for deb in files.filter(|path| path.extension().is_some_and(|end| end == "deb")) {
        process::run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))?;
    }
    Ok(())
}

pub(super) const SUITE: &str = "forky";
const PACKAGES: [&str; 2] = ["nginx", "pkcs11-provider"];
