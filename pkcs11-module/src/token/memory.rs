//! A service in memory, and keys and certificates that are right in form alone: nothing here was ever a key.

use std::sync::{Arc, Mutex};

use enclave_wire::identity::Certificate as CertificateBytes;
use enclave_wire::objects::Object;
use enclave_wire::signing::{Entry, Label};
use enclave_wire::{BootId, Chain, KeyId, KeyType, Name, Objects, Spki, State, Usage};
use sha2::{Digest, Sha256};

use super::backend::{Backend, Listed, SignFailure, SignRequest, Snapshot, SocketId, Unavailable};
use super::deadline::Deadline;
use super::der::{octet_string, tag};

/// A service that notes what it was asked.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Contents>);

#[derive(Default)]
struct Contents {
    version: u64,
    entries: Vec<Entry>,
    chains: Vec<(KeyId, Chain)>,
    published: Option<Arc<Objects>>,
    looks: usize,
    away: Option<Unavailable>,
    leaves_after: Option<(usize, Unavailable)>,
    refusal: Option<SignFailure>,
    calls: Vec<String>,
}

impl Memory {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        Self(Mutex::new(Contents {
            version: 1,
            entries,
            ..Contents::default()
        }))
    }

    pub(crate) fn install(&self, id: KeyId, chain: &[&[u8]]) {
        let certificates = chain
            .iter()
            .map(|der| CertificateBytes::try_from(der.to_vec()).unwrap());
        let chain = Chain::try_from(certificates.collect::<Vec<_>>()).unwrap();
        let mut memory = self.0.lock().unwrap();
        memory.version = memory.version.saturating_add(1);
        memory.chains.retain(|(key, _)| *key != id);
        memory.chains.push((id, chain));
    }

    pub(crate) fn forget_chains(&self) {
        let mut memory = self.0.lock().unwrap();
        memory.version = memory.version.saturating_add(1);
        memory.chains.clear();
    }

    pub(crate) fn add(&self, entry: Entry) {
        let mut memory = self.0.lock().unwrap();
        memory.version = memory.version.saturating_add(1);
        memory.entries.push(entry);
    }

    pub(crate) fn remove(&self, id: KeyId) {
        let mut memory = self.0.lock().unwrap();
        memory.version = memory.version.saturating_add(1);
        memory.entries.retain(|entry| entry.id != id);
    }

    /// Writes down what is live now, as the agent does.
    pub(crate) fn publish(&self) {
        let mut memory = self.0.lock().unwrap();
        let live = memory.entries.iter().filter(|entry| entry.state == State::Live);
        let objects = live.map(|entry| {
            let chain = memory.chains.iter().find(|(key, _)| *key == entry.id);
            Object {
                entry: entry.clone(),
                chain: chain.map(|(_, chain)| chain.clone()).unwrap_or_default(),
            }
        });
        let objects: Vec<_> = objects.collect();
        memory.published = Some(Arc::new(objects.try_into().unwrap()));
    }

    pub(crate) fn publish_these(&self, objects: Objects) {
        self.0.lock().unwrap().published = Some(Arc::new(objects));
    }

    pub(crate) fn set_state(&self, id: KeyId, state: State) {
        let mut memory = self.0.lock().unwrap();
        memory.version = memory.version.saturating_add(1);
        memory.entries.iter_mut().find(|entry| entry.id == id).unwrap().state = state;
    }

    pub(crate) fn leave(&self, why: Unavailable) {
        self.0.lock().unwrap().away = Some(why);
    }

    /// Answers so many calls more.
    pub(crate) fn leave_after(&self, calls: usize, why: Unavailable) {
        self.0.lock().unwrap().leaves_after = Some((calls, why));
    }

    pub(crate) fn come_back(&self) {
        self.0.lock().unwrap().away = None;
    }

    pub(crate) fn refuse(&self, why: SignFailure) {
        self.0.lock().unwrap().refusal = Some(why);
    }

    /// How often what is written down was looked at.
    pub(crate) fn looks(&self) -> usize {
        self.0.lock().unwrap().looks
    }

    pub(crate) fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().calls.clone()
    }

    fn note<T>(
        &self,
        call: &str,
        answer: impl FnOnce(&mut Contents) -> (Option<&'static str>, T),
    ) -> Result<T, Unavailable> {
        let mut memory = self.0.lock().unwrap();
        match &mut memory.leaves_after {
            Some((0, why)) => {
                memory.away = Some(*why);
                memory.leaves_after = None;
            }
            Some((calls, _)) => *calls = calls.saturating_sub(1),
            None => (),
        }
        if let Some(away) = memory.away {
            return Err(away);
        }
        let (more, answer) = answer(&mut memory);
        memory
            .calls
            .push(more.map_or_else(|| call.to_owned(), |more| format!("{call} {more}")));
        Ok(answer)
    }
}

impl Backend for Arc<Memory> {
    fn list(&self, known: Option<Snapshot>, deadline: Deadline) -> Result<Listed, Unavailable> {
        (**self).list(known, deadline)
    }
    fn find_by_id(&self, id: KeyId, deadline: Deadline) -> Result<Option<Entry>, Unavailable> {
        (**self).find_by_id(id, deadline)
    }
    fn find_by_label(&self, label: &Label, deadline: Deadline) -> Result<Vec<Entry>, Unavailable> {
        (**self).find_by_label(label, deadline)
    }
    fn chain(&self, id: KeyId, deadline: Deadline) -> Result<Option<Chain>, Unavailable> {
        (**self).chain(id, deadline)
    }
    fn sign(&self, request: SignRequest<'_>, deadline: Deadline) -> Result<Vec<u8>, SignFailure> {
        (**self).sign(request, deadline)
    }
    fn published(&self) -> Option<Arc<Objects>> {
        (**self).published()
    }
    fn each_socket(&self, _: &mut dyn FnMut(SocketId)) {}
}

impl Backend for Memory {
    fn list(&self, known: Option<Snapshot>, _deadline: Deadline) -> Result<Listed, Unavailable> {
        self.note("list", |memory| {
            let snapshot = Snapshot {
                boot: BootId([1; 16]),
                version: memory.version,
            };
            if known == Some(snapshot) {
                (Some("unchanged"), Listed::Unchanged)
            } else {
                (Some("all"), Listed::All(snapshot, memory.entries.clone()))
            }
        })
    }

    fn find_by_id(&self, id: KeyId, _deadline: Deadline) -> Result<Option<Entry>, Unavailable> {
        self.note("find by id", |memory| {
            (None, memory.entries.iter().find(|entry| entry.id == id).cloned())
        })
    }

    fn find_by_label(&self, label: &Label, _deadline: Deadline) -> Result<Vec<Entry>, Unavailable> {
        self.note("find by label", |memory| {
            let entries = memory.entries.iter().filter(|entry| entry.label() == *label);
            (None, entries.cloned().collect())
        })
    }

    fn chain(&self, id: KeyId, _deadline: Deadline) -> Result<Option<Chain>, Unavailable> {
        self.note("chain", |memory| {
            let is_there = memory.entries.iter().any(|entry| entry.id == id);
            let chain = memory.chains.iter().find(|(key, _)| *key == id);
            let chain = chain.map(|(_, chain)| chain.clone()).unwrap_or_default();
            (None, is_there.then_some(chain))
        })
    }

    /// The "signature" says what was signed, so that a test can read it.
    fn sign(&self, request: SignRequest<'_>, _deadline: Deadline) -> Result<Vec<u8>, SignFailure> {
        if let Some(refusal) = self.0.lock().unwrap().refusal {
            return Err(refusal);
        }
        self.note("sign", |memory| {
            if memory.entries.iter().all(|entry| entry.id != request.key) {
                return (None, Err(SignFailure::NoSuchKey));
            }
            let mut signature = vec![request.mechanism.byte()];
            signature.extend_from_slice(&Sha256::digest(request.input));
            signature.resize(request.key_type.signature_len(), 0);
            (None, Ok(signature))
        })
        .map_err(SignFailure::Unavailable)?
    }

    fn published(&self) -> Option<Arc<Objects>> {
        let mut memory = self.0.lock().unwrap();
        memory.looks = memory.looks.saturating_add(1);
        memory.published.clone()
    }

    fn each_socket(&self, _: &mut dyn FnMut(SocketId)) {}
}

/// A P-256 key of this name. The number makes it another key.
pub(crate) fn p256(name: &str, number: u8) -> Entry {
    let mut point = [number; 65];
    point[0] = 4;
    let algorithm = [
        0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7,
    ];
    entry(name, KeyType::P256, &algorithm, &point)
}

/// An Ed25519 key of this name.
pub(crate) fn ed25519(name: &str, number: u8) -> Entry {
    entry(name, KeyType::Ed25519, &[6, 3, 0x2b, 0x65, 0x70], &[number; 32])
}

/// An RSA-2048 key of this name.
pub(crate) fn rsa_2048(name: &str, number: u8) -> Entry {
    let mut modulus = [number; 257];
    modulus[..2].copy_from_slice(&[0, 0x80]);
    let numbers = [tlv(tag::INTEGER, &modulus), tlv(tag::INTEGER, &[1, 0, 1])].concat();
    let algorithm = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    entry(
        name,
        "RSA-2048".parse().unwrap(),
        &algorithm,
        &tlv(tag::SEQUENCE, &numbers),
    )
}

/// A certificate of this key, with no signature worth the name.
pub(crate) fn certificate(spki: &Spki, subject: &str, issuer: &str) -> Vec<u8> {
    let name = |text: &str| {
        let pair = [tlv(tag::OID, &[0x55, 4, 3]), tlv(0x0c, text.as_bytes())].concat();
        tlv(tag::SEQUENCE, &tlv(tag::SET, &tlv(tag::SEQUENCE, &pair)))
    };
    let algorithm = tlv(tag::SEQUENCE, &tlv(tag::OID, &[0x2a, 3]));
    let fields = [
        tlv(tag::EXPLICIT_0, &[2, 1, 2]),
        tlv(tag::INTEGER, &[7]),
        algorithm.clone(),
        name(issuer),
        tlv(tag::SEQUENCE, &[]),
        name(subject),
        spki.as_bytes().to_vec(),
    ];
    let whole = [
        tlv(tag::SEQUENCE, &fields.concat()),
        algorithm,
        tlv(tag::BIT_STRING, &[0]),
    ];
    tlv(tag::SEQUENCE, &whole.concat())
}

fn entry(name: &str, key_type: KeyType, algorithm: &[u8], key: &[u8]) -> Entry {
    let bits = [&[0], key].concat();
    let spki = tlv(
        tag::SEQUENCE,
        &[tlv(tag::SEQUENCE, algorithm), tlv(tag::BIT_STRING, &bits)].concat(),
    );
    Entry {
        id: KeyId(Sha256::digest(&spki).into()),
        name: Name::try_from(name).unwrap(),
        generation: 1,
        key_type,
        usage: Usage::Tls,
        state: State::Live,
        spki: Spki::try_from(spki).unwrap(),
    }
}

fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = octet_string(contents);
    bytes[0] = tag;
    bytes
}
