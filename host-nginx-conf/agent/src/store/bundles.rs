//! Bundles that were provisioned and not sealed: what a restarted service is given again.

use enclave_wire::control::{BundleSource, KeyInfo, Provision, S3Object};
use enclave_wire::log::Text;
use enclave_wire::{KeyId, State};

use super::error::{ItemError, Problem, item};
use super::{KeptKey, Store, format, id_of, stem};

/// What a bundle's key is provisioned with, but for a document that lies beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeptBundle {
    pub(crate) key: KeptKey,
    /// The ARN of the KMS key.
    pub(crate) kms_key: Text<256>,
    /// Where the document is, if it is in S3.
    pub(crate) object: Option<S3Object>,
}

impl Store {
    /// Keeps a bundle. The document comes first: without its `.toml` it is not replayed.
    pub(crate) fn keep_bundle(&self, key: &KeyInfo, provision: &Provision) -> Result<(), ItemError> {
        let object = match &provision.source {
            BundleSource::Document(json) => {
                self.write(&format!("{BUNDLES}/{}.json", key.id), json.as_bytes())?;
                None
            }
            BundleSource::S3(object) => Some(object.clone()),
        };
        self.write_bundle(&KeptBundle {
            key: KeptKey {
                id: key.id,
                name: key.name.clone(),
                generation: self.next_generation(key),
                usage: key.usage,
                superseded: key.state == State::Superseded,
                // As they were asked for: where there were none, the certificate says them again.
                dns_names: provision.dns_names.items().to_vec(),
                clients: key.clients.items().to_vec(),
            },
            kms_key: provision.kms_key.clone(),
            object,
        })
    }

    /// The kept bundles, the generations of a name in their order.
    pub(crate) fn bundles(&self) -> Vec<Result<KeptBundle, ItemError>> {
        let read = self.each(BUNDLES, |file| match stem(file, ".json") {
            Some(stem) if self.root.join(format!("{BUNDLES}/{stem}.toml")).exists() => Ok(None),
            Some(_) => Err(item(file, Problem::DocumentAlone)),
            None => self.bundle(id_of(file, ".toml")?).map(Some),
        });
        let mut bundles: Vec<_> = read.into_iter().filter_map(Result::transpose).collect();
        bundles.sort_by_key(|bundle| bundle.as_ref().ok().map(|b| (b.key.name.clone(), b.key.generation)));
        bundles
    }

    /// One kept bundle.
    pub(crate) fn bundle(&self, id: KeyId) -> Result<KeptBundle, ItemError> {
        let file = file(id);
        format::bundle(id, &file, &self.read(&file)?)
    }

    /// The request that provisions a kept bundle.
    pub(crate) fn provision(&self, bundle: &KeptBundle) -> Result<Provision, ItemError> {
        let KeptBundle { key, kms_key, object } = bundle;
        let too_many = |_| item(&file(key.id), Problem::Names);
        Ok(Provision {
            name: key.name.clone(),
            usage: key.usage,
            dns_names: key.dns_names.clone().try_into().map_err(too_many)?,
            clients: key.clients.clone().try_into().map_err(too_many)?,
            sealed: None,
            kms_key: kms_key.clone(),
            source: match object {
                Some(object) => BundleSource::S3(object.clone()),
                None => BundleSource::Document(self.document(key.id)?),
            },
        })
    }

    /// Follows an object of S3 that has got another key since: the record is now that key's.
    pub(crate) fn follow_bundle(&self, bundle: &KeptBundle, id: KeyId) -> Result<(), ItemError> {
        let mut followed = bundle.clone();
        followed.key.id = id;
        self.write_bundle(&followed)?;
        self.forget(bundle.key.id).map(|_| ())
    }

    /// Whether this key's bundle is kept.
    pub(crate) fn is_bundle(&self, id: KeyId) -> bool {
        self.root.join(file(id)).exists()
    }

    pub(crate) fn write_bundle(&self, bundle: &KeptBundle) -> Result<(), ItemError> {
        self.write(&file(bundle.key.id), format::bundle_text(bundle).as_bytes())
    }

    fn document<const MAX: usize>(&self, id: KeyId) -> Result<enclave_wire::control::Opaque<MAX>, ItemError> {
        let file = format!("{BUNDLES}/{id}.json");
        let json = self.read(&file)?.to_vec();
        json.try_into().map_err(|_| item(&file, Problem::DocumentTooLong))
    }
}

fn file(id: KeyId) -> String {
    format!("{BUNDLES}/{id}.toml")
}

pub(crate) const BUNDLES: &str = "bundles";
