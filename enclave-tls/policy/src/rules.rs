//! What a policy says, apart from how it is written.

use std::collections::{BTreeMap, BTreeSet};

use enclave_wire::identity::RsaBits;
use enclave_wire::{KeyType, Usage};

use crate::any_or::{ANY, AnyOr};
use crate::aws::{KeyArn, Region};
use crate::endpoint::{self, Endpoint};
use crate::error::MAX_NAMES;
use crate::pattern::Pattern;
use crate::root;
use crate::tree::{Table, Tree};

/// The fields of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) imports: bool,
    pub(crate) names: Vec<NameRule>,
    pub(crate) rsa: Option<RsaRange>,
    pub(crate) curves: BTreeSet<KeyType>,
    pub(crate) attestation: Option<NsmTrust>,
    pub(crate) aws_regions: AnyOr<Region>,
    /// DER: two PEM texts of one certificate are the same root.
    pub(crate) aws_roots: Vec<Vec<u8>>,
    pub(crate) sealing_keys: AnyOr<KeyArn>,
    pub(crate) bundle_keys: AnyOr<KeyArn>,
    pub(crate) foreign_bundles: bool,
    pub(crate) any_clock_source: bool,
    pub(crate) acme: Vec<Endpoint>,
    pub(crate) dns: Option<Endpoint>,
}

impl Rules {
    /// What both allow, field by field. Where order matters it is this policy's.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        let same_trust = self.attestation.filter(|trust| other.attestation == Some(*trust));
        let roots = self.aws_roots.iter().filter(|root| other.aws_roots.contains(root));
        Self {
            imports: self.imports && other.imports,
            names: intersect_names(&self.names, &other.names),
            rsa: self.rsa.zip(other.rsa).and_then(|(a, b)| a.intersect(b)),
            curves: self.curves.intersection(&other.curves).copied().collect(),
            attestation: same_trust,
            aws_regions: self.aws_regions.intersect(&other.aws_regions),
            aws_roots: roots.cloned().collect(),
            sealing_keys: self.sealing_keys.intersect(&other.sealing_keys),
            bundle_keys: self.bundle_keys.intersect(&other.bundle_keys),
            foreign_bundles: self.foreign_bundles && other.foreign_bundles,
            any_clock_source: self.any_clock_source && other.any_clock_source,
            acme: endpoint::intersect(&self.acme, &other.acme),
            dns: self
                .dns
                .as_ref()
                .zip(other.dns.as_ref())
                .and_then(|(a, b)| a.intersect(b)),
        }
    }

    /// The one way in which these rules are written out. What is written reads as the same rules.
    pub(crate) fn to_tree(&self) -> Table {
        let mut table = Table::new();
        let mut put = |name: &str, value| table.insert(name.to_owned(), value);
        put("version", Tree::Integer(1));
        put("imports", Tree::Bool(self.imports));
        put("names", self.names.iter().map(NameRule::to_tree).collect());
        put("keys", self.keys());
        if let Some(trust) = self.attestation {
            put("attestation", trust.to_tree());
        }
        let roots = self
            .aws_roots
            .iter()
            .map(|root| Tree::Text(root::to_pem(root)))
            .collect();
        put(
            "aws",
            Tree::from([("regions", list(&self.aws_regions)), ("roots", roots)]),
        );
        put("sealing", Tree::from([("keys", list(&self.sealing_keys))]));
        let foreign = Tree::Bool(self.foreign_bundles);
        put(
            "bundles",
            Tree::from([("keys", list(&self.bundle_keys)), ("foreign", foreign)]),
        );
        put("clock", Tree::from([("any_source", Tree::Bool(self.any_clock_source))]));
        if !self.acme.is_empty() {
            let entries = self.acme.iter().map(|entry| entry.to_tree("directory"));
            put("acme", entries.collect());
        }
        if let Some(dns) = &self.dns {
            put("dns", dns.to_tree("resolver"));
        }
        table
    }

    fn keys(&self) -> Tree {
        let curves = self.curves.iter().map(|curve| Tree::Text(curve.to_string())).collect();
        match self.rsa {
            Some(range) => Tree::from([("rsa", range.to_tree()), ("curves", curves)]),
            None => Tree::from([("curves", curves)]),
        }
    }
}

/// Whose attestation documents are taken for the NSM's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NsmTrust {
    /// Those whose chain begins with the root of this SHA-256, over its DER.
    Root([u8; 32]),
    /// Documents that nobody signed, as an emulated machine makes them: a lab's. They prove nothing, and each verifier refuses them.
    Unsigned,
}

impl NsmTrust {
    fn to_tree(self) -> Tree {
        match self {
            Self::Root(root) => Tree::from([("root_sha256", Tree::Text(hex(&root)))]),
            Self::Unsigned => Tree::from([("unsigned", Tree::Bool(true))]),
        }
    }
}

/// What names of one pattern may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NameRule {
    pub(crate) pattern: Pattern,
    pub(crate) usages: BTreeSet<Usage>,
}

impl NameRule {
    fn to_tree(&self) -> Tree {
        let usages = self.usages.iter().map(|usage| Tree::Text(usage.to_string())).collect();
        Tree::from([("pattern", Tree::Text(self.pattern.to_string())), ("usages", usages)])
    }
}

/// The sizes of RSA keys in bits of the modulus, from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RsaRange {
    pub(crate) min: RsaBits,
    pub(crate) max: RsaBits,
}

impl RsaRange {
    fn intersect(self, other: Self) -> Option<Self> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        (min <= max).then_some(Self { min, max })
    }

    fn to_tree(self) -> Tree {
        let bits = |bits: RsaBits| Tree::Integer(i64::from(bits.get()));
        Tree::from([("min", bits(self.min)), ("max", bits(self.max))])
    }
}

/// Every pair of rules, with what both allow. (∪ a) ∩ (∪ b) is the union of the pairs' intersections, so nothing is won;
/// and nothing is lost, but where it would take more rules than a policy may have, which could not be read again: then
/// no name is left.
fn intersect_names(a: &[NameRule], b: &[NameRule]) -> Vec<NameRule> {
    let mut merged: BTreeMap<Pattern, BTreeSet<Usage>> = BTreeMap::new();
    for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
        let usages: BTreeSet<Usage> = a.usages.intersection(&b.usages).copied().collect();
        if !usages.is_empty() {
            for pattern in a.pattern.intersect(&b.pattern) {
                merged.entry(pattern).or_default().extend(&usages);
            }
        }
        if merged.len() > MAX_NAMES {
            return Vec::new();
        }
    }
    let rule = |(pattern, usages)| NameRule { pattern, usages };
    merged.into_iter().map(rule).collect()
}

fn list<T: std::fmt::Display>(values: &AnyOr<T>) -> Tree {
    match values {
        AnyOr::Any => [Tree::from(ANY)].into_iter().collect(),
        AnyOr::Only(values) => values.iter().map(|value| Tree::Text(value.to_string())).collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
