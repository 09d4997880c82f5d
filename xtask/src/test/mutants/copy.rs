//! A copy of the workspace, in which guards may be missing for a while.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::list::Mutant;
use crate::paths::Paths;
use crate::process;
use crate::setup::Alone;

/// The copy. What did not change since the last run is not written again, so that cargo need not build it again.
pub(super) struct Copy {
    at: PathBuf,
    /// Another run would put guards back in the middle of a trial.
    _alone: Alone,
}

impl Copy {
    /// Of every file that git would keep, as it is now.
    pub(super) fn make(paths: &Paths) -> Result<Self> {
        let to = paths.target().join("mutants/source");
        let alone = Alone::at(&to)?;
        let mut list = Command::new("git");
        list.current_dir(paths.workspace())
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = process::capture(&mut list)?;
        let names: BTreeSet<&Path> = listed.split_terminator('\0').map(Path::new).collect();
        for name in &names {
            let from = paths.workspace().join(name);
            if from.is_file() {
                copy(&from, &to.join(name)).with_context(|| name.display().to_string())?;
            }
        }
        remove_others(&to, &to, &names)?;
        Ok(Self { at: to, _alone: alone })
    }

    pub(super) fn path(&self) -> &Path {
        &self.at
    }

    /// The file that holds the guard; an error if the guard is not there exactly once.
    pub(super) fn find(&self, mutant: &Mutant) -> Result<String> {
        let text = fs::read_to_string(self.at.join(&mutant.file)).with_context(|| mutant.file.clone())?;
        let count = text.matches(&mutant.guarded).count();
        ensure!(
            count == 1,
            "the list has aged: `{}` is {count} times in {}, and not once:\n{}",
            mutant.guard,
            mutant.file,
            mutant.guarded
        );
        Ok(text)
    }

    /// Takes the guard away, and returns the file as it was.
    pub(super) fn take_away(&self, mutant: &Mutant) -> Result<String> {
        let whole = self.find(mutant)?;
        let without = whole.replacen(&mutant.guarded, &mutant.unguarded, 1);
        fs::write(self.at.join(&mutant.file), without)?;
        Ok(whole)
    }

    /// Written anew, so the file is younger than what was built without the guard: cargo builds it again.
    pub(super) fn put_back(&self, mutant: &Mutant, whole: &str) -> Result<()> {
        Ok(fs::write(self.at.join(&mutant.file), whole)?)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("no directory")?)?;
    fs::write(to, content)?;
    Ok(fs::set_permissions(to, fs::metadata(from)?.permissions())?)
}

/// What an earlier copy had and this one has not.
fn remove_others(root: &Path, directory: &Path, names: &BTreeSet<&Path>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, names)?;
        } else if !names.contains(path.strip_prefix(root)?) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
