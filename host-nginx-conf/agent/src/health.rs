//! Whether the agent does its work, and whether everything is served.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enclave_tls_admin::client::Client;
use enclave_tls_admin::report::{Ask, Certificate};

use crate::Shared;
use crate::control::Control;
use crate::keeper::Found;
use crate::log;

/// What can be said of the agent's health.
pub(crate) struct Health {
    control: Arc<Control>,
    found: Arc<Shared<Found>>,
    keeper: Arc<Pulse>,
    admin: Pulse,
    admin_socket: PathBuf,
}

/// When a thread last got somewhere, in real time: a clock that is set, or a test's, must not make it look dead.
pub(crate) struct Pulse {
    began: Instant,
    at_ms: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            at_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// It got somewhere.
    pub(crate) fn beat(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(now, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn at_ms(&self) -> u64 {
        self.at_ms.load(Ordering::Relaxed)
    }

    fn age(&self) -> Duration {
        let at = Duration::from_millis(self.at_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(at)
    }
}

impl Health {
    pub(crate) fn new(
        control: Arc<Control>,
        found: Arc<Shared<Found>>,
        keeper: Arc<Pulse>,
        admin_socket: &Path,
    ) -> Self {
        Self {
            control,
            found,
            keeper,
            admin: Pulse::default(),
            admin_socket: admin_socket.to_owned(),
        }
    }

    /// Asks the agent as an administrator would, again and again, for ever. Its thread may hang where the socket's does.
    pub(crate) fn probe(&self) {
        let client = Client::new(&self.admin_socket);
        let nothing = Ask::Logs {
            most: 0,
            after: u64::MAX,
        };
        loop {
            if client.agent(nothing.clone()).is_ok() {
                self.admin.beat();
            }
            std::thread::sleep(BETWEEN_PROBES);
        }
    }

    /// Why the agent does not do its work; none: it does.
    pub(crate) fn hung(&self) -> Option<String> {
        let (keeper, admin) = (self.keeper.age(), self.admin.age());
        if keeper > KEEPER_WITHIN {
            return Some(format!("the keeper has not moved for {} s", keeper.as_secs()));
        }
        (admin > ADMIN_WITHIN).then(|| format!("the admin socket has not answered for {} s", admin.as_secs()))
    }

    /// Whether the keeper has looked at everything once.
    pub(crate) fn has_looked(&self) -> bool {
        self.found.lock().passed.is_some()
    }

    /// Why not everything is served, a line each; none: it is.
    pub(crate) fn unready(&self) -> Vec<String> {
        let found = self.found.lock();
        let mut reasons = Vec::new();
        if !self.is_connected() {
            reasons.push("the enclave is not connected".to_owned());
        }
        if found.passed.is_none() {
            reasons.push("the agent has not looked at everything yet".to_owned());
        }
        let unserved: Vec<_> = found.certificates.iter().filter(|one| !is_served(one)).collect();
        reasons.extend(unserved.iter().take(MAX_REASONS).map(|one| {
            let note = one.note.as_deref().map(|note| format!(": {note}"));
            let reason = format!("certificate {}: {}{}", one.name, one.state, note.unwrap_or_default());
            log::one_line(&reason)
        }));
        if let Some(more @ 1..) = unserved.len().checked_sub(MAX_REASONS) {
            reasons.push(format!("and {more} more certificates"));
        }
        reasons
    }

    /// Where everything stands, in a few words.
    pub(crate) fn summary(&self) -> String {
        let (all, served) = {
            let certificates = &self.found.lock().certificates;
            (
                certificates.len(),
                certificates.iter().filter(|one| is_served(one)).count(),
            )
        };
        let enclave = match self.is_connected() {
            true => "the enclave is connected",
            false => "waiting for the enclave",
        };
        format!("{served} of {all} certificates served; {enclave}")
    }

    /// Whether there is a service that is open.
    pub(crate) fn is_connected(&self) -> bool {
        self.control.open().is_some()
    }
}

/// Whether servers have it and its key is there, even if a newer one has a problem.
pub(crate) fn is_served(certificate: &Certificate) -> bool {
    matches!(certificate.state.as_str(), "served" | "served-with-a-problem")
}

/// Far longer than the keeper's waits, and than the root helper or the enclave may take for one answer.
const KEEPER_WITHIN: Duration = Duration::from_secs(300);
const BETWEEN_PROBES: Duration = Duration::from_secs(10);
/// Several probes in a row.
const ADMIN_WITHIN: Duration = Duration::from_secs(60);
/// A page for people, however many certificates there are.
const MAX_REASONS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Bell;

    fn health() -> Health {
        let control = Arc::new(Control::new([Arc::<Bell>::default(), Arc::<Bell>::default()]));
        Health::new(control, Arc::default(), Arc::default(), Path::new("/nowhere"))
    }

    #[test]
    fn a_pulse_is_as_old_as_its_last_beat() {
        let pulse = Pulse {
            began: Instant::now().checked_sub(Duration::from_secs(1_000)).unwrap(),
            at_ms: AtomicU64::new(0),
        };
        assert!(pulse.age() >= Duration::from_secs(1_000));
        pulse.beat();
        assert!(pulse.age() < Duration::from_secs(1));
    }

    #[test]
    fn what_is_not_served_is_named() {
        let health = health();
        assert_eq!(health.hung(), None);
        let certificate = |number: usize, state: &str| Certificate {
            name: format!("c{number}"),
            state: state.to_owned(),
            note: Some("nginx: a\nnginx: b".to_owned()),
            ..Certificate::default()
        };
        *health.found.lock() = Found {
            certificates: vec![certificate(1, "served-with-a-problem"), certificate(2, "failed")],
            passed: Some(Duration::ZERO),
            ..Found::default()
        };
        assert_eq!(
            health.unready(),
            [
                "the enclave is not connected",
                "certificate c2: failed: nginx: a | nginx: b"
            ]
        );
        assert_eq!(health.summary(), "1 of 2 certificates served; waiting for the enclave");
        health.found.lock().certificates = (0..150).map(|number| certificate(number, "failed")).collect();
        assert_eq!(health.unready().last().unwrap(), "and 50 more certificates");
    }
}
