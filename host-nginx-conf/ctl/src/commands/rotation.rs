//! `rotate`, `rollback`, `revoke`, `history`: what the agent does with generations when somebody asks.

use enclave_tls_admin::client::ClientError;
use enclave_tls_admin::frames::ReadError;
use enclave_tls_admin::report::{Ask, Change, Happening, Revoke, Rollback, Rotate, Told};
use serde::Serialize;

use super::{CommandError, Outcome, Session};
use crate::show::plain;
use crate::{args, table, time};

pub(super) fn rotate(session: &Session, options: &args::Rotate) -> Result<Outcome, CommandError> {
    let ask = Ask::Rotate(Rotate {
        certificate: options.name.as_ref().map(ToString::to_string),
        now: options.now,
        revoke: options
            .reason
            .filter(|_| options.revoke)
            .map(|reason| reason.as_str().to_owned()),
        dry_run: options.dry_run,
    });
    changes(session, ask)
}

pub(super) fn rollback(session: &Session, options: &args::Rollback) -> Result<Outcome, CommandError> {
    let ask = Ask::Rollback(Rollback {
        certificate: options.name.to_string(),
        to: options.to,
        dry_run: options.dry_run,
    });
    changes(session, ask)
}

pub(super) fn revoke(session: &Session, options: &args::Revoke) -> Result<Outcome, CommandError> {
    let ask = Ask::Revoke(Revoke {
        what: options.what.clone(),
        reason: options.reason.as_str().to_owned(),
        dry_run: options.dry_run,
    });
    changes(session, ask)
}

pub(super) fn history(session: &Session, options: &args::History) -> Result<Outcome, CommandError> {
    #[derive(Serialize)]
    struct HistoryJson {
        history: Vec<Happening>,
    }
    let ask = Ask::History {
        certificate: options.name.to_string(),
    };
    let history = match session.client.agent(ask)? {
        Told::History(history) => history,
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Report(_) | Told::Logs { .. } | Told::Changes(_) | Told::Done => {
            return Err(ClientError::Unexpected.into());
        }
    };
    // One that was created just now has no history, and is a certificate.
    if history.is_empty() && !session.knows(options.name.as_str())? {
        return Err(CommandError::NoCertificate(options.name.to_string()));
    }
    let json = HistoryJson { history };
    session.show(|| history_text(options.name.as_str(), &json.history), &json)?;
    Ok(Outcome::Done)
}

fn changes(session: &Session, ask: Ask) -> Result<Outcome, CommandError> {
    #[derive(Serialize)]
    struct ChangesJson {
        certificates: Vec<Change>,
    }
    let told = session.client.agent(ask).map_err(|error| match error {
        ClientError::Socket(error) => CommandError::Agent(unanswered(&error)),
        other => other.into(),
    })?;
    let certificates = match told {
        Told::Changes(changes) => changes,
        Told::Failed(why) => return Err(CommandError::Agent(why)),
        Told::Report(_) | Told::Logs { .. } | Told::History(_) | Told::Done => {
            return Err(ClientError::Unexpected.into());
        }
    };
    let json = ChangesJson { certificates };
    session.show(|| changes_text(&json.certificates), &json)?;
    let has_failed = json.certificates.iter().any(|change| change.outcome == "failed");
    Ok(if has_failed {
        Outcome::NeedsAttention
    } else {
        Outcome::Done
    })
}

/// An agent that ended before it wrote down what it was asked for knows nothing of it.
fn unanswered(error: &ReadError) -> String {
    format!(
        "the agent did not answer: {error}; nobody knows whether it noted what you asked for: see that it runs (`systemctl status \
         enclave-tls-agent`), then give the command again"
    )
}

fn changes_text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "There are no certificates.\n".to_owned();
    }
    changes.iter().map(change_text).collect()
}

fn change_text(change: &Change) -> String {
    let generation = change
        .generation
        .map_or_else(String::new, |number| format!(" generation {number}"));
    let key = change
        .key
        .as_deref()
        .map_or_else(String::new, |key| format!(" ({key})"));
    let due = change.due.filter(|_| change.outcome != "due");
    let due = due.map_or_else(String::new, |due| format!(", ordered not before {}", time::utc(due)));
    let outcome = match change.outcome.as_str() {
        "made" => "a new key is made".to_owned(),
        "fetched" => "its bundle was read".to_owned(),
        "unchanged" => "nothing has changed".to_owned(),
        "waits" => "a new key waits for its certificate".to_owned(),
        "due" => change
            .due
            .map_or("due".to_owned(), |due| format!("due at {}", time::utc(due))),
        "failed" => "failed".to_owned(),
        "rolled-back" => "servers go back".to_owned(),
        "would-roll-back" => "servers would go back".to_owned(),
        "would-make" => "would make a key".to_owned(),
        "would-fetch" => "would read its bundle".to_owned(),
        "revoke" => "the CA is asked to revoke it".to_owned(),
        "would-revoke" => "the CA would be asked to revoke it".to_owned(),
        "ask-ca" | "would-ask-ca" => "ask the CA".to_owned(),
        other => plain(other),
    };
    format!(
        "{}{generation}: {outcome}{key}{due}\n  {}\n",
        plain(&change.certificate),
        plain(&change.says)
    )
}

fn history_text(name: &str, history: &[Happening]) -> String {
    if history.is_empty() {
        return format!("Nothing has happened to {name} yet.\n");
    }
    let none = || "-".to_owned();
    let rows: Vec<_> = history
        .iter()
        .map(|one| {
            let by = one.by.map_or("the agent".to_owned(), |uid| format!("user {uid}"));
            [
                time::utc(one.at),
                plain(&one.what),
                one.generation.map_or_else(none, |number| number.to_string()),
                one.key
                    .as_deref()
                    .map_or_else(none, |key| key.chars().take(SHORT_ID).collect()),
                one.serial.as_deref().map_or_else(none, plain),
                one.not_after.map_or_else(none, time::utc),
                one.origin.as_deref().map_or_else(none, plain),
                by,
                one.says.as_deref().map_or_else(String::new, plain),
            ]
        })
        .collect();
    table::render(
        [
            "WHEN",
            "WHAT",
            "GENERATION",
            "KEY",
            "SERIAL",
            "ENDS",
            "ORIGIN",
            "BY",
            "WHY",
        ],
        &rows,
    )
}

/// As long as a beginning of an id is taken for one.
const SHORT_ID: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_next_stands_below_each_certificate() {
        let change = Change {
            certificate: "www".to_owned(),
            outcome: "made".to_owned(),
            generation: Some(2),
            key: Some("ab".repeat(32)),
            says: "have your CA sign its request".to_owned(),
            ..Change::default()
        };
        let due = Change {
            certificate: "shop".to_owned(),
            outcome: "due".to_owned(),
            due: Some(30),
            says: "it waits for its turn".to_owned(),
            ..Change::default()
        };
        let told = Change {
            certificate: "api".to_owned(),
            outcome: "waits".to_owned(),
            due: Some(60),
            says: "the CA asked to come again then".to_owned(),
            ..Change::default()
        };
        let text = changes_text(&[change, due, told]);
        let expected = format!(
            "www generation 2: a new key is made ({})\n  have your CA sign its request\nshop: due at 1970-01-01T00:00:30Z\n  it waits for its \
             turn\napi: a new key waits for its certificate, ordered not before 1970-01-01T00:01:00Z\n  the CA asked to come again then\n",
            "ab".repeat(32)
        );
        assert_eq!(text, expected);
        assert_eq!(changes_text(&[]), "There are no certificates.\n");
    }

    #[test]
    fn a_history_says_who_wanted_it_and_why() {
        let one = Happening {
            at: 0,
            certificate: "www".to_owned(),
            what: "retired".to_owned(),
            generation: Some(1),
            key: Some("cd".repeat(32)),
            serial: Some("0a1b".to_owned()),
            not_after: Some(86_400),
            origin: Some("born".to_owned()),
            by: None,
            says: Some("key-compromise".to_owned()),
        };
        let asked = Happening {
            what: "rotation-asked".to_owned(),
            by: Some(1_000),
            ..Happening::default()
        };
        let text = history_text("www", &[asked, one]);
        let lines: Vec<_> = text.lines().collect();
        assert!(
            lines[1].starts_with("1970-01-01T00:00:00Z  rotation-asked") && lines[1].ends_with("user 1000"),
            "{text}"
        );
        assert!(
            lines[2].contains("cdcdcdcd  0a1b    1970-01-02T00:00:00Z  born    the agent  key-compromise"),
            "{text}"
        );
        assert_eq!(history_text("www", &[]), "Nothing has happened to www yet.\n");
    }
}
