//! `[clients.NAME]`: who may ask for signatures.

use std::collections::BTreeMap;
use std::time::Duration;

use enclave_wire::Name;
use serde::Deserialize;
use toml::Spanned;

use crate::form::{Table, Word};
use crate::reading::{Reading, Refused};

/// A web server's user, as the enclave knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// `group`: who may read its credential.
    pub group: Group,
    /// `rotate_days`: how often its credential is made anew, in whole days; none: only by hand (`0`).
    pub rotate: Option<Duration>,
}

/// A group of the system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// By its name: 1 to 32 of `A-Z a-z 0-9 _ - .`, beginning with a letter or `_`.
    Name(String),
    /// By its number.
    Id(u32),
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

impl std::str::FromStr for Group {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number: Option<u32> = text
            .parse()
            .ok()
            .filter(|id: &u32| id.to_string() == text && *id != u32::MAX);
        if let Some(id) = number {
            return Ok(Self::Id(id));
        }
        let begins = text
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        let allowed = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if begins && allowed && text.len() <= MAX_GROUP {
            return Ok(Self::Name(text.to_owned()));
        }
        Err("write the name of a group of /etc/group, or its number".to_owned())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Form {
    group: Option<Word>,
    rotate_days: Option<Spanned<i64>>,
}

pub(crate) type Forms = BTreeMap<Word, Table<Form>>;

pub(crate) fn read(forms: Forms, reading: &mut Reading) -> Result<BTreeMap<Name, Client>, Refused> {
    let mut clients = BTreeMap::new();
    let mut outcome = Ok(());
    if let Some((one_more, _)) = forms.iter().nth(MAX_CLIENTS) {
        outcome = Err(reading.wrong(one_more.span(), TOO_MANY));
    }
    for (name, Table(form)) in forms {
        match one(name, form, reading) {
            Ok((name, client)) => {
                clients.insert(name, client);
            }
            Err(refused) => outcome = Err(refused),
        }
    }
    outcome.map(|()| clients)
}

fn one(name: Word, form: Form, reading: &mut Reading) -> Result<(Name, Client), Refused> {
    let at = name.span();
    let called = name.get_ref().clone();
    let name = reading.word(name, "a client's name", crate::form::name);
    let group = match form.group {
        Some(group) => reading.word(group, "group", str::parse),
        None => Err(reading.wrong(
            at,
            format!(
                "[clients.{}] has no group: add group = \"…\", the group that its server runs as",
                called.escape_debug()
            ),
        )),
    };
    let days = reading.number_or(
        form.rotate_days,
        "rotate_days",
        DEFAULT_ROTATION,
        0..=MAX_ROTATION,
        ROTATION,
    );
    let client = Client {
        group: group?,
        rotate: Some(days?)
            .filter(|days| *days != 0)
            .map(|days| Duration::from_hours(u64::from(days).saturating_mul(24))),
    };
    Ok((name?, client))
}

const ROTATION: &str = "write 1 to 3650 days, or 0 for only by hand";
const TOO_MANY: &str = "an enclave knows at most 1024 clients: remove some";

/// As many as the service knows.
pub const MAX_CLIENTS: usize = 1_024;
/// What `groupadd` makes at most.
const MAX_GROUP: usize = 32;
/// Days. A credential that was copied is worth no more than this.
const DEFAULT_ROTATION: u32 = 30;
/// Days: ten years, beyond which it is only by hand.
const MAX_ROTATION: u32 = 3_650;
