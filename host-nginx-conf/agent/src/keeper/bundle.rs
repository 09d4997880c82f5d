//! Bundles in files: read when they change.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use enclave_tls_admin::{files, hex};
use enclave_wire::Name;
use sha2::{Digest, Sha256};

/// What was read, by certificate: how the file looked, and its SHA-256.
#[derive(Default)]
pub(super) struct Bundles {
    read: BTreeMap<Name, (Look, String)>,
}

/// What changes when a file is written or replaced.
type Look = (u64, u64, i64, i64, i64, i64);

impl Bundles {
    /// The digest of a certificate's bundle. A thousand files are looked at for each pass, and not read.
    pub(super) fn digest(&mut self, name: &Name, path: &Path) -> io::Result<String> {
        let look = look(path)?;
        if let Some((known, digest)) = self.read.get(name)
            && *known == look
        {
            return Ok(digest.clone());
        }
        let digest = hex::encode(&Sha256::digest(read(path)?));
        self.read.insert(name.clone(), (look, digest.clone()));
        Ok(digest)
    }

    pub(super) fn forget(&mut self, name: &Name) {
        self.read.remove(name);
    }
}

/// A bundle, and its digest: of the same bytes.
pub(super) fn whole(path: &Path) -> io::Result<(Vec<u8>, String)> {
    let bundle = read(path)?;
    let digest = hex::encode(&Sha256::digest(&bundle));
    Ok((bundle, digest))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    files::read_public(path, MAX_BUNDLE)
}

fn look(path: &Path) -> io::Result<Look> {
    let found = std::fs::metadata(path)?;
    Ok((
        found.ino(),
        found.len(),
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ))
}

/// What the protocol carries of a bundle.
const MAX_BUNDLE: usize = 65_536;
