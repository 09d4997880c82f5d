//! What the keeper remembers of rotations: a part of [`keeper.json`](super::memory).

use std::collections::BTreeMap;

use enclave_tls_admin::hex;
use enclave_tls_apply::Directory;
use enclave_tls_config::Config;
use enclave_wire::control::KeyInfo;
use enclave_wire::{KeyId, Name};
use serde::{Deserialize, Serialize};

use super::absent::Kept;
use super::outside::Leaf;

/// By the certificate's name, but for what is of keys.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rotations {
    /// What clients were seen to get.
    looked: BTreeMap<String, Looked>,
    /// Since when servers have what they have.
    settling: BTreeMap<String, Settling>,
    /// What was taken back, so that `status` says it.
    taken_back: BTreeMap<String, TakenBack>,
    /// The version of the object in S3 that was read last.
    versions: BTreeMap<String, String>,
    /// New keys that administrators want.
    asked: BTreeMap<String, Asked>,
    /// The same, asked for while what is stored of the certificate was not open.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    closed: BTreeMap<String, Wanted>,
    /// As counted, the last turn that one of many was given.
    last_turn: u64,
    /// By its id, a key that is retired as soon as another is live, and why.
    urgent: BTreeMap<String, String>,
    /// By its key's id, a certificate that its CA shall revoke, and why.
    revoking: BTreeMap<String, String>,
    /// The same, and of keys that are not to be trusted: what an administrator needs to have it revoked by hand, should its key be gone
    /// before.
    issued: BTreeMap<String, Issued>,
    /// The same: why, as the enclave last told the CA.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    told: BTreeMap<String, String>,
    /// By its key's id, a certificate that its CA has revoked, and why.
    revoked: BTreeMap<String, String>,
    /// What was said of a certificate's end.
    reminded: BTreeMap<String, Reminded>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Looked {
    directory: String,
    /// SHA-256 of the leaf, in hexadecimal.
    leaf: String,
    /// What shows something else, and did before.
    unlike: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settling {
    directory: String,
    /// As counted.
    since: u64,
    /// Whether it was said that older workers remain.
    said: bool,
}

/// What was taken back, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenBack {
    pub(super) generation: u32,
    key: String,
    pub(super) why: String,
    pub(super) at: i64,
}

/// A new key that an administrator wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// As counted: not before.
    pub(super) due: u64,
    /// The newest generation that there was.
    pub(super) above: u32,
    pub(super) by: u32,
}

/// What an administrator wants of a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Its turn, as counted: not before.
    pub(super) turn: u64,
    /// Seconds between the turns of those that were asked for together; 0: at once.
    pub(super) apart: u64,
    pub(super) by: u32,
    /// Why the keys that there are shall not be trusted; none: they may be.
    pub(super) distrust: Option<String>,
}

/// A certificate that its CA shall revoke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) generation: u32,
    /// In hexadecimal.
    pub(super) serial: String,
    pub(super) not_after: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reminded {
    not_after: i64,
    days: i64,
}

impl Rotations {
    /// Whether clients were seen to get this.
    pub(super) fn has_looked(&self, name: &Name, directory: &Directory) -> bool {
        let looked = self.looked.get(name.as_str());
        looked.is_some_and(|looked| looked.directory == directory.to_string())
    }

    /// What shows something else than what clients were seen to get.
    pub(super) fn unlike(&self, name: &Name) -> &[String] {
        self.looked.get(name.as_str()).map_or(&[], |looked| &looked.unlike)
    }

    /// The leaf that clients were last seen to get.
    pub(super) fn leaf(&self, name: &Name) -> Option<Leaf> {
        let leaf = hex::bytes(&self.looked.get(name.as_str())?.leaf)?;
        leaf.try_into().ok().map(Leaf)
    }

    pub(super) fn looked_at(&mut self, name: &Name, directory: &Directory, leaf: Leaf, unlike: Vec<String>) {
        let looked = Looked {
            directory: directory.to_string(),
            leaf: hex::encode(&leaf.0),
            unlike,
        };
        self.looked.insert(name.to_string(), looked);
    }

    /// Since when servers have this, as counted. The first to ask says that it is since `now`.
    pub(super) fn settling(&mut self, name: &Name, directory: &Directory, now: u64) -> u64 {
        let directory = directory.to_string();
        let fresh = || Settling {
            directory: directory.clone(),
            since: now,
            said: false,
        };
        let settling = self.settling.entry(name.to_string()).or_insert_with(fresh);
        if settling.directory != directory {
            *settling = fresh();
        }
        settling.since
    }

    /// The same, where it is known.
    pub(super) fn settles_since(&self, name: &Name, directory: &Directory) -> Option<u64> {
        let settling = self.settling.get(name.as_str())?;
        (settling.directory == directory.to_string()).then_some(settling.since)
    }

    /// Whether nobody has been told of older workers that remain. From now on somebody has.
    pub(super) fn is_unsaid(&mut self, name: &Name) -> bool {
        let settling = self.settling.get_mut(name.as_str());
        settling.is_some_and(|settling| !std::mem::replace(&mut settling.said, true))
    }

    pub(super) fn has_said(&self, name: &Name) -> bool {
        self.settling.get(name.as_str()).is_some_and(|settling| settling.said)
    }

    pub(super) fn taken_back(&self, name: &Name) -> Option<&TakenBack> {
        self.taken_back.get(name.as_str())
    }

    pub(super) fn took_back(&mut self, name: &Name, key: &KeyInfo, why: &str, at: i64) {
        let taken = TakenBack {
            generation: key.generation,
            key: key.id.to_string(),
            why: why.to_owned(),
            at,
        };
        self.taken_back.insert(name.to_string(), taken);
        // What clients see is to be looked at again.
        self.looked.remove(name.as_str());
    }

    /// A generation is well: what was taken back before it is history.
    pub(super) fn is_well(&mut self, name: &Name, generation: u32) {
        let is_history = |taken: &TakenBack| taken.generation <= generation;
        if self.taken_back(name).is_some_and(is_history) {
            self.taken_back.remove(name.as_str());
        }
    }

    /// What an administrator decides about a certificate stands above what was taken back.
    pub(super) fn decided(&mut self, name: &Name) {
        self.taken_back.remove(name.as_str());
        self.looked.remove(name.as_str());
    }

    pub(super) fn version(&self, name: &Name) -> Option<&str> {
        self.versions.get(name.as_str()).map(String::as_str)
    }

    pub(super) fn has_version(&mut self, name: &Name, version: &str) {
        self.versions.insert(name.to_string(), version.to_owned());
    }

    pub(super) fn asked(&self, name: &Name) -> Option<&Asked> {
        self.asked.get(name.as_str())
    }

    pub(super) fn ask(&mut self, name: &Name, asked: Asked) {
        self.asked.insert(name.to_string(), asked);
    }

    pub(super) fn answered(&mut self, name: &Name) {
        self.asked.remove(name.as_str());
    }

    /// Notes what was asked for while nobody knew which keys there are.
    pub(super) fn ask_once_open(&mut self, name: &Name, wanted: Wanted) {
        let known = self.closed.remove(name.as_str()).and_then(|known| known.distrust);
        let distrust = wanted.distrust.or(known);
        self.closed.insert(name.to_string(), Wanted { distrust, ..wanted });
    }

    pub(super) fn closed(&self, name: &Name) -> Option<&Wanted> {
        self.closed.get(name.as_str())
    }

    /// What is not to be trusted of all that is not open, and why.
    pub(super) fn closed_in_an_emergency(&self) -> impl Iterator<Item = (Name, String)> {
        let closed = self.closed.iter();
        closed.filter_map(|(name, wanted)| Some((Name::try_from(name.as_str()).ok()?, wanted.distrust.clone()?)))
    }

    /// It is open, so that it can begin.
    pub(super) fn opened(&mut self, name: &Name) -> Option<Wanted> {
        self.closed.remove(name.as_str())
    }

    /// Turns were given up to this one.
    pub(super) fn gave_turns(&mut self, last: u64) {
        self.last_turn = last;
    }

    /// The turn of one that missed its own: after all others.
    pub(super) fn missed_turn(&mut self, wanted: &Wanted, now: u64) -> u64 {
        if wanted.apart == 0 || wanted.turn > now {
            return wanted.turn.max(now);
        }
        self.last_turn = self.last_turn.saturating_add(wanted.apart).max(now);
        self.last_turn
    }

    /// When the next is due, as counted.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.asked.values().map(|asked| asked.due).min()
    }

    pub(super) fn urgent(&self, id: KeyId) -> Option<&str> {
        self.urgent.get(&id.to_string()).map(String::as_str)
    }

    pub(super) fn be_urgent(&mut self, id: KeyId, reason: &str) {
        be(&mut self.urgent, id.to_string(), reason);
    }

    pub(super) fn not_urgent(&mut self, id: KeyId) {
        self.urgent.remove(&id.to_string());
    }

    /// Those whose key is gone though its certificate was to be revoked first, and why.
    pub(super) fn lost(&self, is_there: impl Fn(&str) -> bool) -> Vec<(String, String)> {
        let is_lost = |id: &str| self.issued.contains_key(id) && !self.revoking.contains_key(id) && !is_there(id);
        let lost = self.urgent.iter().filter(|(id, _)| is_lost(id));
        lost.map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }

    /// The certificate of a key that is gone is an administrator's to have revoked.
    pub(super) fn lose(&mut self, id: String, reason: String) {
        self.revoking.insert(id, reason);
    }

    /// Certificates to revoke, by their keys' ids, and why.
    pub(super) fn revoking(&self) -> Vec<(String, String)> {
        self.revoking.clone().into_iter().collect()
    }

    pub(super) fn is_revoking(&self, id: KeyId) -> bool {
        self.revoking.contains_key(&id.to_string())
    }

    pub(super) fn revoke(&mut self, id: KeyId, reason: &str) {
        be(&mut self.revoking, id.to_string(), reason);
    }

    /// Why a certificate is to be revoked, if it is.
    pub(super) fn revoking_for(&self, id: KeyId) -> Option<&str> {
        self.revoking.get(&id.to_string()).map(String::as_str)
    }

    /// The enclave tells the CA this.
    pub(super) fn tells(&mut self, id: KeyId, reason: &str) {
        self.told.insert(id.to_string(), reason.to_owned());
    }

    /// Whether the CA was told another reason.
    pub(super) fn told_otherwise(&self, id: KeyId, reason: &str) -> bool {
        self.told.get(&id.to_string()).is_some_and(|told| told != reason)
    }

    /// Of a certificate to revoke, by its key's id.
    pub(super) fn issued(&self, id: &str) -> Option<&Issued> {
        self.issued.get(id)
    }

    pub(super) fn is_issued(&mut self, id: KeyId, issued: Issued) {
        self.issued.insert(id.to_string(), issued);
    }

    /// A certificate is revoked.
    pub(super) fn did_revoke(&mut self, id: KeyId, reason: &str) {
        self.not_revoking(&id.to_string());
        be(&mut self.revoked, id.to_string(), reason);
    }

    /// A certificate is not to be revoked any more: it has ended, or somebody else sees to it.
    pub(super) fn not_revoking(&mut self, id: &str) {
        self.revoking.remove(id);
        self.issued.remove(id);
    }

    /// Why a certificate was revoked, if it was.
    pub(super) fn revoked(&self, id: KeyId) -> Option<&str> {
        self.revoked.get(&id.to_string()).map(String::as_str)
    }

    /// Whether nobody was told yet that the certificate that ends then does so in at most so many days.
    pub(super) fn is_news(&self, name: &Name, not_after: i64, days: i64) -> bool {
        let reminded = self.reminded.get(name.as_str());
        reminded.is_none_or(|reminded| reminded.not_after != not_after || reminded.days > days)
    }

    pub(super) fn reminded(&mut self, name: &Name, not_after: i64, days: i64) {
        self.reminded.insert(name.to_string(), Reminded { not_after, days });
    }

    /// The keys of which something is remembered for as long as they are there.
    pub(super) fn ids(&self) -> impl Iterator<Item = &String> {
        self.urgent.keys().chain(self.revoked.keys())
    }

    /// Forgets what is of nothing any more. Whether there was something.
    pub(super) fn keep(&mut self, config: &Config, kept: &Kept<'_>, not_open: &BTreeMap<Name, String>) -> bool {
        let before = self.count();
        let is_there = |name: &String| {
            let name = Name::try_from(name.as_str());
            name.is_ok_and(|name| config.certificates.contains_key(&name))
        };
        self.looked.retain(|name, _| is_there(name));
        self.settling.retain(|name, _| is_there(name));
        self.asked.retain(|name, _| is_there(name));
        // What is not to be trusted is so whether or not it is still wanted.
        self.closed
            .retain(|name, wanted| is_there(name) || wanted.distrust.is_some());
        self.versions.retain(|name, _| is_there(name));
        self.reminded.retain(|name, _| is_there(name));
        let issued = &self.issued;
        self.urgent.retain(|id, _| kept.has(id) || issued.contains_key(id));
        self.revoked.retain(|id, _| kept.has(id));
        let (revoking, revoked) = (&self.revoking, &self.revoked);
        self.told
            .retain(|id, _| revoking.contains_key(id) || revoked.contains_key(id));
        let is_not_open = |name: &str| Name::try_from(name).is_ok_and(|name| not_open.contains_key(&name));
        self.taken_back
            .retain(|name, taken| kept.is_listed(&taken.key) || is_not_open(name));
        self.count() != before
    }

    fn count(&self) -> usize {
        let by_name = [
            self.looked.len(),
            self.settling.len(),
            self.taken_back.len(),
            self.asked.len(),
            self.closed.len(),
        ];
        let of_keys = [
            self.urgent.len(),
            self.revoked.len(),
            self.reminded.len(),
            self.versions.len(),
        ];
        by_name.into_iter().chain(of_keys).fold(0, usize::saturating_add)
    }
}

/// Notes why. That a key is compromised stands above any other reason.
fn be(reasons: &mut BTreeMap<String, String>, id: String, reason: &str) {
    let known = reasons.entry(id).or_insert_with(|| reason.to_owned());
    if known != COMPROMISE {
        reason.clone_into(known);
    }
}

/// Whether a reason is to be said though another was: a certificate that is revoked may be so again for this one alone (RFC 5280,
/// section 5.3.1, and what CAs make of it).
pub(super) fn is_graver(reason: &str, than: &str) -> bool {
    reason == COMPROMISE && than != COMPROMISE
}

const COMPROMISE: &str = "key-compromise";
