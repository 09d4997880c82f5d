//! The policy in force, and what there is only once it is known: the way to AWS, the data keys, what can be attested.

use std::sync::Arc;

use enclave_kms::Client;
use enclave_policy::Policy;
use enclave_wire::control::{ControlError, InstallAws, SealingKey};

use super::State;
use crate::attest::Attestor;
use crate::egress::Egress;
use crate::measure;
use crate::provision::{Aws, DataKeys, NoAws, sealing_keys};

/// A policy that has been measured: nothing changes it in this run.
pub(super) struct Force {
    pub(super) policy: Policy,
    /// None where the policy does not say whose the NSM's documents are.
    pub(super) attestor: Option<Arc<Attestor>>,
    pub(super) aws: Aws,
    pub(super) data_keys: DataKeys,
}

impl State {
    /// The policy in force, once there is one.
    pub(super) fn in_force(&self) -> Option<&Force> {
        self.force.get()?.as_ref()
    }

    /// Takes the parent's policy, or the word that there is none, and measures what follows. There is one attempt in a boot: a register
    /// that was extended stays so.
    pub(super) fn take_policy(&self, parents: Option<&[u8]>) -> Result<(), ControlError> {
        match self.force.get() {
            None => {}
            Some(Some(_)) => return Err(ControlError::PolicyAlreadySet),
            Some(None) => return Err(ControlError::AttestationFailed),
        }
        let image = &self.config.policy;
        let merged = match parents.map(Policy::parse) {
            None => image.clone(),
            Some(Ok(parents)) => image.intersect(&parents),
            Some(Err(error)) => {
                tracing::warn!(%error, "the parent's policy was refused");
                return Err(ControlError::PolicyInvalid);
            }
        };
        // Before the one attempt to measure: a parent may come again with another policy.
        self.platform.machine.check_clock_source(&merged)?;
        let force = match measure::policy(&*self.platform.nsm, &merged) {
            Ok(()) => Some(self.put_in_force(merged)),
            Err(error) => {
                tracing::error!(%error, "the policy could not be measured: this service holds no key and stays closed");
                None
            }
        };
        let measured = force.is_some();
        self.force.set(force).map_err(|_| ControlError::PolicyAlreadySet)?;
        if !measured {
            return Err(ControlError::AttestationFailed);
        }
        tracing::info!(parents = parents.is_some(), "the policy is set for this boot");
        Ok(())
    }

    /// Whether time may be counted by another source than `kvm-clock`: the policy in force says so, and until there is one the image's.
    pub(super) fn allows_any_clock_source(&self) -> bool {
        let policy = self.in_force().map_or(&self.config.policy, |force| &force.policy);
        policy.allows_any_clock_source()
    }

    /// Takes credentials of the parent's role.
    pub(super) fn install_aws(&self, install: InstallAws) -> Result<(), ControlError> {
        self.in_force().ok_or(ControlError::PolicyFirst)?.aws.install(install)
    }

    /// Whether the agent is to be told now that its credentials end.
    pub(super) fn wants_credentials(&self) -> bool {
        let wants = |force: &Force| force.aws.wants_credentials(|| self.platform.clock.now_unix());
        self.in_force().is_some_and(wants)
    }

    /// Whether states wait to be sealed under more KMS keys, and it is time to try.
    pub(super) fn is_behind(&self) -> bool {
        self.in_force().is_some_and(|force| force.data_keys.are_due())
    }

    /// How it stands with the KMS keys that states are sealed under.
    pub(super) fn sealing(&self) -> Vec<SealingKey> {
        let of = |force: &Force| force.data_keys.standing(sealing_keys(&force.policy));
        self.in_force().map(of).unwrap_or_default()
    }

    fn put_in_force(&self, policy: Policy) -> Force {
        let attestor = policy
            .attestation()
            .map(|_| {
                Attestor::new(
                    self.platform.nsm.clone(),
                    self.platform.machine.clone(),
                    self.boot,
                    &policy,
                )
            })
            .map(Arc::new);
        Force {
            aws: Aws::new(self.aws_client(&policy, attestor.as_ref())),
            data_keys: DataKeys::new(self.platform.limits.kms_pause),
            attestor,
            policy,
        }
    }

    /// With the client comes a thread that makes recipient keys, so there is one only where the policy lets AWS be spoken to.
    fn aws_client(&self, policy: &Policy, attestor: Option<&Arc<Attestor>>) -> Result<Client, NoAws> {
        let attestor = Arc::clone(attestor.ok_or(NoAws::Attestation)?);
        let egress = self.config.egress.clone().ok_or(NoAws::Egress)?;
        let clock = Arc::clone(&self.platform.clock);
        let now_unix = Arc::new(move || clock.now_unix());
        Client::new(Arc::new(Egress::new(egress)), attestor, policy.aws_roots(), now_unix).map_err(|error| {
            tracing::warn!(%error, "no client of AWS");
            match error {
                enclave_kms::RootsError::Roots => NoAws::Roots,
                enclave_kms::RootsError::Thread(_) => NoAws::Thread,
            }
        })
    }
}
