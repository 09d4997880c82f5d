//! A certificate whose private key KMS opens, from where its bundle is.

use enclave_policy::aws::{KeyArn, Region};
use enclave_wire::control::{BundleSource, ControlError, Listed, Origin, Provision, S3Object};
use enclave_wire::{DnsName, Usage};

use super::Provisioner;
use super::aws::bundle_context;
use super::bundle::{Bundle, MadeBy};
use crate::chain;
use crate::keystore::{Change, Key, KeyError, NewKey, SigningKey};

impl Provisioner<'_> {
    /// Opens a bundle's key, which must be its leaf's, as the key that is next in its name; where it is here already, under this name, as
    /// that key's newer chain.
    pub(crate) fn bundle(&self, request: Provision) -> Result<Change, ControlError> {
        let kms_key = self.bundle_key(&request)?;
        self.keys
            .admits(&request.name, request.clients.items(), request.sealed.as_ref())?;
        let bundle = match &request.source {
            BundleSource::Document(json) => parse(json.as_bytes())?,
            BundleSource::S3(object) => parse(&self.object(object)?)?,
        };
        self.is_meant(&bundle, &request, &kms_key)?;
        let dns_names = dns_names(&bundle, &request)?;
        self.can_seal(request.sealed.as_ref())?;
        let signing = self.open(&bundle, &request, &kms_key)?;
        self.policy.allows_key(signing.key_type())?;
        if let Ok(known) = self.keys.get(&signing.id()) {
            return self.renewed(&known, &bundle, &request);
        }
        let names = dns_names.items();
        let chain = chain::validate(
            &bundle.chain,
            signing.spki(),
            request.usage,
            names,
            self.clock.now_unix(),
        )?;
        Ok(Change::Insert(Box::new(NewKey {
            signing,
            name: request.name,
            usage: request.usage,
            origin: Origin::Bundle,
            dns_names,
            clients: request.clients,
            chain: Some(chain),
            sealed: request.sealed,
        })))
    }

    /// A certificate that was renewed for the same key. Nothing else of the key changes, so all else that is asked for must be so already;
    /// and an older certificate, from a copy that was left behind, does not take a newer one's place.
    fn renewed(&self, known: &Key, bundle: &Bundle, request: &Provision) -> Result<Change, ControlError> {
        let group = known.sealed().map(|sealed| sealed.group);
        let same = known.entry().name == request.name
            && known.usage() == request.usage
            && known.clients() == request.clients.items()
            && [known.dns_names(), &[]].contains(&request.dns_names.items())
            && group == request.sealed;
        if !same {
            return Err(ControlError::KeyExists);
        }
        let (spki, names) = (known.signing().spki(), known.dns_names());
        let chain = chain::validate(&bundle.chain, spki, known.usage(), names, self.clock.now_unix())?;
        let begins = known.info().validity.map(|validity| validity.not_before);
        if chain.served == *known.chain() || begins.is_some_and(|begins| chain.validity.not_before < begins) {
            return Err(ControlError::KeyExists);
        }
        Ok(Change::InstallChain { key: known.id(), chain })
    }

    /// The KMS key that the request names, if all that the request says is the policy's.
    fn bundle_key(&self, request: &Provision) -> Result<KeyArn, ControlError> {
        self.policy.allows(&request.name, request.usage)?;
        let kms_key: KeyArn = request.kms_key.as_str().parse().map_err(|error| {
            tracing::warn!(name = %request.name, %error, "not the ARN of a KMS key");
            ControlError::KmsKeyRefused
        })?;
        self.policy.bundle_key(&kms_key)?;
        if request.sealed.is_some() {
            self.sealing_keys()?;
        }
        Ok(kms_key)
    }

    fn object(&self, object: &S3Object) -> Result<Vec<u8>, ControlError> {
        let region: Region = object.region.as_str().parse().map_err(|error| {
            tracing::warn!(%error, "not a region");
            ControlError::RegionRefused
        })?;
        self.policy.allows_region(&region)?;
        self.aws.get_object(&region, object)
    }

    /// Ours says whose it is; another's must be one that the policy takes.
    fn is_meant(&self, bundle: &Bundle, request: &Provision, kms_key: &KeyArn) -> Result<(), ControlError> {
        match &bundle.made_by {
            MadeBy::Others => self.policy.allows_foreign_bundles(),
            MadeBy::Us { name, .. } if *name != request.name => {
                tracing::warn!(%name, wanted = %request.name, "a bundle was made for another name");
                Err(ControlError::BundleName)
            }
            MadeBy::Us { key, .. } if key != kms_key => {
                tracing::warn!(%key, wanted = %kms_key, "a bundle was made with another KMS key");
                Err(ControlError::KmsKeyRefused)
            }
            MadeBy::Us { .. } => Ok(()),
        }
    }

    /// What a bundle says of itself is not believed: it is KMS that holds ours to their name.
    fn open(&self, bundle: &Bundle, request: &Provision, kms_key: &KeyArn) -> Result<SigningKey, ControlError> {
        let context = match bundle.made_by {
            MadeBy::Us { .. } => bundle_context(&request.name),
            MadeBy::Others => Vec::new(),
        };
        let pem = self.aws.decrypt(kms_key, &bundle.encrypted_key, &context)?;
        SigningKey::from_pem(&pem).map_err(|error| {
            tracing::warn!(name = %request.name, %error, "what a bundle's key opens to was refused");
            match error {
                KeyError::Malformed | KeyError::NotPem | KeyError::Encrypted | KeyError::Inconsistent => {
                    ControlError::BundleInvalid
                }
                KeyError::Unsupported
                | KeyError::RsaSize
                | KeyError::SizeNotGenerated
                | KeyError::TooManyNames
                | KeyError::Library => error.into(),
            }
        })
    }
}

fn parse(json: &[u8]) -> Result<Bundle, ControlError> {
    Bundle::parse(json).map_err(|error| {
        tracing::warn!(%error, "a bundle was refused");
        error.into()
    })
}

/// The names that were asked for; else the leaf's own. What names a client may be no host.
fn dns_names(bundle: &Bundle, request: &Provision) -> Result<Listed<DnsName, 100>, ControlError> {
    if !request.dns_names.items().is_empty() || request.usage == Usage::TlsClient {
        return Ok(request.dns_names.clone());
    }
    let names = chain::leaf_names(&bundle.chain)?;
    Listed::try_from(names).map_err(|_| ControlError::LimitReached)
}
