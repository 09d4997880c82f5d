//! What the root helper found: what is live, what servers were reloaded with, what clients can read.

use std::collections::BTreeMap;

use enclave_tls_apply::{ClientState, Deployment, Directory, Generation, State};
use enclave_tls_config::Certificate;
use enclave_wire::Name;
use enclave_wire::control::KeyInfo;

/// As the helper said last.
#[derive(Default)]
pub(super) struct Machine {
    live: BTreeMap<Name, Directory>,
    servers: BTreeMap<Name, Serving>,
    clients: BTreeMap<Name, ClientState>,
    /// Where it writes.
    base: Option<String>,
    /// Whether it said so in this pass. If not, what it said stays true: nobody else changes it.
    pub(super) is_here: bool,
}

struct Serving {
    with: BTreeMap<Name, Directory>,
    runs: bool,
    /// Processes that may have something older.
    older: Vec<u32>,
}

impl Machine {
    pub(super) fn found(&mut self, state: State) {
        let by_name = |all: Vec<enclave_tls_apply::LiveCertificate>| -> BTreeMap<_, _> {
            all.into_iter().map(|live| (live.name, live.directory)).collect()
        };
        let servers = state.servers.into_iter().map(|server| {
            let serving = Serving {
                with: by_name(server.reloaded_with.unwrap_or_default()),
                runs: server.pid.is_some(),
                older: server.older,
            };
            (server.server, serving)
        });
        *self = Self {
            live: by_name(state.live),
            servers: servers.collect(),
            clients: state
                .clients
                .into_iter()
                .map(|found| (found.client.clone(), found))
                .collect(),
            base: Some(state.base),
            is_here: true,
        };
    }

    pub(super) fn lost(&mut self) {
        self.is_here = false;
    }

    pub(super) fn base(&self) -> Option<&str> {
        self.base.as_deref()
    }

    pub(super) fn client(&self, name: &Name) -> Option<&ClientState> {
        self.clients.get(name)
    }

    /// Whether servers have exactly this: key and chain.
    pub(super) fn has(&self, deployment: &Deployment) -> bool {
        self.live.get(deployment.name()) == Some(&deployment.directory())
    }

    /// Whether servers have this key, with whatever chain. Numbers begin anew when an enclave forgets a name, so a number alone says
    /// nothing.
    pub(super) fn gives(&self, key: &KeyInfo) -> bool {
        let generation = Generation {
            generation: key.generation,
            id: key.id,
        };
        self.gives_generation(&key.name, &generation)
    }

    /// The same of a key that the enclave may not have.
    pub(super) fn gives_generation(&self, name: &Name, generation: &Generation) -> bool {
        self.live.get(name).is_some_and(|live| live.is_of(generation))
    }

    /// Whether anything is live of a certificate that is of none of these keys.
    pub(super) fn is_of_none(&self, name: &Name, keys: &[KeyInfo]) -> bool {
        self.live.contains_key(name) && !keys.iter().any(|key| self.gives(key))
    }

    /// What a server that runs has of a certificate, and what one that does not run will start with.
    pub(super) fn with(&self, server: &Name, certificate: &Name) -> Option<&Directory> {
        let serving = self.servers.get(server)?;
        match serving.runs {
            true => serving.with.get(certificate),
            false => self.live.get(certificate),
        }
    }

    pub(super) fn runs(&self, server: &Name) -> bool {
        self.servers.get(server).is_some_and(|serving| serving.runs)
    }

    /// Workers of a certificate's servers that were there before these were last told to reload: `main 1234`.
    pub(super) fn older(&self, certificate: &Certificate) -> Vec<String> {
        let servers = certificate
            .servers
            .iter()
            .filter_map(|name| self.servers.get_key_value(name));
        let older = servers.flat_map(|(name, serving)| serving.older.iter().map(move |pid| format!("{name} {pid}")));
        older.collect()
    }

    /// What is live of a certificate.
    pub(super) fn live(&self, certificate: &Name) -> Option<&Directory> {
        self.live.get(certificate)
    }

    /// Whether a server that runs has not been given what is live of these.
    pub(super) fn lags_behind<'a>(&self, server: &Name, mut its: impl Iterator<Item = &'a Certificate>) -> bool {
        let Some(serving) = self.servers.get(server).filter(|serving| serving.runs) else {
            return false;
        };
        its.any(|certificate| {
            let live = self.live.get(&certificate.name);
            live.is_some() && serving.with.get(&certificate.name) != live
        })
    }
}
