//! The forms of a policy's TOML. Only strings, booleans, integers, arrays and tables, so that the same tree has one JSON (RFC 8785).

use std::collections::BTreeSet;

use enclave_wire::identity::RsaBits;
use enclave_wire::{KeyType, Usage};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::PolicyError;
use crate::endpoint::{Address, Endpoint, InvalidAddress};
use crate::lists;
use crate::pattern::Pattern;
use crate::rules::{NameRule, NsmTrust, RsaRange, Rules};

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
    attestation: Option<Attestation>,
    #[serde(default)]
    aws: Aws,
    #[serde(default)]
    sealing: Sealing,
    #[serde(default)]
    bundles: Bundles,
    #[serde(default)]
    clock: Clock,
    #[serde(default)]
    acme: Vec<Acme>,
    dns: Option<Dns>,
}

impl File {
    /// What the file says. `text` is what it was read from: lists are read here, where an error can name an element's line.
    pub(super) fn into_rules(self, text: &str) -> Result<Rules, PolicyError> {
        Ok(Rules {
            imports: self.imports,
            names: self.names.into_iter().map(NameRule::from).collect(),
            rsa: self.keys.rsa.map(|range| RsaRange {
                min: range.min,
                max: range.max,
            }),
            curves: self.keys.curves.into_iter().map(|curve| curve.0).collect(),
            attestation: self.attestation.map(|attestation| attestation.0),
            aws_regions: lists::any_or(text, &self.aws.regions)?,
            aws_roots: lists::roots(text, &self.aws.roots)?,
            sealing_keys: lists::any_or(text, &self.sealing.keys)?,
            bundle_keys: lists::any_or(text, &self.bundles.keys)?,
            foreign_bundles: self.bundles.foreign,
            any_clock_source: self.clock.any_source,
            acme: self
                .acme
                .iter()
                .map(|entry| endpoint(text, &entry.directory, &entry.roots))
                .collect::<Result<_, _>>()?,
            dns: self.dns.map(|dns| resolver(text, &dns)).transpose()?,
        })
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

#[derive(Deserialize)]
#[serde(try_from = "AttestationForm")]
struct Attestation(NsmTrust);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AttestationForm {
    root_sha256: Option<Sha256>,
    unsigned: Option<bool>,
}

impl TryFrom<AttestationForm> for Attestation {
    type Error = &'static str;

    fn try_from(form: AttestationForm) -> Result<Self, &'static str> {
        match (form.root_sha256, form.unsigned) {
            (Some(root), None) => Ok(Self(NsmTrust::Root(root.0))),
            (None, Some(true)) => Ok(Self(NsmTrust::Unsigned)),
            _ => Err("[attestation] has root_sha256, or unsigned = true in a lab, and never both"),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Sha256([u8; 32]);

impl TryFrom<String> for Sha256 {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        let byte = |pair: &[u8]| {
            let digits = std::str::from_utf8(pair)
                .ok()
                .filter(|_| pair.iter().all(|b| is_digit(*b)))?;
            u8::from_str_radix(digits, 16).ok()
        };
        let hash = (text.len() == 64).then(|| text.as_bytes().chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>());
        let hash = hash.flatten().and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or("a SHA-256 is 64 hexadecimal digits, lower-case")
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Aws {
    #[serde(default)]
    regions: Vec<Spanned<String>>,
    #[serde(default)]
    roots: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Sealing {
    keys: Vec<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Bundles {
    keys: Vec<Spanned<String>>,
    #[serde(default)]
    foreign: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Clock {
    any_source: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Acme {
    directory: Spanned<String>,
    roots: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dns {
    resolver: Spanned<String>,
    roots: Vec<Spanned<String>>,
}

fn endpoint(text: &str, address: &Spanned<String>, roots: &[Spanned<String>]) -> Result<Endpoint, PolicyError> {
    let read = address.get_ref().parse();
    let read = read.map_err(|error: InvalidAddress| PolicyError::at(text, address.span().start, &error.to_string()))?;
    Ok(Endpoint::new(read, lists::any_or_roots(text, roots)?))
}

/// One, or left open: a name is not to be asked for at whichever resolver of many.
fn resolver(text: &str, dns: &Dns) -> Result<Endpoint, PolicyError> {
    let read = endpoint(text, &dns.resolver, &dns.roots)?;
    if read.address != Address::Any && read.address.single().is_none() {
        let message = "a resolver is one address, or * for one that is left open";
        return Err(PolicyError::at(text, dns.resolver.span().start, message));
    }
    Ok(read)
}

/// The only version there is: a file of a later one must not be taken for less than it says.
struct Version;

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            1 => Ok(Self),
            _ => Err(D::Error::custom("this service reads version 1 of the policy")),
        }
    }
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    Pattern::try_from(text.as_str()).map_err(D::Error::custom)
}

fn usages<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<Usage>, D::Error> {
    let read = |text: String| {
        let usage = text.parse::<Usage>();
        usage.map_err(|_| D::Error::custom("a usage is tls, tls-client, digest or acme-account"))
    };
    Vec::<String>::deserialize(deserializer)?
        .into_iter()
        .map(read)
        .collect()
}
