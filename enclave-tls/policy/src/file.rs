//! The forms of a policy's TOML. Only strings, booleans, integers, arrays and tables, so that the same tree has one JSON (RFC 8785).

use std::collections::BTreeSet;

use enclave_wire::identity::RsaBits;
use enclave_wire::{KeyType, Usage};
use serde::Deserialize;
use serde::de::Error as _;

use super::pattern::Pattern;
use super::{NameRule, Policy, RsaRange};

/// A policy file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(rename = "version")]
    _version: Version,
    imports: bool,
    #[serde(default)]
    names: Vec<Names>,
    keys: Keys,
}

impl From<File> for Policy {
    fn from(file: File) -> Self {
        Self {
            imports: file.imports,
            names: file.names.into_iter().map(NameRule::from).collect(),
            rsa: file.keys.rsa.map(|range| RsaRange {
                min: range.min,
                max: range.max,
            }),
            curves: file.keys.curves.into_iter().map(|curve| curve.0).collect(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Names {
    #[serde(deserialize_with = "pattern")]
    pattern: Pattern,
    #[serde(deserialize_with = "usages")]
    usages: BTreeSet<Usage>,
}

impl From<Names> for NameRule {
    fn from(names: Names) -> Self {
        Self {
            pattern: names.pattern,
            usages: names.usages,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    rsa: Option<Range>,
    #[serde(default)]
    curves: Vec<Curve>,
}

/// Bits of the modulus, from and to.
#[derive(Deserialize)]
#[serde(try_from = "RangeForm")]
struct Range {
    min: RsaBits,
    max: RsaBits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeForm {
    min: u16,
    max: u16,
}

impl TryFrom<RangeForm> for Range {
    type Error = &'static str;

    fn try_from(form: RangeForm) -> Result<Self, &'static str> {
        match (RsaBits::try_from(form.min), RsaBits::try_from(form.max)) {
            (Ok(min), Ok(max)) if min <= max => Ok(Self { min, max }),
            _ => Err("min and max are multiples of 8 between 2048 and 8192, min not above max"),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Curve(KeyType);

impl TryFrom<String> for Curve {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        [KeyType::P256, KeyType::P384, KeyType::P521, KeyType::Ed25519]
            .into_iter()
            .find(|curve| curve.to_string() == text)
            .map(Self)
            .ok_or("a curve is P-256, P-384, P-521 or Ed25519")
    }
}

/// The only version there is: a file of a later one must not be taken for less than it says.
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(D::Error::custom("this service reads version 1 of the policy")),
        }
    }
}

fn pattern<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    Pattern::try_from(text.as_str()).map_err(D::Error::custom)
}

fn usages<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Usage>, D::Error> {
    let read = |text: String| {
        let usage = text.parse::<Usage>();
        usage.map_err(|_| D::Error::custom("a usage is tls, tls-client or digest"))
    };
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(read)
        .collect()
}
