//! A change of a sealed name: its next state is sealed and stored before anything of it is used.

use std::sync::Arc;

use aws_lc_rs::rand;
use enclave_policy::Policy;
use enclave_policy::aws::KeyArn;
use enclave_wire::Name;
use enclave_wire::control::{ControlError, StoreState};
use zeroize::Zeroizing;

use super::Provisioner;
use super::kms_keys::Refusals;
use crate::keystore::Planned;
use crate::sealed::{DataKey, MAX_WRAPS, SealedError, State};

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
        })?;
        let opened_by = data_key.wrapping().kms_keys().into_iter().cloned().collect();
        self.data_keys
            .behind
            .stored(&state.name, opened_by, self.sealing_keys()?);
        Ok(())
    }

    /// Seals a name's state again, if more KMS keys open it then than now. False: not yet.
    pub(super) fn seal_further(&self, name: &Name, group: &Name, opened_by: &[KeyArn]) -> Result<bool, ControlError> {
        let data_key = self.sealing_data_key(group)?;
        if data_key.wrapping().kms_keys().iter().all(|key| opened_by.contains(key)) {
            return Ok(false);
        }
        self.commit(self.keys.reseal(name)?)?;
        tracing::info!(%name, "sealed again under KMS keys that were away");
        Ok(true)
    }

    /// The data key that states of this group are sealed under from now on: one that a state was opened with, or a new one.
    pub(super) fn sealing_data_key(&self, group: &Name) -> Result<Arc<DataKey>, ControlError> {
        let wanted = self.sealing_keys()?;
        let (data_key, refusals) = match wanted {
            [only] => self.under_one(group, only)?,
            several => self.under_each(group, several)?,
        };
        // A data key that was there before KMS went away seals on.
        let data_key = data_key.or_else(|| self.data_keys.any(group, wanted));
        data_key.ok_or_else(|| {
            tracing::warn!(%group, said = %refusals, "no KMS key of the policy makes a data key");
            refusals.error().unwrap_or(ControlError::AwsUnavailable)
        })
    }

    /// One KMS key's own data key, in the first version's form: it needs no key of the enclave's making, and older images read it.
    fn under_one(&self, group: &Name, kms_key: &KeyArn) -> Result<Sealing, ControlError> {
        let mut refusals = Refusals::default();
        if let Some(data_key) = self.data_keys.direct(group, kms_key) {
            return Ok((Some(data_key), refusals));
        }
        let made = match self.aws.generate_data_key(kms_key, group) {
            Ok(made) => made,
            Err(error) => {
                if refusals.note(kms_key, error) {
                    self.data_keys.answers().failed(kms_key);
                }
                return Ok((None, refusals));
            }
        };
        self.data_keys.answers().answered(kms_key);
        let data_key = DataKey::new(group.clone(), kms_key.clone(), made.wrapped, &made.plaintext);
        let data_key = Arc::new(data_key);
        self.data_keys.keep(&data_key)?;
        tracing::info!(%group, %kms_key, "a data key was made");
        Ok((Some(data_key), refusals))
    }

    /// A data key that each of these KMS keys opens, or each that answers. Those that did not lately are asked again after a while; at
    /// once where there is no other.
    fn under_each(&self, group: &Name, wanted: &[KeyArn]) -> Result<Sealing, ControlError> {
        let known = self.data_keys.each(group, wanted);
        let opened_by = |data_key: &DataKey, key: &KeyArn| data_key.wrapping().kms_keys().contains(&key);
        let (mut missing, silent): (Vec<&KeyArn>, Vec<&KeyArn>) = wanted
            .iter()
            .filter(|key| known.as_ref().is_none_or(|known| !opened_by(known, key)))
            .partition(|key| self.data_keys.answers().is_due(key));
        let first_choice = missing.len();
        missing.extend(silent);
        let (mut made, mut refusals) = (None::<DataKey>, Refusals::default());
        for (place, kms_key) in missing.iter().copied().enumerate() {
            let have_one = known.is_some() || made.is_some();
            if place >= first_choice && have_one {
                break;
            }
            let calls = self.aws.one_of(missing.len().saturating_sub(place));
            match calls.generate_data_key(kms_key, group) {
                Ok(kek) => {
                    self.data_keys.answers().answered(kms_key);
                    let (secret, ciphertext) = (&kek.plaintext, kek.wrapped);
                    let so_far = made.as_ref().or(known.as_deref());
                    made = Some(wrapped(so_far, group, kms_key, secret, ciphertext)?);
                }
                Err(error) => {
                    if !refusals.note(kms_key, error) {
                        break;
                    }
                    self.data_keys.answers().failed(kms_key);
                }
            }
        }
        let Some(made) = made.map(Arc::new) else {
            said(group, known.as_deref(), wanted, &refusals);
            return Ok((known, refusals));
        };
        self.data_keys.keep(&made)?;
        said(group, Some(&made), wanted, &refusals);
        Ok((Some(made), refusals))
    }

    /// The KMS keys that seal: the policy's, in its order, as many as a state can name.
    pub(super) fn sealing_keys(&self) -> Result<&[KeyArn], ControlError> {
        match sealing_keys(self.policy) {
            [] => Err(ControlError::SealingRefused),
            keys => Ok(keys),
        }
    }
}

/// The KMS keys that seal under this policy.
pub(crate) fn sealing_keys(policy: &Policy) -> &[KeyArn] {
    let keys = policy.sealing_keys();
    keys.get(..MAX_WRAPS).unwrap_or(keys)
}

/// A data key, if there is one, and what those KMS keys said that did not help.
type Sealing = (Option<Arc<DataKey>>, Refusals);

/// The data key so far, or a new secret, which this KMS key opens too.
fn wrapped(
    so_far: Option<&DataKey>,
    group: &Name,
    kms_key: &KeyArn,
    kek: &[u8; 32],
    ciphertext: Vec<u8>,
) -> Result<DataKey, ControlError> {
    let wrapped = match so_far {
        Some(data_key) => data_key.also_under(kms_key.clone(), kek, ciphertext),
        None => {
            let mut secret = Zeroizing::new([0; 32]);
            let filled = rand::fill(&mut secret[..]).map_err(|_| SealedError::Library);
            filled.and_then(|()| DataKey::under(group.clone(), &secret, kms_key.clone(), kek, ciphertext))
        }
    };
    wrapped.map_err(|error| {
        tracing::error!(%group, %kms_key, %error, "cannot wrap a data key");
        error.into()
    })
}

/// Says which KMS keys do not open what is sealed now; once for each time that one of them was asked.
fn said(group: &Name, data_key: Option<&DataKey>, wanted: &[KeyArn], refusals: &Refusals) {
    let opened_by = data_key
        .map(|data_key| data_key.wrapping().kms_keys())
        .unwrap_or_default();
    let missing: Vec<&KeyArn> = wanted.iter().filter(|key| !opened_by.contains(key)).collect();
    let list = |keys: &[&KeyArn]| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if missing.is_empty() {
        tracing::info!(%group, kms_keys = list(&opened_by), "each KMS key of the policy opens the data key");
    } else if data_key.is_some() && refusals.error().is_some() {
        tracing::warn!(
            %group, kms_keys = list(&opened_by), missing = list(&missing), said = %refusals,
            "not all KMS keys of the policy open what is sealed now: it is sealed again once they answer"
        );
    }
}
