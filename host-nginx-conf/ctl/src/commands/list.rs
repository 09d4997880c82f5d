//! `list`: the keys of the service, and those that a restart lost.

use enclave_wire::control::{Freshness, KeyInfo, Origin};
use serde::Serialize;

use super::status::{self, WaitingJson};
use super::{CommandError, Session};
use crate::show::{self, KeyJson, MissingJson};
use crate::{table, time};
use enclave_tls_admin::protocol::{Entry, Records};

pub(super) fn list(session: &Session) -> Result<(), CommandError> {
    #[derive(Serialize)]
    struct ListJson {
        keys: Vec<KeyJson>,
        /// Gone since the service restarted: neither sealed nor kept.
        lost: Vec<MissingJson>,
        /// Kept in the replay directory, and refused by the service when it restarted.
        not_replayed: Vec<MissingJson>,
        /// In the replay directory, and not opened by AWS yet.
        waiting: Vec<WaitingJson>,
    }
    let keys = session.keys()?;
    let records = session.client.records()?;
    let missing = Missing::among(&records, &keys);
    let is_kept = |key: &KeyInfo| records.entries.iter().any(|entry| entry.kept && entry.id == key.id);
    let waiting = session.client.parent()?.waiting;
    let json = ListJson {
        keys: keys
            .iter()
            .map(|key| KeyJson {
                kept: Some(key.sealed.is_some() || is_kept(key)),
                ..KeyJson::from(key)
            })
            .collect(),
        lost: missing.lost.iter().map(|entry| MissingJson::from(*entry)).collect(),
        not_replayed: missing
            .not_replayed
            .iter()
            .map(|entry| MissingJson::from(*entry))
            .collect(),
        waiting: waiting.iter().map(WaitingJson::from).collect(),
    };
    let text = || keys_text(&keys, is_kept) + &missing.text() + &status::waiting_text(&json.waiting);
    session.show(text, &json)
}

/// What the replay directory names and the service does not hold.
struct Missing<'a> {
    lost: Vec<&'a Entry>,
    not_replayed: Vec<&'a Entry>,
}

impl<'a> Missing<'a> {
    fn among(records: &'a Records, keys: &[KeyInfo]) -> Self {
        let missing = records
            .entries
            .iter()
            .filter(|entry| keys.iter().all(|key| key.id != entry.id));
        let (not_replayed, lost) = missing.partition(|entry| entry.kept);
        Self { lost, not_replayed }
    }

    fn text(&self) -> String {
        let lost = "Lost when the service restarted; create them anew, or `retire` them to forget them:";
        let not_replayed = "Kept, but refused when the service restarted; the agent's log has the reason:";
        section(lost, &self.lost) + &section(not_replayed, &self.not_replayed)
    }
}

fn section(title: &str, entries: &[&Entry]) -> String {
    if entries.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|e| {
            [
                e.name.to_string(),
                e.generation.to_string(),
                show::usage(e.usage),
                e.origin.to_string(),
                e.id.to_string(),
            ]
        })
        .collect();
    format!(
        "\n{title}\n{}",
        table::render(["NAME", "GEN", "USAGE", "ORIGIN", "ID"], &rows)
    )
}

fn keys_text(keys: &[KeyInfo], is_kept: impl Fn(&KeyInfo) -> bool) -> String {
    if keys.is_empty() {
        return "The service holds no keys.\n".to_owned();
    }
    let rows: Vec<_> = keys.iter().map(|key| row(key, is_kept(key))).collect();
    let mut text = table::render(HEAD, &rows);
    if keys
        .iter()
        .any(|key| key.origin == Origin::Born && key.sealed.is_none())
    {
        text.push_str(
            "\nBorn keys that are not sealed are in the running service alone: when it restarts they are gone.\n",
        );
    }
    if keys.iter().any(status::is_unproven) {
        text.push_str("\nFreshness unproven: restored from a state that this machine chose; a newer one may exist.\n");
    }
    text
}

fn row(key: &KeyInfo, kept: bool) -> [String; 10] {
    let clients: Vec<_> = key.clients.items().iter().map(|client| client.as_str()).collect();
    [
        key.name.to_string(),
        key.generation.to_string(),
        key.key_type.to_string(),
        show::usage(key.usage),
        key.state.to_string(),
        key.origin.to_string(),
        at_restart(key, kept),
        clients.join(","),
        key.validity
            .map_or("no chain".to_owned(), |validity| time::utc(validity.not_after)),
        key.id.to_string(),
    ]
}

/// What a restart of the service makes of it.
fn at_restart(key: &KeyInfo, kept: bool) -> String {
    match &key.sealed {
        Some(sealed) if sealed.freshness == Freshness::Unproven => format!("sealed ({}), unproven", sealed.group),
        Some(sealed) => format!("sealed ({})", sealed.group),
        None if kept => "kept".to_owned(),
        None => "lost".to_owned(),
    }
}

const HEAD: [&str; 10] = [
    "NAME",
    "GEN",
    "TYPE",
    "USAGE",
    "STATE",
    "ORIGIN",
    "AT RESTART",
    "CLIENTS",
    "NOT AFTER",
    "ID",
];
