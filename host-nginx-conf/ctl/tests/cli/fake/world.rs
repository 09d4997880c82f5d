//! What the stand-in answers.

use enclave_wire::control::{
    Attestation, BundleSource, ControlError, Counters, CredentialInfo, Freshness, KeyCounters, KeyInfo, KeyPage,
    Listed, Origin, Phase, Provision, Reply, Request, Sealed, SealedState, Status, StoreState, Validity,
};
use enclave_wire::credential::CredentialId;
use enclave_wire::log::Text;
use enclave_wire::{BootId, Decode, DnsName, Encode, KeyId, KeyType, Mechanism, Name, Reader, State, Usage, Writer};
use sha2::{Digest, Sha256};

use super::{AwsCredentials, World};

impl World {
    pub(super) fn answer(&mut self, request: Request) -> Reply {
        // Who dials is asked for its status, and the keeper lists the keys at each of its passes, which no test brings about. What else
        // it asks is of clients and certificates of the configuration, and there are none.
        if !["Status", "List"].contains(&request.name()) {
            self.asked.push(request.name());
        }
        if let Some(error) = self.refuse.get(request.name()) {
            return Reply::Error(*error);
        }
        let early = matches!(request, Request::Status | Request::Policy(_));
        if self.phase == Some(Phase::AwaitingPolicy) && !early {
            return Reply::Error(ControlError::PolicyFirst);
        }
        self.perform(request).unwrap_or_else(Reply::Error)
    }

    fn perform(&mut self, request: Request) -> Result<Reply, ControlError> {
        Ok(match request {
            Request::Ping => Reply::Pong,
            Request::Status => Reply::Status(Status {
                boot: BootId([self.boot; 16]),
                version: Text::lossy("0.0-fake"),
                phase: self.phase.unwrap(),
                uptime_ms: 61_000,
                now: 1_767_225_600,
                clock_source: Text::lossy(self.clock_source.unwrap_or("kvm-clock")),
                policy_sha384: (self.phase != Some(Phase::AwaitingPolicy)).then_some([0; 48]),
                sealing: self.sealing.clone().try_into().unwrap(),
            }),
            Request::Policy(policy) => {
                if self.phase != Some(Phase::AwaitingPolicy) {
                    return Err(ControlError::PolicyAlreadySet);
                }
                self.policy = policy.map(|policy| policy.as_bytes().to_vec());
                self.phase = Some(Phase::AwaitingReady);
                Reply::PolicyTaken
            }
            Request::Begin(_) => return Err(ControlError::DirectoryRefused),
            Request::Job(_) => Reply::Job(None),
            Request::Ready => {
                self.phase = Some(Phase::Serving);
                Reply::Serving
            }
            Request::InstallCredential(new) => {
                self.credentials
                    .push((new.client.to_string(), new.id.0, new.verifier.0));
                Reply::CredentialInstalled
            }
            Request::InstallAws(new) => {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                self.aws.push(AwsCredentials {
                    id: new.access_key_id.as_str().to_owned(),
                    secret: text(new.secret_access_key.as_bytes()),
                    token: new.session_token.map(|token| text(token.as_bytes())),
                    expires: new.expires,
                    kms_host: new.kms_host.map(|host| host.to_string()),
                });
                Reply::AwsInstalled
            }
            Request::Credentials => {
                let credentials = self.credentials.iter().map(|(client, id, _)| CredentialInfo {
                    client: Name::try_from(client.as_str()).unwrap(),
                    id: CredentialId(*id),
                    connections: 0,
                    authenticated: 0,
                    last_authenticated_ms: None,
                });
                Reply::Credentials(credentials.collect::<Vec<_>>().try_into().unwrap())
            }
            Request::RevokeCredential(revoke) => {
                self.credentials.retain(|(_, id, _)| *id != revoke.id.0);
                Reply::CredentialRevoked
            }
            Request::Create(new) => {
                let id = Sha256::digest([self.boot, u8::try_from(self.asked.len()).unwrap()]);
                let key = key(id.into(), new.name, Origin::Born, new.usage, new.dns_names, new.clients);
                let key_type = new.key_type;
                Reply::Created(self.add(KeyInfo { key_type, ..key }, new.sealed)?)
            }
            Request::Import(new) => {
                let id = Sha256::digest(new.pkcs8.as_bytes());
                let key = key(
                    id.into(),
                    new.name,
                    Origin::Imported,
                    new.usage,
                    new.dns_names,
                    new.clients,
                );
                Reply::Imported(self.add(key, new.sealed)?)
            }
            Request::Provision(new) => self.provision(new)?,
            Request::Restore(state) => self.restore(&state)?,
            Request::Attest(attest) => {
                let ids: Vec<_> = attest.keys.items().iter().map(KeyId::to_string).collect();
                Reply::Attested(Attestation {
                    document: [b"document ", attest.nonce.as_bytes()].concat().try_into().unwrap(),
                    statement: format!("statement {}", ids.join(" ")).into_bytes().try_into().unwrap(),
                })
            }
            Request::Csr(id) => Reply::Csr(self.key(id)?.id.0.to_vec().try_into().unwrap()),
            Request::InstallChain(install) => {
                let key = self.key(install.key)?;
                key.validity = Some(Validity {
                    not_before: 0,
                    not_after: 1_767_225_600,
                });
                let key = key.clone();
                self.chains.insert(install.key, install.chain);
                Reply::ChainInstalled(key)
            }
            Request::List(cursor) => self.page(cursor),
            Request::Chain(id) => {
                self.key(id)?;
                Reply::Chain(self.chains.get(&id).cloned())
            }
            Request::Supersede(id) => {
                let key = self.key(id)?;
                key.state = State::Superseded;
                Reply::Superseded(key.clone())
            }
            Request::Reinstate(id) => {
                let key = self.key(id)?;
                key.state = State::Live;
                Reply::Reinstated(key.clone())
            }
            Request::Retire(id) => {
                self.key(id)?;
                self.keys.retain(|key| key.id != id);
                Reply::Retired
            }
            Request::Narrow(narrow) => {
                let key = self.key(narrow.key)?;
                if key.usage != Usage::Digest || narrow.usage == Usage::Digest {
                    return Err(ControlError::NotNarrower);
                }
                key.usage = narrow.usage;
                Reply::Narrowed(key.clone())
            }
            Request::Statistics => Reply::Statistics(self.counters()),
        })
    }

    fn key(&mut self, id: KeyId) -> Result<&mut KeyInfo, ControlError> {
        self.keys
            .iter_mut()
            .find(|key| key.id == id)
            .ok_or(ControlError::NoSuchKey)
    }

    fn add(&mut self, mut key: KeyInfo, group: Option<Name>) -> Result<KeyInfo, ControlError> {
        if self.key(key.id).is_ok() {
            return Err(ControlError::KeyExists);
        }
        let known = |client: &Name| self.credentials.iter().any(|(name, ..)| name == client.as_str());
        if !key.clients.items().iter().all(known) {
            return Err(ControlError::NoSuchClient);
        }
        let older = self.keys.iter().filter(|older| older.name == key.name).count();
        key.generation = u32::try_from(older).unwrap() + 1;
        let before = self.keys.clone();
        key.sealed = group.map(|group| Sealed {
            group,
            number: self.numbers.get(key.name.as_str()).unwrap_or(&0) + 1,
            freshness: Freshness::Known,
        });
        self.keys.push(key.clone());
        if let Some(sealed) = &key.sealed {
            self.numbers.insert(key.name.to_string(), sealed.number);
            self.unstored = Some((self.seal(&key.name, sealed.number), before));
        }
        Ok(key)
    }

    /// A state: the head that real ones have, and the rest in the clear: number, keys.
    fn seal(&self, name: &Name, number: u64) -> StoreState {
        let keys: Vec<_> = self.keys.iter().filter(|key| key.name == *name).cloned().collect();
        let mut writer = Writer::new();
        writer.put(HEAD);
        name.encode(&mut writer);
        number.encode(&mut writer);
        writer.list(&keys);
        StoreState {
            name: name.clone(),
            number,
            blob: writer.into_bytes().try_into().unwrap(),
        }
    }

    fn restore(&mut self, state: &SealedState) -> Result<Reply, ControlError> {
        let mut reader = Reader::new(state.as_bytes());
        if reader.take(HEAD.len()) != Ok(HEAD) {
            return Err(ControlError::StateInvalid);
        }
        let name = Name::decode(&mut reader).map_err(|_| ControlError::StateInvalid)?;
        let number = u64::decode(&mut reader).map_err(|_| ControlError::StateInvalid)?;
        let keys: Vec<KeyInfo> = reader.list(64).map_err(|_| ControlError::StateInvalid)?;
        let ids: Vec<_> = keys.iter().map(|key| key.id).collect();
        match self.numbers.get(name.as_str()) {
            Some(known) if *known > number => return Err(ControlError::StateRollback),
            Some(known) if *known == number => {
                let has = |id: &KeyId| self.keys.iter().any(|key| key.id == *id);
                if !ids.iter().all(has) {
                    return Err(ControlError::StateRollback);
                }
            }
            _ => self.keys.extend(keys.into_iter().map(|key| KeyInfo {
                sealed: key.sealed.map(|sealed| Sealed {
                    freshness: Freshness::Unproven,
                    ..sealed
                }),
                ..key
            })),
        }
        self.numbers.insert(name.to_string(), number);
        Ok(Reply::Restored(ids.try_into().unwrap()))
    }

    /// A bundle's key is the hash of its document; an object of S3 is its own name.
    fn provision(&mut self, new: Provision) -> Result<Reply, ControlError> {
        let document = match &new.source {
            BundleSource::Document(json) => json.as_bytes().to_vec(),
            BundleSource::S3(object) => format!(
                "{}/{}/{}",
                object.region.as_str(),
                object.bucket.as_str(),
                object.key.as_str()
            )
            .into_bytes(),
        };
        self.opened_with.push(new.kms_key.as_str().to_owned());
        let id = Sha256::digest(document);
        let key = key(
            id.into(),
            new.name,
            Origin::Bundle,
            new.usage,
            new.dns_names,
            new.clients,
        );
        Ok(Reply::Provisioned(self.add(key, new.sealed)?))
    }

    /// A key that nobody noted.
    pub(crate) fn born(&mut self, name: &str) -> KeyId {
        let id = Sha256::digest(name);
        let no_names = || Listed::try_from(Vec::new()).unwrap();
        let name = name.parse().unwrap();
        let born = key(
            id.into(),
            name,
            Origin::Born,
            Usage::Tls,
            no_names(),
            Vec::new().try_into().unwrap(),
        );
        self.add(born, None).unwrap().id
    }

    /// Two keys to a page.
    fn page(&self, cursor: u32) -> Reply {
        let from = usize::try_from(cursor).unwrap();
        let rest = self.keys.get(from..).unwrap_or_default();
        Reply::Keys(KeyPage {
            total: u32::try_from(self.keys.len()).unwrap(),
            next: (rest.len() > 2).then_some(cursor + 2),
            keys: rest.iter().take(2).cloned().collect::<Vec<_>>().try_into().unwrap(),
        })
    }

    fn counters(&self) -> Counters {
        let counted = self.keys.iter().map(|key| KeyCounters {
            key: key.id,
            mechanism: Mechanism::EcdsaSha256,
            signed: 7,
            refused: 1,
            failed: 0,
        });
        Counters {
            connections: 1,
            accepted: 2,
            busy: 3,
            authentication_failures: 4,
            malformed: 5,
            deadlines: 6,
            keys: counted.collect::<Vec<_>>().try_into().unwrap(),
            ..Counters::default()
        }
    }
}

fn key(
    id: [u8; 32],
    name: Name,
    origin: Origin,
    usage: Usage,
    dns_names: Listed<DnsName, 100>,
    clients: Listed<Name, 64>,
) -> KeyInfo {
    KeyInfo {
        id: KeyId(id),
        name,
        generation: 0,
        key_type: KeyType::P256,
        usage,
        state: State::Live,
        origin,
        dns_names,
        clients,
        spki: vec![1, 2, 3].try_into().unwrap(),
        validity: None,
        sealed: None,
    }
}

/// The magic and the version of a sealed state.
const HEAD: &[u8] = b"enclave-tls-sealed\x01";
