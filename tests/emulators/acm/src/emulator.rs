//! A running emulator.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use emulator_aws::{ListenError, Listener, Listening};

use crate::acm::{Acm, Count};
use crate::config::{Config, ConfigError};
use crate::http::{serve_acm, serve_admin};
use crate::store::Registration;

/// An emulator on threads of its own. Ends when it is dropped.
pub struct Emulator {
    acm: Arc<Acm>,
    address: SocketAddr,
    admin: SocketAddr,
    _listening: Listening,
}

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it was to be started with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Emulator {
    /// Starts one. When this returns it accepts connections.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let acm = Arc::new(Acm::new(config));
        let (service, admin) = (Listener::bind(&config.listen)?, Listener::bind("127.0.0.1:0")?);
        let (address, admin_address) = (service.address(), admin.address());
        let mut listening = Listening::new()?;
        let (served, told) = (Arc::clone(&acm), Arc::clone(&acm));
        listening.serve(service, move |connection| serve_acm(Arc::clone(&served), connection));
        listening.serve(admin, move |connection| serve_admin(Arc::clone(&told), connection));
        listening.start();
        Ok(Self {
            acm,
            address,
            admin: admin_address,
            _listening: listening,
        })
    }

    /// Where ACM is, over plain HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is told of records and accounts, over plain HTTP.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// What was asked so far, by the operation's name; what is none stands under `unknown`.
    #[must_use]
    pub fn counters(&self) -> BTreeMap<String, Count> {
        self.acm.counters()
    }

    /// From now on this CNAME stands in a zone.
    pub fn add_record(&self, name: &str, value: &str) {
        self.acm.state().records.insert((name.to_owned(), value.to_owned()));
    }

    /// An ACME client made an account by a binding's key. The words say why ACM would have refused it.
    pub fn register(&self, registration: Registration) -> Result<(), String> {
        let registered = self.acm.state().register(registration, self.acm.now());
        registered.map_err(|error| error.to_string())
    }
}
