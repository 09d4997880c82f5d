//! Each client's public objects: what its module shows of keys that the enclave cannot be asked for, or does not have.
//!
//! Beside the enclave's keys these are those that servers have and the enclave has not, or not yet: born keys that a restart ended, sealed
//! ones that AWS does not open. Without them a server would refuse its whole configuration for the sake of one. They come from the file
//! that was written before, of which the agent keeps a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use enclave_tls_admin::files::{self, Pending};
use enclave_tls_apply::{Deployment, Generation, ObjectsFile};
use enclave_tls_config::Config;
use enclave_wire::control::KeyInfo;
use enclave_wire::objects::{Object, Objects};
use enclave_wire::{Name, State};
use sha2::{Digest, Sha256};

use super::Keeper;
use super::keys::Keys;
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};

/// By client, what its file was made of and what came out. The file of a thousand keys is some megabytes: it is made when it changes.
#[derive(Default)]
pub(super) struct Written {
    by_client: BTreeMap<Name, (Sum, Sum)>,
    /// What each client's file held last.
    last: BTreeMap<Name, Vec<Object>>,
    directory: PathBuf,
}

impl Written {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.join(COPIES),
            ..Self::default()
        }
    }

    /// What the file held last, by the copy where this run wrote none. A copy that is not there or not readable is as good as none.
    fn last(&mut self, client: &Name) -> &[Object] {
        let file = self.directory.join(client.as_str());
        self.last.entry(client.clone()).or_insert_with(|| {
            let copy = files::read_public(&file, enclave_tls_apply::MAX_OBJECTS).ok();
            let objects = copy.and_then(|copy| Objects::parse(&copy).ok());
            objects.map(|objects| objects.as_slice().to_vec()).unwrap_or_default()
        })
    }

    /// Keeps a copy. Without one, a restart of agent and enclave both would leave out what the enclave has lost meanwhile.
    fn keep(&self, client: &Name, file: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.directory)?;
        Pending::write(&self.directory.join(client.as_str()), 0o600, file).and_then(Pending::replace)
    }
}

type Sum = [u8; 32];

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Has each client's public objects written, where they are others than before.
    pub(super) fn objects(&mut self, config: &Config, keys: &Keys) -> Result<(), EnclaveError> {
        self.objects_of_all(config, keys, true)
    }

    /// The same, also of those that could not be written a moment ago.
    pub(super) fn objects_at_once(&mut self, config: &Config, keys: &Keys) -> Result<(), EnclaveError> {
        self.objects_of_all(config, keys, false)
    }

    fn objects_of_all(&mut self, config: &Config, keys: &Keys, waits: bool) -> Result<(), EnclaveError> {
        if !self.machine.is_here {
            return Ok(());
        }
        self.objects
            .by_client
            .retain(|name, _| config.clients.contains_key(name));
        for client in config.clients.keys() {
            let what = What::Objects(client.clone());
            if waits && self.troubles.is_early(&what) {
                continue;
            }
            match self.objects_of(config, client, keys)? {
                Ok(()) => self.troubles.well(&what),
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    fn objects_of(&mut self, config: &Config, client: &Name, keys: &Keys) -> Result<Result<(), String>, EnclaveError> {
        let Some(on_disk) = self.machine.client(client).map(|found| found.objects) else {
            return Ok(Err(UNKNOWN.to_owned()));
        };
        let mut its = Vec::new();
        for key in keys.all().filter(|key| key.validity.is_some()) {
            // One that cannot be shown is in trouble by itself, and the others are shown.
            if key.clients.items().contains(client)
                && let Ok(deployment) = self.chains.deployment(&*self.enclave, key)?
            {
                its.push((key, deployment.directory()));
            }
        }
        let missing = self.missing(config, client, keys);
        let of = sum(&its, &missing);
        if let Some((known, file)) = self.objects.by_client.get(client)
            && *known == of
            && on_disk == Some(*file)
        {
            return Ok(Ok(()));
        }
        let mut objects = Vec::with_capacity(its.len());
        for (key, _) in its {
            if let Ok(deployment) = self.chains.deployment(&*self.enclave, key)? {
                objects.push(object(key, deployment));
            }
        }
        objects.extend(missing);
        Ok(self.write(client, of, on_disk, objects))
    }

    /// What servers have and the enclave has not.
    fn missing(&mut self, config: &Config, client: &Name, keys: &Keys) -> Vec<Object> {
        let held: BTreeSet<_> = keys.all().map(|key| key.id).collect();
        let machine = &self.machine;
        let is_missing = |object: &&Object| {
            let entry = &object.entry;
            let generation = Generation {
                generation: entry.generation,
                id: entry.id,
            };
            !held.contains(&entry.id)
                && config.certificates.contains_key(&entry.name)
                && machine.gives_generation(&entry.name, &generation)
        };
        self.objects.last(client).iter().filter(is_missing).cloned().collect()
    }

    fn write(&mut self, client: &Name, of: Sum, on_disk: Option<Sum>, objects: Vec<Object>) -> Result<(), String> {
        let file = file(objects.clone()).or_else(|why| {
            // Those that servers use go first.
            let live = objects.into_iter().filter(|object| object.entry.state == State::Live);
            file(live.collect()).map_err(|_| why)
        })?;
        let sum: Sum = Sha256::digest(file.as_bytes()).into();
        let shown = Objects::parse(file.as_bytes()).map_err(|error| error.to_string())?;
        if let Err(error) = self.objects.keep(client, file.as_bytes()) {
            return Err(format!("its copy cannot be kept: {error}"));
        }
        if on_disk != Some(sum) {
            let written = self.helper.objects(client.clone(), file);
            written.map_err(|error| error.why)?;
        }
        self.objects.by_client.insert(client.clone(), (of, sum));
        self.objects.last.insert(client.clone(), shown.as_slice().to_vec());
        Ok(())
    }
}

fn file(objects: Vec<Object>) -> Result<ObjectsFile, String> {
    let objects = Objects::try_from(objects).map_err(|error| error.to_string())?;
    ObjectsFile::new(objects.to_file()).ok_or_else(|| TOO_LONG.to_owned())
}

fn object(key: &KeyInfo, deployment: &Deployment) -> Object {
    Object {
        entry: key.entry(),
        chain: deployment.chain().clone(),
    }
}

/// Changes whenever an object does: a directory's name is that of its key and chain.
fn sum(keys: &[(&KeyInfo, enclave_tls_apply::Directory)], missing: &[Object]) -> Sum {
    let mut sorted: Vec<_> = keys.iter().collect();
    sorted.sort_by_key(|(key, _)| key.id);
    let mut sum = Sha256::new();
    for (key, directory) in sorted {
        sum.update(key.id.0);
        sum.update([key.usage.byte(), key.state.byte()]);
        sum.update(directory.to_string());
        sum.update([0]);
    }
    for object in missing {
        sum.update(object.entry.id.0);
    }
    sum.finalize().into()
}

/// Where the copies are, in the agent's directory.
const COPIES: &str = "objects";
const UNKNOWN: &str = "the root helper does not know the client; the configuration file was changed: `systemctl reload enclave-tls-agent`";
const TOO_LONG: &str = "the client has more keys than fit its file of public objects (16 MiB); make it two clients. Without the file its servers do \
     not start while the enclave is away";
