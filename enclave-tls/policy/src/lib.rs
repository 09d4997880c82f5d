//! What an enclave may ever do: names, usages, types of keys, imports; whose documents, KMS keys, CAs and hosts it trusts.
//!
//! The image carries one policy. The parent may add another, which can only take away; the policy in force is measured
//! into PCR16, so that a KMS key, or a stranger with an attestation document, can require it. [`aws`] has what follows
//! from a region or an ARN.

#![deny(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm
)]

pub mod aws;

mod any_or;
mod endpoint;
mod error;
mod file;
mod lists;
mod pattern;
mod root;
mod rules;
mod tree;

use aws_lc_rs::digest::{Context, SHA384};
use enclave_wire::control::ControlError;
use enclave_wire::{DnsName, KeyType, Name, Usage};

use aws::{KeyArn, Region};
pub use error::PolicyError;
pub use pattern::{InvalidPattern, Pattern};
pub use rules::NsmTrust;
use rules::Rules;

/// A policy. Its decisions are final for a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    rules: Rules,
    tree: tree::Table,
    json: String,
    /// Of `json`: each answer about the service has it.
    sha384: [u8; 48],
}

impl Policy {
    /// Reads a policy's TOML. A key that is not known is refused: it might have been a restriction.
    ///
    /// This is TOML 1.1. A reader of 1.0 refuses what is new there (`\e`, inline tables over several lines); none reads it
    /// as something else, so every reader that takes the text computes the same measurement.
    pub fn parse(toml: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(toml).map_err(|_| PolicyError::NotUtf8)?;
        let tree = tree::Tree::parse(text)?;
        let file: file::File = toml::from_str(text).map_err(|error| PolicyError::from_toml(text, &error))?;
        let rules = file.into_rules(text)?;
        if rules.names.len() > error::MAX_NAMES {
            return Err(PolicyError::TooManyNames);
        }
        if rules.acme.len() > endpoint::MAX_ENDPOINTS {
            return Err(PolicyError::TooManyDirectories);
        }
        Ok(Self::new(rules, tree))
    }

    /// What both policies allow, and nothing else. `self` is the image's: sealing keys stay in its order, unless it
    /// leaves them open.
    ///
    /// If the names that both allow take more than 256 rules to say, no name is left.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let rules = self.rules.intersect(&other.rules);
        let tree = rules.to_tree();
        Self::new(rules, tree)
    }

    fn new(rules: Rules, tree: tree::Table) -> Self {
        let json = tree::to_json(&tree);
        Self {
            sha384: sha384_of(&[json.as_bytes()]),
            json,
            rules,
            tree,
        }
    }

    /// The policy as TOML. Read again it is the same policy, with the same measurement; comments are lost.
    #[must_use]
    pub fn to_toml(&self) -> String {
        tree::to_toml(&self.tree)
    }

    /// The canonical form: RFC 8785 JSON of the TOML's tree. Of a policy that was read it is the tree that was read; of
    /// one made by [`Policy::intersect`] the tree of [`Policy::to_toml`].
    #[must_use]
    pub fn canonical_json(&self) -> &str {
        &self.json
    }

    /// SHA-384 of the canonical form. Statements carry it.
    #[must_use]
    pub fn sha384(&self) -> [u8; 48] {
        self.sha384
    }

    /// What PCR16 holds when this policy is in force: 48 zero bytes, which every PCR starts from, extended once by
    /// [`Policy::sha384`]. The NSM extends by SHA-384(old ‖ data).
    #[must_use]
    pub fn pcr16(&self) -> [u8; 48] {
        sha384_of(&[&[0; 48], &self.sha384()])
    }

    /// Whether a key of this name may have this usage. Every pattern that matches the name adds its usages.
    pub fn allows(&self, name: &Name, usage: Usage) -> Result<(), ControlError> {
        let mut matching = self
            .rules
            .names
            .iter()
            .filter(|rule| rule.pattern.matches(name))
            .peekable();
        if matching.peek().is_none() {
            return Err(ControlError::NameRefused);
        }
        let allowed = matching.any(|rule| rule.usages.contains(&usage));
        allowed.then_some(()).ok_or(ControlError::UsageRefused)
    }

    /// Whether keys of this type and size may be here.
    pub fn allows_key(&self, key_type: KeyType) -> Result<(), ControlError> {
        let allowed = match key_type {
            KeyType::Rsa(bits) => self
                .rules
                .rsa
                .is_some_and(|range| (range.min..=range.max).contains(&bits)),
            KeyType::P256 | KeyType::P384 | KeyType::P521 | KeyType::Ed25519 => self.rules.curves.contains(&key_type),
        };
        allowed.then_some(()).ok_or(ControlError::KeyTypeRefused)
    }

    /// Whether a private key may come from outside in the clear.
    pub fn allows_imports(&self) -> Result<(), ControlError> {
        self.rules.imports.then_some(()).ok_or(ControlError::ImportsRefused)
    }

    /// How the NSM's documents are known. Where nothing says so nothing can be attested, and so nothing sealed or decrypted by KMS.
    #[must_use]
    pub fn attestation(&self) -> Option<NsmTrust> {
        self.rules.attestation
    }

    /// The DER of the certificates that an AWS host's chain must end in. Where there are none, no host is AWS's.
    #[must_use]
    pub fn aws_roots(&self) -> &[Vec<u8>] {
        &self.rules.aws_roots
    }

    /// The KMS keys under which state may be sealed: the first few seal, so that each alone opens it, and any of them opens.
    ///
    /// None if the list was left open and nobody closed it: the ARN comes from a measured policy or from nowhere.
    #[must_use]
    pub fn sealing_keys(&self) -> &[KeyArn] {
        self.rules.sealing_keys.named()
    }

    /// Whether a bundle's private key may be encrypted under this KMS key. A list that was left open names no key: who
    /// may encrypt under the key knows the private key, so a measured policy must say whose it is. A key that seals too is none: who may
    /// encrypt bundles under it could make data keys, and so sealed state, of their own.
    pub fn bundle_key(&self, key: &KeyArn) -> Result<(), ControlError> {
        let named = self.rules.bundle_keys.named().contains(key) && !self.sealing_keys().contains(key);
        named.then_some(()).ok_or(ControlError::KmsKeyRefused)
    }

    /// Whether bundles may come without an encryption context. Nothing but the key in them ties such a bundle to a name.
    pub fn allows_foreign_bundles(&self) -> Result<(), ControlError> {
        let allowed = self.rules.foreign_bundles;
        allowed.then_some(()).ok_or(ControlError::ForeignBundleRefused)
    }

    /// Whether the kernel may count time by another clock source than `kvm-clock`. An enclave that counts by the TSC has been seen to tell
    /// dates of 1999; a machine without a hypervisor's clock has nothing else.
    #[must_use]
    pub fn allows_any_clock_source(&self) -> bool {
        self.rules.any_clock_source
    }

    /// The DER of the roots that the server of an ACME directory must chain to: those of every entry that names the directory. An entry
    /// whose address or whose roots were left open names nothing: a measured policy must say which CA it is, and how it is known.
    pub fn acme_roots(&self, host: &DnsName, port: u16, path: &str) -> Result<Vec<Vec<u8>>, ControlError> {
        let naming = self
            .rules
            .acme
            .iter()
            .filter(|entry| entry.address.names(host, port, path));
        let mut roots: Vec<Vec<u8>> = naming.flat_map(|entry| entry.roots.named()).cloned().collect();
        roots.sort_unstable();
        roots.dedup();
        if roots.is_empty() {
            return Err(ControlError::DirectoryRefused);
        }
        Ok(roots)
    }

    /// The resolver for DNS over HTTPS, and the DER of the roots that it must chain to. One that was left open is none.
    pub fn resolver(&self) -> Result<Resolver<'_>, ControlError> {
        let named = self.rules.dns.as_ref().and_then(|entry| {
            Some(Resolver {
                url: entry.address.single()?,
                roots: Some(entry.roots.named()).filter(|roots| !roots.is_empty())?,
            })
        });
        named.ok_or(ControlError::ResolverRefused)
    }

    /// Whether objects may be read from S3 in this region. A list that was left open allows every region: what is read
    /// there is a bundle, which its KMS key protects.
    pub fn allows_region(&self, region: &Region) -> Result<(), ControlError> {
        let allowed = self.rules.aws_regions.covers(region);
        allowed.then_some(()).ok_or(ControlError::RegionRefused)
    }
}

/// A resolver for DNS over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver<'a> {
    /// Its address.
    pub url: String,
    /// The DER of its roots.
    pub roots: &'a [Vec<u8>],
}

fn sha384_of(parts: &[&[u8]]) -> [u8; 48] {
    let mut context = Context::new(&SHA384);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 48];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests;
