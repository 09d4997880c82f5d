//! The replay directory: what the agent gives the service again after a restart.
//!
//! ```text
//! DIR/                        mode 0700, of the user of the agent; one agent at a time
//!   credentials/NAME.toml     the credentials of a client: one or two [[credential]] tables of id and verifier, oldest first
//!   keys/ID.toml              an imported key: name, generation (in their order those of a name are imported again), usage,
//!                             superseded, dns_names, clients
//!   keys/ID.pem               its private key, PKCS#8 in PEM, mode 0600
//!   bundles/ID.toml           a key that came in a bundle and is not sealed: as keys/ID.toml, and the KMS key's ARN; for an object
//!                             of S3 also s3 and region
//!   bundles/ID.json           the bundle itself, where it came from a file
//!   chains/ID.pem             the chain of a key of either kind, leaf first; a bundle has its own, until another is installed
//!   sealed/NAME.sealed        the sealed state of a name, as the service gave it: all its generations, their chains and their states.
//!                             Only the newest is kept. Whoever puts an older one here makes the next run of the service begin
//!                             with that: no one can tell, and `status` says that freshness is unproven
//!   volatile/ID.toml          a key that a restart loses (neither sealed, nor kept, nor from a bundle), so that it can be told which:
//!                             name, generation, usage, origin, boot
//! ```
//!
//! NAME is a client's name or a certificate's, ID a key's id: 64 lower-case hexadecimal digits. Every file is written under a
//! temporary name, synced and renamed. The TOML files are strict: an unknown key is refused, with its file and line. A verifier is as
//! good as its credential for posing as the service to that client, so `credentials/` is as secret as `keys/`. Bundles and sealed
//! states are ciphertext that KMS opens for attested code only.
//!
//! The files of a bundle have the key's id and not its name, since a name may have several generations from several bundles: each is
//! superseded and retired by itself.

mod bundles;
mod error;
mod fields;
mod format;
mod sealed;
mod volatile;

use std::cell::RefCell;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use enclave_wire::control::{KeyInfo, Origin, Pkcs8};
use enclave_wire::credential::{CredentialId, Verifier};
use enclave_wire::{BootId, Chain, DnsName, KeyId, Name, State, Usage};

use enclave_tls_admin::files::{self, Pending, TEMPORARY};
use enclave_tls_admin::hex;
use enclave_tls_admin::pem;
use enclave_tls_admin::protocol::Entry;

use bundles::BUNDLES;
pub(crate) use bundles::KeptBundle;
pub(crate) use error::ItemError;
pub use error::OpenError;
use error::{Problem, item};
use sealed::SEALED;
use volatile::VOLATILE;
pub(crate) use volatile::VolatileKey;

/// The replay directory, locked for this process.
pub(crate) struct Store {
    root: PathBuf,
    _lock: File,
    /// What `volatile/` holds, once it was read.
    noted: RefCell<Option<volatile::Noted>>,
}

/// A credential as the service holds it. It has no `Debug`.
pub(crate) struct Credential {
    pub(crate) id: CredentialId,
    pub(crate) verifier: Verifier,
}

/// What a kept key is imported with, but for the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptKey {
    pub(crate) id: KeyId,
    pub(crate) name: Name,
    pub(crate) generation: u32,
    pub(crate) usage: Usage,
    pub(crate) superseded: bool,
    pub(crate) dns_names: Vec<DnsName>,
    pub(crate) clients: Vec<Name>,
}

impl Store {
    /// Opens the directory, or makes it, and clears away what an interrupted write left behind.
    pub(crate) fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io(root.to_owned(), error);
        make_directory(root).map_err(failed)?;
        let found = fs::symlink_metadata(root).map_err(failed)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
            return Err(OpenError::NotPrivate(root.to_owned()));
        }
        let lock = File::open(root).map_err(failed)?;
        lock.try_lock().map_err(|_| OpenError::InUse(root.to_owned()))?;
        for part in [CREDENTIALS, KEYS, BUNDLES, CHAINS, SEALED, VOLATILE] {
            let path = root.join(part);
            make_directory(&path)
                .and_then(|()| remove_temporary(&path))
                .map_err(failed)?;
        }
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
            noted: RefCell::default(),
        })
    }

    /// Where it is, for what others keep beside it.
    pub(crate) fn directory(&self) -> &Path {
        &self.root
    }

    /// The credentials of every client, oldest first.
    pub(crate) fn credentials(&self) -> Vec<Result<(Name, Vec<Credential>), ItemError>> {
        let read = |file: &str| {
            let client = stem(file, ".toml")
                .and_then(|stem| stem.parse().ok())
                .ok_or_else(|| item(file, Problem::Name("CLIENT.toml")))?;
            Ok((client, self.credentials_in(file)?))
        };
        self.each(CREDENTIALS, read)
    }

    /// The kept keys, the generations of a name in their order.
    pub(crate) fn keys(&self) -> Vec<Result<KeptKey, ItemError>> {
        let mut keys = self.each(KEYS, |file| match stem(file, ".pem") {
            Some(stem) if self.root.join(KEYS).join(format!("{stem}.toml")).exists() => Ok(None),
            Some(_) => Err(item(file, Problem::Alone)),
            None => {
                let id = id_of(file, ".toml")?;
                format::key(id, file, &self.read(file)?).map(Some)
            }
        });
        keys.sort_by_key(|key| match key {
            Ok(Some(key)) => Some((key.name.clone(), key.generation)),
            Ok(None) | Err(_) => None,
        });
        keys.into_iter().filter_map(Result::transpose).collect()
    }

    /// The private key of a kept key.
    pub(crate) fn private_key(&self, id: KeyId) -> Result<Pkcs8, ItemError> {
        let file = format!("{KEYS}/{id}.pem");
        let mode = fs::metadata(self.root.join(&file))
            .map_err(|error| item(&file, Problem::Io(error)))?
            .mode();
        if mode & 0o077 != 0 {
            return Err(item(&file, Problem::Mode(mode & 0o7777)));
        }
        pem::private_key(&self.read(&file)?).map_err(|error| item(&file, Problem::Pem(error)))
    }

    /// The chains, by the id of their key.
    pub(crate) fn chains(&self) -> Vec<Result<(KeyId, Chain), ItemError>> {
        self.each(CHAINS, |file| {
            let id = id_of(file, ".pem")?;
            let chain = pem::chain(&self.read(file)?).map_err(|error| item(file, Problem::Pem(error)))?;
            Ok((id, chain))
        })
    }

    /// All keys that the directory names. Files that cannot be read are not among them: the replay reports those.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let kept = self.keys().into_iter().flatten().map(|key| Entry {
            id: key.id,
            name: key.name,
            generation: key.generation,
            usage: key.usage,
            origin: Origin::Imported,
            kept: true,
        });
        let bundles = self.bundles().into_iter().flatten().map(|bundle| Entry {
            id: bundle.key.id,
            name: bundle.key.name,
            generation: bundle.key.generation,
            usage: bundle.key.usage,
            origin: Origin::Bundle,
            kept: true,
        });
        let volatile = self.volatile().into_iter().flatten().map(|key| Entry {
            id: key.id,
            name: key.name,
            generation: key.generation,
            usage: key.usage,
            origin: key.origin,
            kept: false,
        });
        let mut entries: Vec<_> = kept.chain(bundles).chain(volatile).collect();
        entries.sort_by(|a, b| (&a.name, a.generation).cmp(&(&b.name, b.generation)));
        entries
    }

    /// Adds a credential to its client's; a third takes the place of the oldest, as in the service.
    pub(crate) fn add_credential(&self, client: &Name, new: Credential) -> Result<(), ItemError> {
        let file = format!("{CREDENTIALS}/{client}.toml");
        let mut all = if self.root.join(&file).exists() {
            self.credentials_in(&file)?
        } else {
            Vec::new()
        };
        all.retain(|old| old.id != new.id);
        all.push(new);
        let extra = all.len().saturating_sub(MAX_CREDENTIALS);
        drop(all.drain(..extra));
        self.write(&file, format::credentials_text(&all).as_bytes())
    }

    /// Removes a credential of a client, if it is there.
    pub(crate) fn remove_credential(&self, client: &Name, id: CredentialId) -> Result<(), ItemError> {
        let file = format!("{CREDENTIALS}/{client}.toml");
        if !self.root.join(&file).exists() {
            return Ok(());
        }
        let mut all = self.credentials_in(&file)?;
        all.retain(|old| old.id != id);
        if all.is_empty() {
            return self.remove(&file).map(|_| ());
        }
        self.write(&file, format::credentials_text(&all).as_bytes())
    }

    /// Keeps an imported key. The key itself comes first: without its `.toml` it is not replayed.
    pub(crate) fn keep_key(&self, key: &KeyInfo, pkcs8: &Pkcs8) -> Result<(), ItemError> {
        let file = format!("{KEYS}/{}.pem", key.id);
        let text = pem::encode("PRIVATE KEY", pkcs8.as_bytes()).map_err(|error| item(&file, Problem::Pem(error)))?;
        self.write(&file, text.as_bytes())?;
        self.write_key(&KeptKey {
            id: key.id,
            name: key.name.clone(),
            generation: self.next_generation(key),
            usage: key.usage,
            superseded: key.state == State::Superseded,
            dns_names: key.dns_names.items().to_vec(),
            clients: key.clients.items().to_vec(),
        })
    }

    /// A service that restarted counts from 1 again; here the number says which came first, so it only grows.
    fn next_generation(&self, key: &KeyInfo) -> u32 {
        let older = self.entries().into_iter();
        let next = older
            .filter(|old| old.kept && old.name == key.name && old.id != key.id)
            .map(|old| old.generation.saturating_add(1))
            .max();
        next.unwrap_or(1).max(key.generation)
    }

    /// Notes a key's new usage or state. Whether it is kept.
    pub(crate) fn amend(&self, key: &KeyInfo, boot: BootId) -> Result<bool, ItemError> {
        let amended = |kept| KeptKey {
            usage: key.usage,
            superseded: key.state == State::Superseded,
            ..kept
        };
        if self.is_bundle(key.id) {
            let mut bundle = self.bundle(key.id)?;
            bundle.key = amended(bundle.key);
            return self.write_bundle(&bundle).map(|()| true);
        }
        if self.is_kept(key.id) {
            let file = format!("{KEYS}/{}.toml", key.id);
            let kept = format::key(key.id, &file, &self.read(&file)?)?;
            return self.write_key(&amended(kept)).map(|()| true);
        }
        if self.is_volatile(key.id) {
            self.note_volatile(key, boot)?;
        }
        Ok(false)
    }

    /// The chain of a kept key, if it was given one.
    pub(crate) fn chain(&self, id: KeyId) -> Result<Option<Chain>, ItemError> {
        let file = format!("{CHAINS}/{id}.pem");
        if !self.root.join(&file).exists() {
            return Ok(None);
        }
        let chain = pem::chain(&self.read(&file)?);
        chain.map(Some).map_err(|error| item(&file, Problem::Pem(error)))
    }

    /// Keeps the chain of a kept key. Whether it is one.
    pub(crate) fn put_chain(&self, id: KeyId, chain: &Chain) -> Result<bool, ItemError> {
        if !self.is_kept(id) {
            return Ok(false);
        }
        let file = format!("{CHAINS}/{id}.pem");
        let text = pem::encode_chain(chain).map_err(|error| item(&file, Problem::Pem(error)))?;
        self.write(&file, text.as_bytes()).map(|()| true)
    }

    /// Removes all that the directory has of a key. Whether it had anything.
    pub(crate) fn forget(&self, id: KeyId) -> Result<bool, ItemError> {
        // In this order an interruption leaves at most a private key alone, which the next replay reports.
        let parts = [
            (KEYS, "toml"),
            (BUNDLES, "toml"),
            (VOLATILE, "toml"),
            (CHAINS, "pem"),
            (BUNDLES, "json"),
            (KEYS, "pem"),
        ];
        let mut found = false;
        for (part, extension) in parts {
            found |= match part {
                VOLATILE => self.forget_noted(id),
                _ => self.remove(&format!("{part}/{id}.{extension}")),
            }?;
        }
        Ok(found)
    }

    /// Whether a restarted service is given this key again.
    fn is_kept(&self, id: KeyId) -> bool {
        self.root.join(KEYS).join(format!("{id}.toml")).exists() || self.is_bundle(id)
    }

    fn write_key(&self, key: &KeptKey) -> Result<(), ItemError> {
        self.write(&format!("{KEYS}/{}.toml", key.id), format::key_text(key).as_bytes())
    }

    fn credentials_in(&self, file: &str) -> Result<Vec<Credential>, ItemError> {
        let credentials = format::credentials(file, &self.read(file)?)?;
        match credentials.len() {
            1..=MAX_CREDENTIALS => Ok(credentials),
            _ => Err(item(file, Problem::Count)),
        }
    }

    /// Reads every file of a part, in the order of their names.
    fn each<T>(&self, part: &str, read: impl Fn(&str) -> Result<T, ItemError>) -> Vec<Result<T, ItemError>> {
        match file_names(&self.root.join(part)) {
            Ok(names) => names.iter().map(|name| read(&format!("{part}/{name}"))).collect(),
            Err(error) => vec![Err(item(part, Problem::Io(error)))],
        }
    }

    fn read(&self, file: &str) -> Result<zeroize::Zeroizing<Vec<u8>>, ItemError> {
        files::read(&self.root.join(file), MAX_FILE).map_err(|error| item(file, Problem::Io(error)))
    }

    fn write(&self, file: &str, contents: &[u8]) -> Result<(), ItemError> {
        Pending::write(&self.root.join(file), 0o600, contents)
            .and_then(Pending::replace)
            .map_err(|error| item(file, Problem::Io(error)))
    }

    fn remove(&self, file: &str) -> Result<bool, ItemError> {
        let path = self.root.join(file);
        match fs::remove_file(&path) {
            Ok(()) => files::sync_directory(path.parent().unwrap_or(&self.root))
                .map(|()| true)
                .map_err(|error| item(file, Problem::Io(error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(item(file, Problem::Io(error))),
        }
    }
}

/// `part/STEM.extension` → `STEM`
fn stem<'a>(file: &'a str, extension: &str) -> Option<&'a str> {
    file.split_once('/')?.1.strip_suffix(extension)
}

fn id_of(file: &str, extension: &'static str) -> Result<KeyId, ItemError> {
    let id = stem(file, extension).and_then(hex::decode).map(KeyId);
    id.ok_or_else(|| {
        item(
            file,
            Problem::Name(if extension == ".pem" {
                "ID.pem"
            } else {
                "ID.toml (or ID.pem)"
            }),
        )
    })
}

fn file_names(path: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn make_directory(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn remove_temporary(path: &Path) -> io::Result<()> {
    let names = file_names(path)?;
    names
        .iter()
        .filter(|name| name.starts_with(TEMPORARY))
        .try_for_each(|name| fs::remove_file(path.join(name)))
}

const CREDENTIALS: &str = "credentials";
const KEYS: &str = "keys";
const CHAINS: &str = "chains";
/// The enclave holds as many of a client: one in use, and one that is rolled out.
const MAX_CREDENTIALS: usize = 2;
/// A chain of 48 KiB in PEM, or a key with 100 names.
const MAX_FILE: usize = 131_072;

#[cfg(test)]
mod tests;
