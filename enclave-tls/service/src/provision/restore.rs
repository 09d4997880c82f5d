//! A name's keys, from the state that the parent kept.

use std::sync::Arc;

use enclave_wire::control::{ControlError, Freshness, Origin};
use enclave_wire::{KeyId, Name};

use super::Provisioner;
use super::aws::group_context;
use crate::keystore::Restored;
use crate::sealed::{DataKey, Envelope, Generation, Header};

impl Provisioner<'_> {
    /// Opens a state and takes its generations, as far as the policy allows them. Whether a newer state exists is not known: the parent
    /// chose this one.
    pub(crate) fn restore(&self, blob: &[u8]) -> Result<Vec<KeyId>, ControlError> {
        let envelope = Envelope::parse(blob).map_err(refused)?;
        let header = envelope.header();
        self.may_open(header)?;
        let data_key = match self.data_keys.of(header) {
            Some(known) => known,
            None => Arc::new(self.open_data_key(header)?),
        };
        let state = envelope.open(&data_key).map_err(refused)?;
        self.data_keys.keep(&data_key)?;
        let restored = self.keys.restore(state, Freshness::Unproven, |generation| {
            self.accepts(&header.name, generation)
        })?;
        said(header, &restored);
        self.seal_again(header);
        Ok(restored.keys)
    }

    /// The parent may name any KMS key in a header: only the policy's are asked to open something.
    fn may_open(&self, header: &Header) -> Result<(), ControlError> {
        self.sealing_key()?;
        if self.policy.sealing_keys().contains(&header.kms_key) {
            return Ok(());
        }
        tracing::warn!(name = %header.name, kms_key = %header.kms_key, "a state was sealed under a key that the policy does not name");
        Err(ControlError::KmsKeyRefused)
    }

    fn open_data_key(&self, header: &Header) -> Result<DataKey, ControlError> {
        let (group, kms_key, wrapped) = (&header.group, &header.kms_key, &header.wrapped);
        let opened = self.aws.decrypt(kms_key, wrapped, &group_context(group))?;
        let secret = opened.as_slice().try_into().map_err(|_| {
            tracing::warn!(%group, %kms_key, "what KMS opened is no data key");
            ControlError::StateInvalid
        })?;
        tracing::info!(%group, %kms_key, "a data key was opened");
        Ok(DataKey::new(group.clone(), kms_key.clone(), wrapped.clone(), secret))
    }

    fn accepts(&self, name: &Name, generation: &Generation) -> Result<(), ControlError> {
        self.policy.allows(name, generation.usage)?;
        if generation.origin == Origin::Imported {
            self.policy.allows_imports()?;
        }
        self.policy.allows_key(generation.key.key_type())
    }

    /// What was sealed under another policy or another KMS key is sealed under this one's, so that the older can go. Where that fails
    /// the keys are here all the same: they are sealed again at the next change, or when the same state is given once more.
    fn seal_again(&self, header: &Header) {
        let current = self.sealing_key().is_ok_and(|key| *key == header.kms_key);
        if current && header.policy_sha384 == self.policy.sha384() {
            return;
        }
        let sealed = self.keys.reseal(&header.name).and_then(|planned| self.commit(planned));
        match sealed {
            Ok(()) => tracing::info!(name = %header.name, "sealed again under the present policy and KMS key"),
            Err(error) => tracing::warn!(name = %header.name, ?error, "not sealed again"),
        }
    }
}

fn said(header: &Header, restored: &Restored) {
    for refused in &restored.refused {
        tracing::warn!(
            name = %header.name, generation = refused.generation, key = %refused.key, error = ?refused.error,
            "the policy refuses a generation: it is kept sealed, and does not sign"
        );
    }
    tracing::info!(name = %header.name, number = header.number, keys = restored.keys.len(), "restored; freshness unproven");
}

fn refused(error: crate::sealed::SealedError) -> ControlError {
    tracing::warn!(%error, "a state was refused");
    error.into()
}
