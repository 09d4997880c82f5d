//! Shows that the keeper gets somewhere: each answer of whoever it asks is a beat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use enclave_tls_apply::{Deployed, Deployment, Generation, ObjectsFile, State};
use enclave_wire::control::{Reply, Request};
use enclave_wire::credential::Secret;
use enclave_wire::{KeyId, Name};

use super::outside::{Leaf, Outside, Unseen, View};
use super::world::{Enclave, EnclaveError, Helper, HelperError};
use crate::health::Pulse;

/// Whom the keeper asks, and the pulse that beats with each answer. A pass may take long; one answer does not.
pub(crate) struct Beating<T> {
    asked: T,
    pulse: Arc<Pulse>,
}

impl<T> Beating<T> {
    pub(crate) fn new(asked: T, pulse: Arc<Pulse>) -> Self {
        Self { asked, pulse }
    }

    fn beat<R>(&self, answer: R) -> R {
        self.pulse.beat();
        answer
    }
}

impl<E: Enclave> Enclave for Beating<Arc<E>> {
    fn ask(&self, request: &Request) -> Result<Reply, EnclaveError> {
        self.beat(self.asked.ask(request))
    }

    fn not_open(&self) -> BTreeMap<Name, String> {
        self.asked.not_open()
    }

    fn newer_chains(&self) -> BTreeSet<KeyId> {
        self.asked.newer_chains()
    }

    fn retired(&self) -> Vec<(KeyId, u32)> {
        self.asked.retired()
    }

    fn now(&self) -> Option<i64> {
        self.beat(self.asked.now())
    }
}

impl<O: Outside> Outside for Beating<O> {
    fn look(&self, view: &View) -> Result<Leaf, Unseen> {
        self.beat(self.asked.look(view))
    }
}

impl<H: Helper> Helper for Beating<H> {
    fn state(&self) -> Result<State, HelperError> {
        self.beat(self.asked.state())
    }

    fn credential(&self, client: Name, secret: Secret) -> Result<(), HelperError> {
        self.beat(self.asked.credential(client, secret))
    }

    fn objects(&self, client: Name, objects: ObjectsFile) -> Result<(), HelperError> {
        self.beat(self.asked.objects(client, objects))
    }

    fn deploy(&self, certificates: Vec<Deployment>) -> Result<Deployed, HelperError> {
        self.beat(self.asked.deploy(certificates))
    }

    fn prune(&self, certificate: Name, keep: Vec<Generation>) -> Result<(), HelperError> {
        self.beat(self.asked.prune(certificate, keep))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keeper::outside::Sort;

    /// Sees nothing, after a while.
    struct Slow;

    impl Outside for Slow {
        fn look(&self, _: &View) -> Result<Leaf, Unseen> {
            std::thread::sleep(Duration::from_millis(20));
            Err(Unseen("no answer".to_owned()))
        }
    }

    #[test]
    fn a_look_that_sees_nothing_is_a_beat() {
        let pulse = Arc::<Pulse>::default();
        let view = View {
            listener: enclave_tls_config::Listener {
                address: "127.0.0.1:1".parse().unwrap(),
                proxy: None,
            },
            name: "a.example".to_owned(),
            sort: Sort::Ecdsa,
        };
        let before = pulse.at_ms();
        assert!(Beating::new(Slow, Arc::clone(&pulse)).look(&view).is_err());
        assert!(pulse.at_ms() > before);
    }
}
