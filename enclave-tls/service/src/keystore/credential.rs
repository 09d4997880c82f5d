//! What proves a client: its credentials, at most two, so that one can be rolled out while the other is in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use enclave_wire::Name;
use enclave_wire::control::ControlError;
use enclave_wire::credential::{CredentialId, Verifier};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{Client, KeyStore};
use crate::statistics::{Counter, Entered, Gauge};

impl KeyStore {
    /// Takes a client's credential. A client has at most two; a third takes the oldest one's place, whose connections end.
    pub fn install_credential(&self, client: Name, id: CredentialId, verifier: Verifier) -> Result<(), ControlError> {
        let inner = &mut *self.write();
        let known = inner.credentials.get(&id);
        if known.is_some_and(|known| *known.client().name() != client) {
            tracing::warn!(%client, "refused a credential that another client has");
            return Err(ControlError::Failed);
        }
        // The same again changes nothing but its age.
        let same = known.filter(|known| known.has(&verifier)).cloned();
        if !inner.clients.contains_key(&client) && inner.clients.len() >= MAX_CLIENTS {
            return Err(ControlError::LimitReached);
        }
        let keys = &inner.keys;
        let record = inner.clients.entry(client).or_insert_with_key(|client| ClientRecord {
            client: Arc::new(Client::new(client.clone(), keys.values())),
            credentials: Vec::new(),
        });
        record.credentials.retain(|known| *known != id);
        record.credentials.push(id);
        let oldest = (record.credentials.len() > CREDENTIALS_PER_CLIENT).then(|| record.credentials.remove(0));
        let owner = &record.client;
        let credential = same.unwrap_or_else(|| Arc::new(Credential::new(Arc::clone(owner), verifier)));
        let previous = inner.credentials.insert(id, Arc::clone(&credential));
        let oldest = oldest.and_then(|id| inner.credentials.remove(&id));
        for gone in previous
            .into_iter()
            .chain(oldest)
            .filter(|gone| !Arc::ptr_eq(gone, &credential))
        {
            gone.replace();
        }
        Ok(())
    }

    /// Takes a credential away and ends its connections. What is not here needs nothing; what is another client's is refused.
    pub fn revoke_credential(&self, client: &Name, id: &CredentialId) -> Result<(), ControlError> {
        let inner = &mut *self.write();
        let Some(credential) = inner.credentials.get(id) else {
            return Ok(());
        };
        if credential.client().name() != client {
            return Err(ControlError::NoSuchClient);
        }
        credential.replace();
        inner.credentials.remove(id);
        if let Some(record) = inner.clients.get_mut(client) {
            record.credentials.retain(|known| known != id);
        }
        Ok(())
    }

    /// All credentials: by client, each client's oldest first.
    #[must_use]
    pub fn credentials(&self) -> Vec<(CredentialId, Arc<Credential>)> {
        let inner = self.read();
        let mut clients: Vec<&ClientRecord> = inner.clients.values().collect();
        clients.sort_unstable_by_key(|record| record.client.name());
        let ids = clients.into_iter().flat_map(|record| &record.credentials);
        ids.filter_map(|id| Some((*id, Arc::clone(inner.credentials.get(id)?))))
            .collect()
    }

    /// The credential of this id.
    #[must_use]
    pub fn credential(&self, id: &CredentialId) -> Option<Arc<Credential>> {
        self.read().credentials.get(id).cloned()
    }
}

/// What the store knows of a client.
pub(super) struct ClientRecord {
    pub(super) client: Arc<Client>,
    /// The oldest first.
    credentials: Vec<CredentialId>,
}

/// What proves a client, in place of its secret. Wiped on drop, here and by the library.
pub struct Credential {
    client: Arc<Client>,
    verifier: Verifier,
    proof: hmac::Key,
    replaced: AtomicBool,
    /// Wakes its connections when it is.
    gone: Notify,
    connections: Gauge,
    authenticated: Counter,
    last_authenticated: Mutex<Option<Instant>>,
}

impl Credential {
    pub(super) fn new(client: Arc<Client>, verifier: Verifier) -> Self {
        Self {
            client,
            proof: hmac::Key::new(hmac::HMAC_SHA256, &verifier.0),
            verifier,
            replaced: AtomicBool::new(false),
            gone: Notify::new(),
            connections: Gauge::default(),
            authenticated: Counter::new(),
            last_authenticated: Mutex::default(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What its proofs are made and checked with.
    #[must_use]
    pub fn proof_key(&self) -> &hmac::Key {
        &self.proof
    }

    /// Notes that it was proven.
    pub fn proven(&self) {
        self.authenticated.count();
        *self.last_authenticated.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How often it was proven.
    #[must_use]
    pub fn authenticated(&self) -> u64 {
        self.authenticated.get()
    }

    /// When it was proven last.
    #[must_use]
    pub fn last_authenticated(&self) -> Option<Instant> {
        *self.last_authenticated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections it has open.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.connections.get()
    }

    /// Whether it is valid no more.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Waits until it is valid no more. What was so before this is awaited, [`Credential::is_replaced`] says.
    pub fn replaced(&self) -> Notified<'_> {
        self.gone.notified()
    }

    /// Takes one of the credential's connections, if one is left.
    #[must_use]
    pub fn take_seat(self: &Arc<Self>, limit: u32) -> Option<Seat> {
        let entered = self.connections.enter(limit)?;
        Some(Seat {
            credential: Arc::clone(self),
            _entered: entered,
        })
    }

    pub(super) fn has(&self, verifier: &Verifier) -> bool {
        verify_slices_are_equal(&self.verifier.0, &verifier.0).is_ok()
    }

    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
        self.gone.notify_waiters();
    }
}

/// One connection under a credential; given back on drop.
pub struct Seat {
    credential: Arc<Credential>,
    _entered: Entered,
}

impl Seat {
    /// The credential.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
    }
}

/// Web servers on one instance, by their users. More would be a mistake, and their credentials would not fit one frame of control's.
const MAX_CLIENTS: usize = 512;
/// One in use, and the next one being rolled out.
const CREDENTIALS_PER_CLIENT: usize = 2;
