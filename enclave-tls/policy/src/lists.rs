//! The lists of a policy: bounded, each value once, and an error names the line of the value.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use toml::Spanned;

use crate::PolicyError;
use crate::any_or::{ANY, AnyOr};
use crate::root;

/// `["*"]`, or at most 64 values.
pub(crate) fn any_or<T>(text: &str, entries: &[Spanned<String>]) -> Result<AnyOr<T>, PolicyError>
where
    T: FromStr<Err: Display> + Ord + Clone,
{
    if let [entry] = entries
        && entry.get_ref() == ANY
    {
        return Ok(AnyOr::Any);
    }
    let read = |entry: &str| match entry {
        ANY => Err("a \"*\" stands alone".to_owned()),
        value => value.parse().map_err(|error: T::Err| error.to_string()),
    };
    distinct(text, entries, MAX_LIST, read).map(AnyOr::Only)
}

/// `["*"]`, or at most 16 certificates, as DER.
pub(crate) fn any_or_roots(text: &str, entries: &[Spanned<String>]) -> Result<AnyOr<Vec<u8>>, PolicyError> {
    if let [entry] = entries
        && entry.get_ref() == ANY
    {
        return Ok(AnyOr::Any);
    }
    roots(text, entries).map(AnyOr::Only)
}

/// At most 16 certificates, as DER.
pub(crate) fn roots(text: &str, entries: &[Spanned<String>]) -> Result<Vec<Vec<u8>>, PolicyError> {
    let read = |pem: &str| root::from_pem(pem).map_err(|error| error.to_string());
    distinct(text, entries, MAX_ROOTS, read)
}

fn distinct<T: Ord + Clone>(
    text: &str,
    entries: &[Spanned<String>],
    max: usize,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, PolicyError> {
    let refuse = |entry: &Spanned<String>, message: &str| PolicyError::at(text, entry.span().start, message);
    if let Some(entry) = entries.get(max) {
        return Err(refuse(entry, &format!("at most {max} of these")));
    }
    let mut seen = BTreeSet::new();
    let mut one = |entry: &Spanned<String>| {
        let value = read(entry.get_ref()).map_err(|message| refuse(entry, &message))?;
        if !seen.insert(value.clone()) {
            return Err(refuse(entry, "this stands here twice"));
        }
        Ok(value)
    };
    entries.iter().map(&mut one).collect()
}

/// Regions, or KMS keys of one purpose: AWS has fewer regions, and a key a year fills the list in a lifetime.
const MAX_LIST: usize = 64;
/// Amazon has five. Whoever connects to AWS may have to look at each.
const MAX_ROOTS: usize = 16;
