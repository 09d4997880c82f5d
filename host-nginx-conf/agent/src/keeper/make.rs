//! Keys: made or given where the inventory asks for one that the enclave does not hold.

use std::path::Path;

use enclave_tls_config::{BundlePlace, Certificate, Config, Source};
use enclave_wire::Name;
use enclave_wire::control::{BundleSource, ControlError, Create, KeyInfo, Provision, Reply, Request};
use enclave_wire::log::Text;

use super::bundle;
use super::history::What as Happened;
use super::keys::Keys;
use super::plan::{self, Step};
use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Makes what is missing, each certificate by itself. Whether all were looked at: a thousand large keys take longer than those that
    /// are ready should wait.
    pub(super) fn make_keys(&mut self, config: &Config, keys: &mut Keys) -> Result<bool, EnclaveError> {
        let began = self.clock.monotonic();
        for certificate in config.certificates.values() {
            let what = What::Make(certificate.name.clone());
            if self.troubles.is_early(&what) {
                continue;
            }
            match self.step(config, certificate, keys) {
                Ok(Ok(())) => self.troubles.well(&what),
                Ok(Err(why)) => self.troubles.failed(what, &why),
                Err(error) => {
                    // It may be this one's fault, so that another goes first next time.
                    if error.is_by_request() {
                        self.troubles.failed(what, &error.to_string());
                    }
                    return Err(error);
                }
            }
            if self.clock.monotonic().saturating_sub(began) > MAKE_FOR {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        keys: &mut Keys,
    ) -> Result<Result<(), String>, EnclaveError> {
        let file = match &certificate.source {
            Source::Bundle {
                from: BundlePlace::File(path),
                ..
            } => Some(path.as_path()),
            Source::Bundle {
                from: BundlePlace::S3(_),
                ..
            }
            | Source::Csr { .. }
            | Source::Acme(_) => None,
        };
        let is_new = match file.map(|path| self.is_new(certificate, path)).transpose() {
            Ok(is_new) => is_new.unwrap_or(false),
            Err(why) => return Ok(Err(why)),
        };
        let version = self.versions.lock().get(&certificate.name).cloned();
        let is_new = is_new || self.is_another_object(certificate, keys, version.as_deref());
        let asked = self.asked(certificate, keys);
        let is_wanted = is_new || asked.is_some() || self.is_due(certificate, keys);
        let made = match self.plan(config, certificate, keys, is_wanted).step {
            None => return Ok(Ok(())),
            Some(Step::Create) => its_own(self.create(config, certificate))?,
            Some(Step::Provision) => self.provision(config, certificate, file, keys)?,
        };
        Ok(made.map(|key| {
            if let Some(version) = version {
                self.memory.rotations_mut().has_version(&certificate.name, &version);
            }
            if asked.is_some() {
                self.memory.rotations_mut().answered(&certificate.name);
            }
            if let Some(key) = key {
                self.happened(Happened::Made, &key, asked, None);
                keys.put(key);
            }
        }))
    }

    /// Whether S3 has another object than the one that was read last.
    fn is_another_object(&self, certificate: &Certificate, keys: &Keys, version: Option<&str>) -> bool {
        let name = &certificate.name;
        match (version, self.memory.rotations().version(name)) {
            (Some(version), Some(known)) => version != known,
            // It was read before anybody asked for its version, and may have become another in between: it is read once more, which the
            // enclave answers by what it has where it is the same.
            (Some(_), None) => has_one(certificate, keys),
            (None, _) => false,
        }
    }

    /// The administrator who asked for another key, whose turn it is.
    fn asked(&mut self, certificate: &Certificate, keys: &Keys) -> Option<u32> {
        let name = &certificate.name;
        let asked = self.memory.rotations().asked(name)?.clone();
        if asked.due > self.memory.counted() {
            return None;
        }
        let its = keys.of(name);
        // An agent that was killed had it made, and did not come to write that down.
        if its
            .iter()
            .any(|key| key.generation > asked.above && plan::fits(certificate, key))
        {
            self.memory.rotations_mut().answered(name);
            return None;
        }
        Some(asked.by)
    }

    fn is_new(&mut self, certificate: &Certificate, path: &Path) -> Result<bool, String> {
        let digest = self.bundles.digest(&certificate.name, path);
        let digest = digest.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(self.memory.bundle(&certificate.name) != Some(&digest))
    }

    fn create(&self, config: &Config, certificate: &Certificate) -> Result<Option<KeyInfo>, EnclaveError> {
        let Some(key_type) = certificate.source.born() else {
            return Ok(None);
        };
        let request = Request::Create(Create {
            name: certificate.name.clone(),
            key_type,
            usage: certificate.usage,
            dns_names: certificate
                .dns_names
                .clone()
                .try_into()
                .map_err(|_| EnclaveError::Refused(TOO_MANY))?,
            clients: clients_of(config, certificate)
                .try_into()
                .map_err(|_| EnclaveError::Refused(TOO_MANY))?,
            sealed: certificate.sealed.clone(),
        });
        match self.enclave.ask(&request)? {
            Reply::Created(key) if key.name == certificate.name => {
                let event = Event::CertificateCreated.about().certificate(&key.name);
                event.generation(key.generation).key(key.id).say(format_args!(
                    "{} generation {} is born ({}); it waits for its certificate",
                    key.name, key.generation, key.id
                ));
                Ok(Some(key))
            }
            _ => Err(EnclaveError::Unexpected),
        }
    }

    fn provision(
        &mut self,
        config: &Config,
        certificate: &Certificate,
        file: Option<&Path>,
        keys: &Keys,
    ) -> Result<Result<Option<KeyInfo>, String>, EnclaveError> {
        let Source::Bundle { from, kms_key } = &certificate.source else {
            return Ok(Ok(None));
        };
        let (source, digest) = match (from, file) {
            (BundlePlace::S3(object), _) => (BundleSource::S3(object.clone()), None),
            (BundlePlace::File(path), _) => match bundle::whole(path) {
                Ok((bundle, digest)) => {
                    let Ok(bundle) = bundle.try_into() else {
                        return Ok(Err(EnclaveError::Refused(TOO_MANY).to_string()));
                    };
                    (BundleSource::Document(bundle), Some(digest))
                }
                Err(error) => {
                    self.bundles.forget(&certificate.name);
                    return Ok(Err(format!("{}: {error}", path.display())));
                }
            },
        };
        let lists = certificate.dns_names.clone().try_into().ok();
        let lists = lists.zip(clients_of(config, certificate).try_into().ok());
        let Some((dns_names, clients)) = lists else {
            return Ok(Err(EnclaveError::Refused(TOO_MANY).to_string()));
        };
        let request = Request::Provision(Provision {
            name: certificate.name.clone(),
            usage: certificate.usage,
            dns_names,
            clients,
            sealed: certificate.sealed.clone(),
            kms_key: Text::lossy(kms_key.as_str()),
            source,
        });
        let key = match self.enclave.ask(&request) {
            Ok(Reply::Provisioned(key)) if key.name == certificate.name => {
                let event = Event::CertificateProvisioned.about().certificate(&key.name);
                event.generation(key.generation).key(key.id).say(format_args!(
                    "{} generation {} came from its bundle",
                    key.name, key.generation
                ));
                Some(key)
            }
            // The enclave has it already, and the file was only written again.
            Err(EnclaveError::Refused(ControlError::KeyExists)) if has_one(certificate, keys) => None,
            Err(EnclaveError::Refused(ControlError::KeyExists)) => return Ok(Err(NOT_AS_CONFIGURED.to_owned())),
            Ok(_) => return Ok(Err(EnclaveError::Unexpected.to_string())),
            Err(error) => return its_own(Err(error)),
        };
        if let Some(digest) = digest {
            self.memory.gave_bundle(&certificate.name, digest);
        }
        Ok(Ok(key))
    }
}

fn has_one(certificate: &Certificate, keys: &Keys) -> bool {
    keys.of(&certificate.name)
        .iter()
        .any(|key| key.state == enclave_wire::State::Live && plan::fits(certificate, key))
}

fn clients_of(config: &Config, certificate: &Certificate) -> Vec<Name> {
    config.clients_of(certificate).into_iter().cloned().collect()
}

/// More than a request takes: at most 100 DNS names, 64 clients, and a bundle of 64 KiB. The configuration is not so, a bundle may be.
const TOO_MANY: ControlError = ControlError::LimitReached;
const NOT_AS_CONFIGURED: &str = "the enclave holds the key of its bundle already, and not as the inventory says; correct `usage` or `dns_names`, or \
     retire that key (`enclave-tlsctl retire`), or seal a bundle with another";
/// How long keys are made before those that are ready are deployed.
const MAKE_FOR: std::time::Duration = std::time::Duration::from_secs(5);
