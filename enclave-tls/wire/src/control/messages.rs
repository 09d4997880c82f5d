//! The bodies of the control plane's messages.

use super::forms::{Listed, Opaque, Secret};
use crate::codec::{byte_enum, message};
use crate::credential::{CredentialId, Verifier};
use crate::identity::{BootId, Chain, DnsName, KeyId, KeyType, Name, Spki, State, Usage};
use crate::log::Text;
use crate::signing::Entry;

message! {
    /// Where the service stands.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Status {
        /// This run.
        boot: BootId,
        /// The version of the service.
        version: Text<32>,
        /// What it waits for.
        phase: Phase,
        /// Milliseconds since its start.
        uptime_ms: u64,
        /// What it takes the time to be, in seconds since 1970, UTC.
        now: i64,
        /// The kernel's clock source, which counts that time on; an enclave has `kvm-clock`.
        clock_source: Text<32>,
        /// SHA-384 of the policy in force, which PCR16 measures; none before there is one.
        policy_sha384: Option<[u8; 48]>,
        /// The KMS keys that states are sealed under, in the policy's order; none before there is a policy.
        sealing: Listed<SealingKey, 4>,
    }
}

message! {
    /// A KMS key of the policy that states are sealed under.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SealingKey {
        /// Its ARN.
        kms_key: Text<256>,
        /// What it did when it was asked last.
        answers: KmsAnswer,
        /// How many names have a state that it does not open, of those that were sealed or opened in this run.
        missing: u32,
    }
}

byte_enum! {
    /// What a KMS key did when it was asked last.
    pub enum KmsAnswer {
        /// It answered, or it was not asked in this run.
        Well = 0x01,
        /// It did not answer, or it refused.
        Failed = 0x02,
    }
}

byte_enum! {
    /// What the service waits for.
    pub enum Phase {
        /// The parent's policy, or the word that there is none.
        AwaitingPolicy = 0x01,
        /// The word that all has been replayed.
        AwaitingReady = 0x02,
        /// Nothing: the signing plane is open.
        Serving = 0x03,
    }
}

message! {
    /// A client's credential: what proves it, not its secret. It has no `Debug`.
    pub struct InstallCredential {
        /// The client.
        client: Name,
        /// The credential's id.
        id: CredentialId,
        /// What its proofs are checked with.
        verifier: Verifier,
    }
}

message! {
    /// A client's credential to take away.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct RevokeCredential {
        /// The client.
        client: Name,
        /// The credential's id.
        id: CredentialId,
    }
}

message! {
    /// A credential, as an administrator sees it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct CredentialInfo {
        /// The client.
        client: Name,
        /// The credential's id, which is no secret.
        id: CredentialId,
        /// Connections that it has open now.
        connections: u32,
        /// How often it was proven since it was installed in this run.
        authenticated: u64,
        /// When it was proven last: milliseconds since the service's start, as [`Status::uptime_ms`] counts them.
        last_authenticated_ms: Option<u64>,
    }
}

message! {
    /// Asks for a new key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Create {
        /// Its certificate's name: a key of the same name becomes the next generation.
        name: Name,
        /// Its type.
        key_type: KeyType,
        /// What it may sign.
        usage: Usage,
        /// The names that its certificate will carry.
        dns_names: Listed<DnsName, 100>,
        /// The clients that may use it.
        clients: Listed<Name, 64>,
        /// The group whose data key its state is sealed under; none: it ends with this run.
        sealed: Option<Name>,
    }
}

message! {
    /// A key from outside. It has no `Debug`: it carries a private key.
    pub struct Import {
        /// Its certificate's name.
        name: Name,
        /// What it may sign.
        usage: Usage,
        /// The names that its certificate carries.
        dns_names: Listed<DnsName, 100>,
        /// The clients that may use it.
        clients: Listed<Name, 64>,
        /// The group whose data key its state is sealed under; none: it ends with this run.
        sealed: Option<Name>,
        /// The private key.
        pkcs8: Pkcs8,
    }
}

message! {
    /// A chain for a key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct InstallChain {
        /// The key.
        key: KeyId,
        /// Leaf first, at least the leaf's issuer; a root may end it and is not served.
        chain: Chain,
    }
}

message! {
    /// A usage to narrow a key to.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Narrow {
        /// The key.
        key: KeyId,
        /// What it may sign from now on.
        usage: Usage,
    }
}

message! {
    /// A key, as an administrator sees it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyInfo {
        /// SHA-256 of its SPKI.
        id: KeyId,
        /// Its certificate's name.
        name: Name,
        /// Which generation of that certificate, from 1.
        generation: u32,
        /// Its type.
        key_type: KeyType,
        /// What it may sign.
        usage: Usage,
        /// Where the generation stands.
        state: State,
        /// Where it came from.
        origin: Origin,
        /// The names that its certificate carries.
        dns_names: Listed<DnsName, 100>,
        /// The clients that may use it.
        clients: Listed<Name, 64>,
        /// The public key.
        spki: Spki,
        /// When its certificate is valid, once one is installed.
        validity: Option<Validity>,
        /// How its state is sealed, if it is.
        sealed: Option<Sealed>,
    }
}

impl KeyInfo {
    /// The key as its clients see it.
    #[must_use]
    pub fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            name: self.name.clone(),
            generation: self.generation,
            key_type: self.key_type,
            usage: self.usage,
            state: self.state,
            spki: self.spki.clone(),
        }
    }
}

message! {
    /// How a name's state is sealed.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Sealed {
        /// The group: one data key, one encryption context.
        group: Name,
        /// The number of the state that was stored last.
        number: u64,
        /// Whether this run began with a state that the parent gave. It may have been an older one: its freshness is unproven.
        freshness: Freshness,
    }
}

byte_enum! {
    /// Whether a newer state of a name may exist.
    pub enum Freshness {
        /// This run made the first state itself.
        Known = 0x01,
        /// This run began with a state that the parent chose.
        Unproven = 0x02,
    }
}

byte_enum! {
    /// Where a key came from.
    pub enum Origin {
        /// Made in the service, and never outside it.
        Born = 0x01,
        /// Given to it in the clear.
        Imported = 0x02,
        /// Given to it encrypted under a KMS key that opens for attested code only.
        Bundle = 0x03,
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Born => "born",
            Self::Imported => "imported",
            Self::Bundle => "bundle",
        })
    }
}

message! {
    /// When a leaf is valid, in seconds since 1970, UTC.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Validity {
        /// The first second.
        not_before: i64,
        /// The last second.
        not_after: i64,
    }
}

message! {
    /// A page of keys.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyPage {
        /// How many keys there are in all.
        total: u32,
        /// Where the next page begins, if there is one.
        next: Option<u32>,
        /// The keys.
        keys: Listed<KeyInfo, 256>,
    }
}

/// A private key in PKCS#8, DER. RSA-8192 has some 4.7 KB.
pub type Pkcs8 = Secret<8_192>;
/// A policy's TOML, not looked at here. One with a thousand patterns is still below this.
pub type PolicyBytes = Opaque<65_536>;
