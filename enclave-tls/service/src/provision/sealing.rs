//! A change of a sealed name: its next state is sealed and stored before anything of it is used.

use std::sync::Arc;

use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use enclave_wire::control::{ControlError, StoreState};

use super::Provisioner;
use crate::keystore::Planned;
use crate::sealed::{DataKey, State};

impl Provisioner<'_> {
    /// Makes a change, if the name is sealed once its next state is kept by the agent. If it fails, nothing was changed.
    pub(crate) fn commit<T>(&self, planned: Planned<T>) -> Result<T, ControlError> {
        if let Some(state) = planned.state() {
            self.store(state)?;
        }
        self.keys.commit(planned)
    }

    /// Whether states can be sealed in this group, if there is one: asked before a key is made, since it asks KMS for the data key.
    pub(crate) fn can_seal(&self, group: Option<&Name>) -> Result<(), ControlError> {
        group.map_or(Ok(()), |group| self.sealing_data_key(group).map(drop))
    }

    fn store(&self, state: &State) -> Result<(), ControlError> {
        let data_key = self.sealing_data_key(&state.group)?;
        let blob = state.seal(&data_key, &self.policy.sha384()).map_err(|error| {
            tracing::error!(name = %state.name, number = state.number, %error, "cannot seal a state");
            ControlError::from(error)
        })?;
        self.agent.store(StoreState {
            name: state.name.clone(),
            number: state.number,
            blob: blob.try_into().map_err(|_| ControlError::LimitReached)?,
        })
    }

    /// The data key that states of this group are sealed under from now on: one that a state was opened with, or a new one.
    fn sealing_data_key(&self, group: &Name) -> Result<Arc<DataKey>, ControlError> {
        let kms_key = self.sealing_key()?;
        if let Some(data_key) = self.data_keys.under(group, kms_key) {
            return Ok(data_key);
        }
        let made = self.aws.generate_data_key(kms_key, group)?;
        let data_key = DataKey::new(group.clone(), kms_key.clone(), made.wrapped, &made.plaintext);
        let data_key = Arc::new(data_key);
        self.data_keys.keep(&data_key)?;
        tracing::info!(%group, %kms_key, "a data key was made");
        Ok(data_key)
    }

    /// The KMS key that seals: the first of the policy's.
    pub(super) fn sealing_key(&self) -> Result<&KeyArn, ControlError> {
        self.policy.sealing_keys().first().ok_or(ControlError::SealingRefused)
    }
}
