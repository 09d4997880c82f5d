//! Clients' credentials: made, put where the client's group can read them, rotated with an overlap.
//!
//! The order is what matters. The enclave takes a new credential, and its verifier is on disk, before the file holds it: otherwise the
//! next restart of the enclave would leave every server without one that it takes. The older one is taken away only once
//! nobody uses it or its grace time has ended. The enclave holds two of a client: a third would take the place of the one in use, so
//! none is made while there are two.

use std::collections::{BTreeMap, BTreeSet};

use enclave_tls_admin::hex;
use enclave_tls_config::Config;
use enclave_wire::Name;
use enclave_wire::control::{CredentialInfo, InstallCredential, Reply, Request, RevokeCredential};
use enclave_wire::credential::{CredentialId, Secret, Verifier};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::troubles::What;
use super::world::{Enclave, EnclaveError, Helper};
use super::{Keeper, its_own};
use crate::log::Event;

/// Credentials on their way, and what was asked for.
#[derive(Default)]
pub(super) struct Pending {
    /// Drawn, and not known to be in their file: the same is installed and placed until it is. Nobody else has it.
    drawn: BTreeMap<Name, Drawn>,
    /// Placed, as the helper said, and not seen in its file yet.
    placed: BTreeMap<Name, CredentialId>,
    /// Clients whose credential shall be made anew.
    wanted: BTreeSet<Name>,
    /// The one before the one on disk, while the enclave takes both.
    older: BTreeMap<Name, CredentialId>,
}

/// Wiped on drop.
struct Drawn {
    id: CredentialId,
    /// Whether the enclave took it and its verifier is on disk, as far as is known.
    is_recorded: bool,
    random: Zeroizing<[u8; 32]>,
}

/// How one request for one client ended: its trouble, or an enclave that is away.
type Outcome<T> = Result<Result<T, String>, EnclaveError>;

impl<E: Enclave, H: Helper> Keeper<E, H> {
    /// Makes a client's credential anew at the next pass.
    pub(crate) fn rotate(&mut self, client: Name) {
        self.pending.wanted.insert(client);
    }

    pub(super) fn clients(&mut self, config: &Config) -> Result<(), EnclaveError> {
        self.pending.keep(config);
        // Without the helper nobody would get a new one.
        if !self.machine.is_here {
            return Ok(());
        }
        let known = match its_own(self.enclave.ask(&Request::Credentials))? {
            Ok(Reply::Credentials(known)) => {
                self.troubles.well(&What::Credentials);
                known.into_items()
            }
            Ok(_) => {
                self.troubles
                    .failed(What::Credentials, &EnclaveError::Unexpected.to_string());
                return Ok(());
            }
            Err(why) => {
                self.troubles.failed(What::Credentials, &why);
                return Ok(());
            }
        };
        for name in config.clients.keys() {
            let what = What::Credential(name.clone());
            if self.troubles.is_early(&what) {
                continue;
            }
            let known: Vec<_> = known.iter().filter(|one| one.client == *name).collect();
            match self.client(config, name, &known)? {
                Ok(true) => self.troubles.well(&what),
                // What was begun shows at the next pass.
                Ok(false) => {}
                Err(why) => self.troubles.failed(what, &why),
            }
        }
        Ok(())
    }

    /// Whether the client has what it should, and nothing is under way.
    fn client(&mut self, config: &Config, name: &Name, known: &[&CredentialInfo]) -> Outcome<bool> {
        let Some(on_disk) = self.machine.client(name).map(|found| found.credential) else {
            return Ok(Err(UNKNOWN.to_owned()));
        };
        let in_use = known.iter().position(|one| Some(one.id) == on_disk);
        if let Some((drawn, is_recorded)) = self.pending.drawn.get(name).map(|drawn| (drawn.id, drawn.is_recorded)) {
            let is_known = known.iter().any(|one| one.id == drawn);
            if on_disk == Some(drawn) && in_use.is_some() {
                // It was written, and only the answer was lost.
                self.is_placed(name);
            } else if is_known && is_recorded {
                return Ok(self.place(name).map(|()| false));
            } else if is_known || known.len() < 2 {
                return self.install(name);
            } else {
                // Somebody else made two meanwhile.
                self.pending.drawn.remove(name);
            }
        }
        let Some((at, in_use)) = in_use.and_then(|at| Some((at, *known.get(at)?))) else {
            return self.first(name, known);
        };
        self.pending.placed.remove(name);
        // An administrator may have taken it away.
        self.pending.older.remove(name);
        let mut is_alone = true;
        for (place, other) in known.iter().enumerate().filter(|(place, _)| *place != at) {
            self.pending.older.insert(name.clone(), other.id);
            // One that is newer than what is on disk never got there: an earlier agent ended before.
            let is_idle = other.connections == 0 && (place > at || self.is_settled(name, in_use));
            let credential_made = self.memory.credential(name);
            if is_idle || self.memory.has_passed(credential_made, config.agent.grace) {
                if let Err(why) = its_own(self.revoke(other))? {
                    return Ok(Err(why));
                }
                self.pending.older.remove(name);
            } else {
                is_alone = false;
            }
        }
        let made = self.memory.credential(name);
        let rotate = config.clients.get(name).and_then(|client| client.rotate);
        let is_due = rotate.is_some_and(|after| self.memory.has_passed(made, after));
        if (is_due || self.pending.wanted.contains(name)) && is_alone {
            return self.draw(name);
        }
        Ok(Ok(true))
    }

    /// There is no file, or one that the enclave does not take. Whatever it takes instead is in nobody's hands, or in those of servers
    /// that have not seen the file: the newest of these stays.
    fn first(&mut self, name: &Name, known: &[&CredentialInfo]) -> Outcome<bool> {
        if self.pending.placed.remove(name).is_some() {
            // Not at once: the helper would be asked for another each time.
            return Ok(Err(NOT_THERE.to_owned()));
        }
        if let [oldest, _, ..] = known
            && let Err(why) = its_own(self.revoke(oldest))?
        {
            return Ok(Err(why));
        }
        self.draw(name)
    }

    /// Whether every server was seen with the new one: workers that just start read the file some moments before they use it.
    fn is_settled(&mut self, name: &Name, newer: &CredentialInfo) -> bool {
        let made = self.memory.credential(name);
        newer.authenticated > 0 && self.memory.has_passed(made, SETTLE)
    }

    fn draw(&mut self, name: &Name) -> Outcome<bool> {
        let mut random = Zeroizing::new([0; 32]);
        if let Err(error) = getrandom::fill(random.as_mut_slice()) {
            return Ok(Err(error.to_string()));
        }
        let (id, _) = derive(&Secret::from_random(*random));
        let drawn = Drawn {
            id,
            is_recorded: false,
            random,
        };
        self.pending.drawn.insert(name.clone(), drawn);
        self.install(name)
    }

    /// Has the enclave take what was drawn; then the file. If its answer is lost, or its verifier is not on disk, the same is installed
    /// again: another would be one too many.
    fn install(&mut self, name: &Name) -> Outcome<bool> {
        let Some(drawn) = self.pending.drawn.get(name) else {
            return Ok(Ok(false));
        };
        let (id, verifier) = derive(&Secret::from_random(*drawn.random));
        let install = InstallCredential {
            client: name.clone(),
            id,
            verifier,
        };
        match its_own(self.enclave.ask(&Request::InstallCredential(install)))? {
            Ok(Reply::CredentialInstalled) => {
                if let Some(drawn) = self.pending.drawn.get_mut(name) {
                    drawn.is_recorded = true;
                }
                Ok(self.place(name).map(|()| false))
            }
            Ok(_) => Ok(Err(EnclaveError::Unexpected.to_string())),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Puts a credential that the enclave has taken where its client reads it.
    fn place(&mut self, name: &Name) -> Result<(), String> {
        let Some(drawn) = self.pending.drawn.get(name) else {
            return Ok(());
        };
        let secret = Secret::from_random(*drawn.random);
        self.helper
            .credential(name.clone(), secret)
            .map_err(|error| error.why)?;
        self.is_placed(name);
        // So that the report of this pass has it.
        self.look_at_helper();
        Ok(())
    }

    fn is_placed(&mut self, name: &Name) {
        let Some(drawn) = self.pending.drawn.remove(name) else {
            return;
        };
        self.pending.wanted.remove(name);
        self.memory.made_credential(name);
        let event = Event::ClientCredential.about().client(name);
        event.say(format_args!(
            "client {name} has a new credential, {}",
            hex::encode(&drawn.id.0)
        ));
        self.pending.placed.insert(name.clone(), drawn.id);
    }

    fn revoke(&self, credential: &CredentialInfo) -> Result<(), EnclaveError> {
        let request = Request::RevokeCredential(RevokeCredential {
            client: credential.client.clone(),
            id: credential.id,
        });
        match self.enclave.ask(&request)? {
            Reply::CredentialRevoked => {
                let event = Event::ClientRevoked.about().client(&credential.client);
                event.say(format_args!(
                    "client {}: its credential {} is taken no more",
                    credential.client,
                    hex::encode(&credential.id.0)
                ));
                Ok(())
            }
            _ => Err(EnclaveError::Unexpected),
        }
    }
}

impl Pending {
    /// The credential before the one on disk, while the enclave takes both.
    pub(super) fn older(&self, name: &Name) -> Option<CredentialId> {
        self.older.get(name).copied()
    }

    fn keep(&mut self, config: &Config) {
        let is_there = |name: &Name| config.clients.contains_key(name);
        self.drawn.retain(|name, _| is_there(name));
        self.placed.retain(|name, _| is_there(name));
        self.wanted.retain(is_there);
        self.older.retain(|name, _| is_there(name));
    }
}

/// What the enclave knows a credential by, and what it checks proofs with.
pub(super) fn derive(secret: &Secret) -> (CredentialId, Verifier) {
    let id: [u8; 32] = Sha256::digest(&*Zeroizing::new(secret.id_input())).into();
    let verifier = Verifier(Sha256::digest(&*Zeroizing::new(secret.verifier_input())).into());
    let mut short = CredentialId(Default::default());
    for (to, from) in short.0.iter_mut().zip(id) {
        *to = from;
    }
    (short, verifier)
}

const UNKNOWN: &str = "the root helper does not know the client; the configuration file was changed: `systemctl reload enclave-tls-agent`";
const NOT_THERE: &str = "its credential was written, and its file does not hold it; who else writes it?";
/// A minute for workers that were starting when it was placed.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(60);
