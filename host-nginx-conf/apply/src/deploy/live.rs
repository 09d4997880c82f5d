//! `live/NAME`: which generation of a certificate is in use.

use std::collections::BTreeMap;

use enclave_tls_apply::{Directory, Generation, LiveCertificate};
use enclave_wire::Name;

use crate::disk::{DiskError, Folder};

/// The symbolic links.
pub(crate) struct Live(Folder);

impl Live {
    pub(crate) fn open(base: &Folder) -> Result<Self, DiskError> {
        base.enter("live").map(Self)
    }

    /// All of them. What is no link of ours is left alone.
    pub(crate) fn all(&self) -> Result<BTreeMap<Name, Directory>, DiskError> {
        let mut all = BTreeMap::new();
        for name in self.0.names()? {
            if let Ok(name) = Name::try_from(name.as_str())
                && let Some(directory) = self.get(&name)?
            {
                all.insert(name, directory);
            }
        }
        Ok(all)
    }

    /// The live generation of a certificate.
    pub(crate) fn get(&self, name: &Name) -> Result<Option<Directory>, DiskError> {
        let target = self.0.read_link(name.as_str())?;
        Ok(target.and_then(|target| target.strip_prefix(&folder(name))?.parse().ok()))
    }

    /// The atomic switch.
    pub(crate) fn point(&self, certificate: &LiveCertificate) -> Result<(), DiskError> {
        let LiveCertificate { name, directory } = certificate;
        self.0.link(name.as_str(), &format!("{}{directory}", folder(name)))
    }

    /// Nothing of this certificate is live any more. What is no link of ours is left alone.
    pub(crate) fn take_away(&self, name: &Name) -> Result<(), DiskError> {
        match self.get(name)? {
            Some(_) => self.0.remove(name.as_str()),
            None => Ok(()),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        self.0.sync()
    }

    /// Removes the generations of a certificate that are neither kept nor live.
    pub(crate) fn prune(&self, base: &Folder, name: &Name, keep: &[Generation]) -> Result<(), DiskError> {
        let Some(generations) = base.enter("generations")?.existing(name.as_str())? else {
            return Ok(());
        };
        let live = self.get(name)?;
        for entry in generations.names()? {
            // What begins with a dot was being written when something ended this program.
            let goes = match entry.parse::<Directory>() {
                Ok(directory) => live != Some(directory) && !keep.iter().any(|kept| directory.is_of(kept)),
                Err(_) => entry.starts_with('.'),
            };
            if goes {
                generations.remove_folder(&entry)?;
            }
        }
        generations.sync()
    }
}

/// From `live/` to the generations of a certificate.
fn folder(name: &Name) -> String {
    format!("../generations/{name}/")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use enclave_wire::Usage;

    use super::*;
    use crate::state::tests::{Scratch, deployment};

    #[test]
    fn a_link_of_others_is_no_generation() {
        let scratch = Scratch::new();
        let live = Live::open(&Folder::open(&scratch.path).unwrap()).unwrap();
        let directory = deployment("www", 1, Usage::Tls).directory();
        live.point(&LiveCertificate {
            name: "www".parse().unwrap(),
            directory,
        })
        .unwrap();
        symlink("/etc", scratch.path.join("live/etc")).unwrap();
        symlink(
            format!("../generations/www/{directory}"),
            scratch.path.join("live/other"),
        )
        .unwrap();
        fs::write(scratch.path.join("live/file"), "").unwrap();
        assert_eq!(
            live.all().unwrap(),
            BTreeMap::from([("www".parse().unwrap(), directory)])
        );
    }

    #[test]
    fn what_is_live_or_kept_stays() {
        let scratch = Scratch::new();
        let base = Folder::open(&scratch.path).unwrap();
        let live = Live::open(&base).unwrap();
        let name: Name = "www".parse().unwrap();
        let folder = base.enter("generations").unwrap().enter("www").unwrap();
        let directories: Vec<_> = (1..=4).map(|at| deployment("www", at, Usage::Tls)).collect();
        for one in &directories {
            let made = folder.enter(&one.directory().to_string()).unwrap();
            made.write("uri", b"", crate::disk::Readers::All).unwrap();
        }
        folder.enter(".half.new").unwrap();
        fs::write(scratch.path.join("generations/www/README"), "").unwrap();
        let [_, second, _, fourth] = directories.as_slice() else {
            panic!()
        };
        live.point(&LiveCertificate {
            name: name.clone(),
            directory: fourth.directory(),
        })
        .unwrap();
        live.prune(&base, &name, &[second.generation()]).unwrap();
        let mut stay = vec![
            second.directory().to_string(),
            fourth.directory().to_string(),
            "README".to_owned(),
        ];
        stay.sort();
        assert_eq!(folder.names().unwrap(), stay);
        live.prune(&base, &"absent".parse().unwrap(), &[]).unwrap();
    }
}
