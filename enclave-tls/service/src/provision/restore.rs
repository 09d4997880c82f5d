//! A name's keys, from the state that the parent kept.

use std::sync::Arc;

use enclave_policy::aws::KeyArn;
use enclave_wire::control::{ControlError, Freshness, Origin};
use enclave_wire::{KeyId, Name};

use super::Provisioner;
use super::aws::group_context;
use super::kms_keys::Refusals;
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
        self.keep(&data_key, header)?;
        let restored = self.keys.restore(state, Freshness::Unproven, |generation| {
            self.accepts(&header.name, generation)
        })?;
        said(header, &restored);
        self.seal_again(header);
        Ok(restored.keys)
    }

    /// The parent may name any KMS key in a header: only the policy's are asked to open something.
    fn may_open(&self, header: &Header) -> Result<(), ControlError> {
        self.sealing_keys()?;
        let named = header.wrapping.kms_keys();
        if named.iter().any(|key| self.policy.sealing_keys().contains(key)) {
            return Ok(());
        }
        let kms_keys: Vec<String> = named.iter().map(ToString::to_string).collect();
        tracing::warn!(name = %header.name, ?kms_keys, "a state was sealed under no key that the policy names");
        Err(ControlError::KmsKeyRefused)
    }

    /// Asks one KMS key after the other, those of the policy, until one opens it.
    fn open_data_key(&self, header: &Header) -> Result<DataKey, ControlError> {
        let asked = self.openers(header);
        let mut refusals = Refusals::default();
        for (place, (kms_key, ciphertext)) in asked.iter().copied().enumerate() {
            let left = asked.len().saturating_sub(place);
            match self.open_with(header, kms_key, ciphertext, left) {
                Ok(data_key) => {
                    self.data_keys.answers().answered(kms_key);
                    tracing::info!(group = %header.group, %kms_key, "a data key was opened");
                    return Ok(data_key);
                }
                Err(error) => {
                    // What a blob of the parent's making brings about says nothing of the KMS key.
                    if error == ControlError::AwsUnavailable {
                        self.data_keys.answers().failed(kms_key);
                    }
                    if !refusals.note(kms_key, error) {
                        break;
                    }
                }
            }
        }
        tracing::warn!(group = %header.group, said = %refusals, "no KMS key opened the data key");
        Err(refusals.error().unwrap_or(ControlError::KmsKeyRefused))
    }

    /// The header's KMS keys that the policy names, in the order in which to ask.
    fn openers<'h>(&self, header: &'h Header) -> Vec<(&'h KeyArn, &'h [u8])> {
        let place = |key: &KeyArn| self.policy.sealing_keys().iter().position(|known| known == key);
        let mut asked = header.wrapping.ciphertexts();
        asked.retain(|(key, _)| place(key).is_some());
        let answers = self.data_keys.answers();
        asked.sort_by_cached_key(|(key, _)| (answers.rank(key), place(key)));
        asked
    }

    fn open_with(
        &self,
        header: &Header,
        kms_key: &KeyArn,
        ciphertext: &[u8],
        left: usize,
    ) -> Result<DataKey, ControlError> {
        let group = &header.group;
        let opened = self
            .aws
            .one_of(left)
            .decrypt(kms_key, ciphertext, &group_context(group))?;
        DataKey::of(header, kms_key, &opened).map_err(|error| {
            tracing::warn!(%group, %kms_key, %error, "what KMS opened does not open the data key");
            error.into()
        })
    }

    /// Keeps what a state was opened with, and what its header, which is authentic now, says of it: more KMS keys that open it, or one that
    /// no longer seals, so that nothing new is sealed for it to open.
    fn keep(&self, data_key: &Arc<DataKey>, header: &Header) -> Result<(), ControlError> {
        let joined = data_key.joined(header).map(Arc::new);
        let data_key = joined.as_ref().unwrap_or(data_key);
        self.data_keys.keep(data_key)?;
        if self.sheds(header) {
            self.data_keys.spend(data_key);
        }
        Ok(())
    }

    /// Whether a KMS key opens this state that no longer seals.
    fn sheds(&self, header: &Header) -> bool {
        let wanted = self.sealing_keys().unwrap_or_default();
        header.wrapping.kms_keys().iter().any(|key| !wanted.contains(key))
    }

    fn accepts(&self, name: &Name, generation: &Generation) -> Result<(), ControlError> {
        self.policy.allows(name, generation.usage)?;
        if generation.origin == Origin::Imported {
            self.policy.allows_imports()?;
        }
        self.policy.allows_key(generation.key.key_type())
    }

    /// What was sealed under another policy or other KMS keys is sealed under this one's, so that the older can go. Where that fails the
    /// keys are here all the same: they are sealed again at the next change, once all KMS keys answer, or when the same state is given
    /// once more.
    fn seal_again(&self, header: &Header) {
        let sealed = self.is_to_be_sealed(header).and_then(|is| {
            if is {
                self.keys
                    .reseal(&header.name)
                    .and_then(|planned| self.commit(planned))?;
            }
            Ok(is)
        });
        match sealed {
            Ok(true) => tracing::info!(name = %header.name, "sealed again under the present policy and KMS keys"),
            Ok(false) => {}
            Err(error) => tracing::warn!(name = %header.name, ?error, "not sealed again"),
        }
    }

    /// Whether a state would be another than the one with this header, if it were sealed again now.
    fn is_to_be_sealed(&self, header: &Header) -> Result<bool, ControlError> {
        let wanted = self.sealing_keys()?;
        let named = header.wrapping.kms_keys();
        let opened_by = named.iter().copied().cloned().collect();
        self.data_keys.behind.stored(&header.name, opened_by, wanted);
        let lacks = wanted.iter().any(|key| !named.contains(&key));
        let form = header.wrapping.is_each() != (wanted.len() > 1);
        if header.policy_sha384 != self.policy.sha384() || self.sheds(header) {
            return Ok(true);
        }
        if !lacks && !form {
            return Ok(false);
        }
        let data_key = self.sealing_data_key(&header.group)?;
        let wrapping = data_key.wrapping();
        let more = wrapping.kms_keys().iter().any(|key| !named.contains(key));
        Ok(more || (!lacks && wrapping.is_each() != header.wrapping.is_each()))
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
