//! What this service may ever do: names, usages, types of keys, imports. The image carries one policy; the parent may narrow it.

mod file;
mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use enclave_wire::control::ControlError;
use enclave_wire::identity::RsaBits;
use enclave_wire::{KeyType, Name, Usage};

pub use pattern::{InvalidPattern, Pattern};

/// A policy. Its decisions are final for a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    imports: bool,
    names: Vec<NameRule>,
    rsa: Option<RsaRange>,
    curves: BTreeSet<KeyType>,
}

impl Policy {
    /// Reads a policy's TOML. A key that is not known is refused: it might have been a restriction.
    pub fn parse(toml: &[u8]) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(toml).map_err(|_| PolicyError::NotUtf8)?;
        let file: file::File = toml::from_str(text).map_err(|error| PolicyError::Form {
            line: error.span().map(|span| line_of(text, span.start)),
            message: error.message().to_owned(),
        })?;
        let policy = Self::from(file);
        if policy.names.len() > MAX_RULES {
            return Err(PolicyError::TooManyNames);
        }
        Ok(policy)
    }

    /// What both policies allow, and nothing else.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        Self {
            imports: self.imports && other.imports,
            names: intersect_names(&self.names, &other.names),
            rsa: self.rsa.zip(other.rsa).and_then(|(a, b)| a.intersect(b)),
            curves: self.curves.intersection(&other.curves).copied().collect(),
        }
    }

    /// Whether a key of this name may have this usage. Every pattern that matches the name adds its usages.
    pub fn allows(&self, name: &Name, usage: Usage) -> Result<(), ControlError> {
        let mut matching = self.names.iter().filter(|rule| rule.pattern.matches(name)).peekable();
        if matching.peek().is_none() {
            return Err(ControlError::NameRefused);
        }
        if matching.any(|rule| rule.usages.contains(&usage)) {
            Ok(())
        } else {
            Err(ControlError::UsageRefused)
        }
    }

    /// Whether keys of this type and size may be here.
    pub fn allows_key(&self, key_type: KeyType) -> Result<(), ControlError> {
        let allowed = match key_type {
            KeyType::Rsa(bits) => self.rsa.is_some_and(|range| (range.min..=range.max).contains(&bits)),
            KeyType::P256 | KeyType::P384 | KeyType::P521 | KeyType::Ed25519 => self.curves.contains(&key_type),
        };
        if allowed {
            Ok(())
        } else {
            Err(ControlError::KeyTypeRefused)
        }
    }

    /// Whether a private key may come from outside.
    pub fn allows_imports(&self) -> Result<(), ControlError> {
        if self.imports {
            Ok(())
        } else {
            Err(ControlError::ImportsRefused)
        }
    }
}

/// What names of one pattern may be used for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct NameRule {
    pattern: Pattern,
    usages: BTreeSet<Usage>,
}

/// The sizes of RSA keys, from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RsaRange {
    min: RsaBits,
    max: RsaBits,
}

impl RsaRange {
    fn intersect(self, other: Self) -> Option<Self> {
        let (min, max) = (self.min.max(other.min), self.max.min(other.max));
        (min <= max).then_some(Self { min, max })
    }
}

/// Why a policy was not taken. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// Not TOML, or not a policy.
    Form {
        /// The line, from 1.
        line: Option<usize>,
        /// What is wrong there.
        message: String,
    },
    /// Not text.
    NotUtf8,
    /// More `[[names]]` than a policy may have.
    TooManyNames,
}

impl std::fmt::Display for PolicyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Form {
                line: Some(line),
                message,
            } => write!(f, "line {line}: {message}"),
            Self::Form { line: None, message } => f.write_str(message),
            Self::NotUtf8 => f.write_str("a policy is UTF-8 text"),
            Self::TooManyNames => write!(f, "a policy has at most {MAX_RULES} [[names]]"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// Every pair of rules, with what both allow. (∪ a) ∩ (∪ b) is the union of the pairs' intersections, so nothing is lost or won.
fn intersect_names(a: &[NameRule], b: &[NameRule]) -> Vec<NameRule> {
    let mut merged: BTreeMap<Pattern, BTreeSet<Usage>> = BTreeMap::new();
    for (a, b) in a.iter().flat_map(|a| b.iter().map(move |b| (a, b))) {
        let usages: BTreeSet<Usage> = a.usages.intersection(&b.usages).copied().collect();
        if !usages.is_empty() {
            for pattern in a.pattern.intersect(&b.pattern) {
                merged.entry(pattern).or_default().extend(&usages);
            }
        }
    }
    merged
        .into_iter()
        .map(|(pattern, usages)| NameRule { pattern, usages })
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count().saturating_add(1)
}

/// Two policies intersect pair by pair: this many rules each are at most 65,536 pairs.
const MAX_RULES: usize = 256;

#[cfg(test)]
mod tests;
