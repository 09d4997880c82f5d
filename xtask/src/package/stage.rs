//! A package's files, laid out in a directory.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use super::list::{Entry, Source};
use super::{Format, Inputs};
use crate::paths::Paths;

/// Lays out the files of a package below `root`, with the modes of the list. Owners are set where they are packed.
pub(super) fn lay_out(inputs: &Inputs, paths: &Paths, format: Format, root: &Path) -> Result<()> {
    for entry in inputs.list.of(format) {
        let to = below(root, &entry.path)?;
        let directory = if entry.source == Source::Directory {
            &to
        } else {
            parent(&to)?
        };
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        put(inputs, paths, format, entry, &to).with_context(|| entry.path.display().to_string())?;
        fs::set_permissions(&to, Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

fn put(inputs: &Inputs, paths: &Paths, format: Format, entry: &Entry, to: &Path) -> Result<()> {
    match &entry.source {
        Source::Directory => Ok(()),
        Source::Program(name) => inputs.programs.program(name, to),
        Source::Module => copy(inputs.programs.module(), to),
        Source::Image => copy(inputs.programs.image(), to),
        Source::Measurements => copy(&inputs.programs.measurements(), to),
        Source::File(path) | Source::Config(path) => {
            let from = paths.workspace().join(path);
            match format {
                Format::Deb if path == Path::new(EXAMPLE) => for_debian(&from, to),
                Format::Deb | Format::Rpm => copy(&from, to),
            }
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The example names the group of Amazon Linux's web server. Debian has no such group, and an example must work.
fn for_debian(from: &Path, to: &Path) -> Result<()> {
    let text = fs::read_to_string(from)?;
    ensure!(
        text.matches(NGINX).count() == 1,
        "{} does not read as it did",
        from.display()
    );
    Ok(fs::write(to, text.replace(NGINX, WWW_DATA))?)
}

/// Gives everything below `root` the same time, and its directories the mode that directories have.
pub(super) fn level(root: &Path, epoch: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    let (files, directories) = walk(root)?;
    for directory in &directories {
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    for path in files.iter().chain(&directories) {
        File::open(path)?.set_modified(time)?;
    }
    Ok(())
}

/// All files and all directories, each in the order of their names.
pub(super) fn walk(root: &Path) -> Result<(BTreeSet<PathBuf>, BTreeSet<PathBuf>)> {
    let (mut files, mut directories) = (BTreeSet::new(), BTreeSet::from([root.to_owned()]));
    let mut unseen = vec![root.to_owned()];
    while let Some(directory) = unseen.pop() {
        for child in fs::read_dir(&directory)? {
            let child = child?;
            if child.file_type()?.is_dir() {
                unseen.push(child.path());
                directories.insert(child.path());
            } else {
                files.insert(child.path());
            }
        }
    }
    Ok((files, directories))
}

pub(super) fn below(root: &Path, path: &Path) -> Result<PathBuf> {
    Ok(root.join(path.strip_prefix("/")?))
}

fn parent(path: &Path) -> Result<&Path> {
    path.parent().context("no directory")
}

const EXAMPLE: &str = "host-nginx-conf/config/config.toml";
const NGINX: &str = "group = \"nginx\"";
const WWW_DATA: &str = "group = \"www-data\"";
