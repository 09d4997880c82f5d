//! Clients' credentials: made, put where the client's group can read them, rotated with an overlap.
//!
//! The order is what matters. The enclave takes a new credential before the file holds it, and the older one is taken away only once
//! nobody uses it or its grace time has ended. The enclave holds two of a client: a third would take the place of the one in use, so
//! none is made while there are two.

use std::collections::BTreeMap;

use enclave_tls_admin::report;
use enclave_tls_config::Config;
use enclave_wire::Name;
use enclave_wire::control::{CredentialInfo, InstallCredential, Reply, Request, RevokeCredential};
use enclave_wire::credential::{CredentialId, Secret, Verifier};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Keeper;
use super::whose::Whose;
use super::world::{Enclave, EnclaveError, Helper};
use crate::log::Event;

/// Credentials that the enclave took and whose file is not written yet, and clients whose credential shall be made anew.
#[derive(Default)]
pub(super) struct Pending {
    made: BTreeMap<Name, (CredentialId, Zeroizing<[u8; 32]>)>,
    wanted: Vec<Name>,
}

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Makes a client's credential anew at the next pass.
    pub(crate) fn rotate(&mut self, client: Name) {
        self.pending.wanted.push(client);
    }

    pub(super) fn clients(&mut self, config: &Config) {
        // Without the helper nobody would get a new one.
        let Some(state) = self.state.take() else { return };
        match self.enclave.ask(&Request::Credentials) {
            Ok(Reply::Credentials(known)) => {
                self.well(&Whose::Credentials);
                for name in config.clients.keys() {
                    let on_disk = state.clients.iter().find(|client| client.client == *name);
                    let on_disk = on_disk.and_then(|client| client.credential);
                    let known = known.items().iter().filter(|credential| credential.client == *name);
                    let known: Vec<_> = known.cloned().collect();
                    match self.client(config, name, on_disk, &known) {
                        Ok(()) => self.well(&Whose::Credential(name.clone())),
                        Err(why) => self.trouble_with(Whose::Credential(name.clone()), &why),
                    }
                }
            }
            Ok(_) => self.trouble_with(Whose::Credentials, &EnclaveError::Unexpected.to_string()),
            Err(error) => self.trouble_with(Whose::Credentials, &error.to_string()),
        }
        self.state = Some(state);
    }

    fn client(
        &mut self,
        config: &Config,
        name: &Name,
        on_disk: Option<CredentialId>,
        known: &[CredentialInfo],
    ) -> Result<(), String> {
        if self.pending.made.contains_key(name) {
            return self.place(name);
        }
        let in_use = known.iter().find(|credential| Some(credential.id) == on_disk);
        let others: Vec<_> = known
            .iter()
            .filter(|credential| Some(credential.id) != on_disk)
            .collect();
        let Some(in_use) = in_use else {
            // No file, or one that the enclave does not take. Whatever it takes instead is in nobody's hands, or in those of servers
            // that have not seen the file: the newest of these stays.
            if let Some(oldest) = others.first().filter(|_| others.len() > 1) {
                self.revoke(oldest)?;
            }
            return self.make(name);
        };
        for other in others {
            // An older one is followed by the one on disk; a newer one was never put there.
            let is_older =
                known.iter().position(|one| one.id == other.id) < known.iter().position(|one| one.id == in_use.id);
            if !is_older || self.has_given_way(config, name, in_use, other) {
                self.revoke(other)?;
            }
        }
        let now = self.clock.now();
        let age = now.saturating_sub(self.memory.credential(name, now));
        let is_due = config
            .clients
            .get(name)
            .and_then(|client| client.rotate)
            .is_some_and(|after| age >= i64::try_from(after.as_secs()).unwrap_or(i64::MAX));
        let is_wanted = self.pending.wanted.contains(name);
        if (is_due || is_wanted) && known.len() < 2 {
            self.pending.wanted.retain(|wanted| wanted != name);
            return self.make(name);
        }
        Ok(())
    }

    /// Whether nobody needs the older one any more: every server was seen with the new one, or the grace time has ended.
    fn has_given_way(&mut self, config: &Config, name: &Name, newer: &CredentialInfo, older: &CredentialInfo) -> bool {
        let now = self.clock.now();
        let age = now.saturating_sub(self.memory.credential(name, now));
        let grace = i64::try_from(config.agent.grace.as_secs()).unwrap_or(i64::MAX);
        (older.connections == 0 && newer.authenticated > 0 && age >= SETTLE_S) || age >= grace
    }

    /// Draws a new one, and has the enclave take it; then the file.
    fn make(&mut self, name: &Name) -> Result<(), String> {
        let mut random = Zeroizing::new([0; 32]);
        getrandom::fill(random.as_mut_slice()).map_err(|error| error.to_string())?;
        let (id, verifier) = derive(&Secret::from_random(*random));
        let install = InstallCredential {
            client: name.clone(),
            id,
            verifier,
        };
        match self.enclave.ask(&Request::InstallCredential(install)) {
            Ok(Reply::CredentialInstalled) => {}
            Ok(_) => return Err(EnclaveError::Unexpected.to_string()),
            Err(error) => return Err(error.to_string()),
        }
        self.pending.made.insert(name.clone(), (id, random));
        self.place(name)
    }

    /// Puts a credential that the enclave has taken where its client reads it. If that fails, the same is tried again: another would
    /// take the place of one in use.
    fn place(&mut self, name: &Name) -> Result<(), String> {
        let Some((id, random)) = self.pending.made.get(name) else {
            return Ok(());
        };
        let id = *id;
        self.helper
            .credential(name.clone(), Secret::from_random(**random))
            .map_err(|error| error.why)?;
        self.pending.made.remove(name);
        let now = self.clock.now();
        self.memory.made_credential(name, now);
        Event::ClientCredential.about().client(name).say(format_args!(
            "client {name} has a new credential, {}",
            enclave_tls_admin::hex::encode(&id.0)
        ));
        Ok(())
    }

    fn revoke(&self, credential: &CredentialInfo) -> Result<(), String> {
        let request = Request::RevokeCredential(RevokeCredential {
            client: credential.client.clone(),
            id: credential.id,
        });
        match self.enclave.ask(&request) {
            Ok(Reply::CredentialRevoked) => {
                let revoked = Event::ClientRevoked.about().client(&credential.client);
                revoked.say(format_args!(
                    "client {}: its older credential {} is taken no more",
                    credential.client,
                    enclave_tls_admin::hex::encode(&credential.id.0)
                ));
                Ok(())
            }
            Ok(_) => Err(EnclaveError::Unexpected.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(super) fn report_clients(&mut self, config: &Config) -> Vec<report::Client> {
        let now = self.clock.now();
        let report = |(name, client): (&Name, &enclave_tls_config::Client)| {
            let on_disk = self
                .state
                .iter()
                .flat_map(|state| &state.clients)
                .find(|found| found.client == *name);
            let credential = on_disk.and_then(|found| found.credential);
            report::Client {
                name: name.to_string(),
                group: client.group.to_string(),
                credential: credential.map(|id| enclave_tls_admin::hex::encode(&id.0)),
                since: credential.map(|_| self.memory.credential(name, now)),
                older: None,
                problem: self
                    .problem(&Whose::Credential(name.clone()))
                    .or_else(|| self.problem(&Whose::Objects(name.clone()))),
            }
        };
        config.clients.iter().map(report).collect()
    }
}

/// What the enclave knows a credential by, and what it checks proofs with.
fn derive(secret: &Secret) -> (CredentialId, Verifier) {
    let id: [u8; 32] = Sha256::digest(&*Zeroizing::new(secret.id_input())).into();
    let verifier = Verifier(Sha256::digest(&*Zeroizing::new(secret.verifier_input())).into());
    let mut short = CredentialId(Default::default());
    for (to, from) in short.0.iter_mut().zip(id) {
        *to = from;
    }
    (short, verifier)
}

/// Workers that just start read the file some moments before they use it.
const SETTLE_S: i64 = 60;
