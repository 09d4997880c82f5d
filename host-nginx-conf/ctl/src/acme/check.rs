//! `acme caa --check`: whether the records that stand in DNS pin each name of a certificate to the account that orders it, as the enclave
//! sees them over HTTPS that ends in it.

use std::collections::{BTreeMap, HashMap};
use std::thread;

use enclave_wire::control::CaaFinding;
use enclave_wire::{DnsName, KeyId};
use serde::Serialize;

use super::agents::{self, Ordered};
use super::lookup::{Line, Looked, Unlooked, Which};
use super::standing::{Asked, Standing, Verdict};
use crate::colour::{Painter, Tone};
use crate::commands::{CommandError, Outcome, Session};
use crate::show::plain;

pub(super) fn run(session: &Session, only: Option<&str>) -> Result<Outcome, CommandError> {
    let ordered = agents::certificates(session, only)?;
    let line = Line {
        ask: &|request| session.client.ask(request).map(|(reply, _)| reply),
        pause: &thread::sleep,
    };
    let mut looked = HashMap::new();
    for (key, (directory, names)) in by_account(&ordered) {
        let which = Which { key, directory };
        looked.insert(key, line.look(&which, &names)?);
    }
    let checked = Checked::of(&ordered, &looked);
    session.show(|| checked.text(Painter::of_stdout()), &checked)?;
    Ok(if checked.pinned == checked.names.len() {
        Outcome::Done
    } else {
        Outcome::NeedsAttention
    })
}

/// The directory of each account, and the names that it orders, each once.
fn by_account(ordered: &[Ordered]) -> BTreeMap<KeyId, (&str, Vec<DnsName>)> {
    let mut accounts: BTreeMap<KeyId, (&str, Vec<DnsName>)> = BTreeMap::new();
    for certificate in ordered {
        let empty = || (certificate.directory.as_str(), Vec::new());
        let (_, names) = accounts.entry(certificate.key).or_insert_with(empty);
        for name in &certificate.names {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    accounts
}

/// How each name stands.
#[derive(Serialize)]
struct Checked {
    /// How many are pinned.
    pinned: usize,
    names: Vec<Standing>,
}

impl Checked {
    fn of(ordered: &[Ordered], looked: &HashMap<KeyId, Looked>) -> Self {
        let mut names = Vec::new();
        for certificate in ordered {
            let found = looked.get(&certificate.key);
            names.extend(certificate.names.iter().map(|name| standing(certificate, name, found)));
        }
        let is_pinned = |standing: &&Standing| standing.verdict == Verdict::Pinned;
        Self {
            pinned: names.iter().filter(is_pinned).count(),
            names,
        }
    }

    fn text(&self, painter: Painter) -> String {
        let mut text: String = self.names.iter().map(|name| one_text(name, painter)).collect();
        let (pinned, all) = (self.pinned, self.names.len());
        let tone = if pinned == all { Tone::Good } else { Tone::Bad };
        let sum = format!("{pinned} of {all} names are pinned to the account that orders them.");
        text.push_str(&format!("\n{}\n", painter.paint(tone, &sum)));
        text
    }
}

fn standing(certificate: &Ordered, name: &DnsName, looked: Option<&Looked>) -> Standing {
    let asked = Asked {
        name: name.as_str(),
        certificate: &certificate.certificate,
        account: certificate.account.as_str(),
        method: certificate.methods.first().map(|method| method.as_str()),
    };
    let of = |found: &[CaaFinding]| {
        let finding = found.iter().find(|finding| finding.name == *name)?;
        Some(Standing::of(&asked, finding))
    };
    let found = match looked {
        Some(Err(why)) => return Standing::unknown(&asked, why),
        Some(Ok(found)) => of(found),
        None => None,
    };
    found.unwrap_or_else(|| Standing::unknown(&asked, &Unlooked::silent()))
}

fn one_text(standing: &Standing, painter: Painter) -> String {
    let (tone, verdict) = match standing.verdict {
        Verdict::Pinned => (Tone::Good, "pinned"),
        Verdict::NotPinned | Verdict::Open => (Tone::Bad, "not pinned"),
        Verdict::Refused => (Tone::Bad, "not allowed"),
        Verdict::Unknown => (Tone::Doubtful, "not known"),
    };
    let mut text = format!(
        "{} ({}): {}\n",
        standing.name,
        plain(&standing.certificate),
        painter.paint(tone, verdict)
    );
    for record in standing.lines() {
        text.push_str(&format!("  {}\n", plain(&record)));
    }
    text.push_str(&format!("  {}\n", plain(&standing.says)));
    if let Some(todo) = &standing.todo {
        text.push_str(&format!("  → {}\n", plain(todo)));
    }
    text
}

#[cfg(test)]
mod tests {
    use enclave_wire::control::CaaVerdict;
    use enclave_wire::log::Text;

    use super::super::record::Method;
    use super::*;

    const URL: &str = "https://ca.example/1";

    fn ordered(certificate: &str, names: &[&str], account: u8) -> Ordered {
        Ordered {
            certificate: certificate.to_owned(),
            names: names.iter().map(|name| name.parse().unwrap()).collect(),
            account: URL.parse().unwrap(),
            key: KeyId([account; 32]),
            directory: "https://ca.example/dir".to_owned(),
            methods: vec![Method::Http01],
        }
    }

    fn finding(name: &str, verdict: CaaVerdict, records: &str) -> CaaFinding {
        CaaFinding {
            name: name.parse().unwrap(),
            verdict,
            records: Text::lossy(records),
        }
    }

    #[test]
    fn an_account_is_asked_once_for_each_of_its_names() {
        let ordered = [
            ordered("one", &["a.example", "b.example"], 1),
            ordered("two", &["b.example", "c.example"], 1),
            ordered("three", &["a.example"], 2),
        ];
        let accounts = by_account(&ordered);
        let counts: Vec<_> = accounts.values().map(|(_, names)| names.len()).collect();
        assert_eq!(counts, [3, 1]);
    }

    #[test]
    fn each_name_of_each_certificate_is_told_and_those_that_are_pinned_are_counted() {
        let ordered = [
            ordered("one", &["a.example", "b.example"], 1),
            ordered("two", &["a.example"], 2),
        ];
        let records = format!("a.example: 0 issue \"ca.example; accounturi={URL}; validationmethods=http-01\"");
        let found = vec![
            finding("a.example", CaaVerdict::Pinned, &records),
            finding("b.example", CaaVerdict::Open, "no records, here or above"),
        ];
        let looked = HashMap::from([(KeyId([1; 32]), Ok(found)), (KeyId([2; 32]), Err(Unlooked::silent()))]);
        let checked = Checked::of(&ordered, &looked);
        assert_eq!(checked.pinned, 1);
        let text = checked.text(Painter::never());
        assert!(
            text.starts_with(&format!(
                "a.example (one): pinned\n  a.example. IN CAA 0 issue \"ca.example; accounturi={URL}; validationmethods=http-01\"\n  its own \
                 records pin it to the account, and to http-01. "
            )),
            "{text}"
        );
        assert!(text.contains("\nb.example (one): not pinned\n  there are no CAA records at it or above it: "));
        assert!(
            text.contains("\na.example (two): not known\n  the enclave does not speak of it\n  → "),
            "{text}"
        );
        assert!(text.ends_with("\n1 of 3 names are pinned to the account that orders them.\n"));
        let json = serde_json::to_value(&checked).unwrap();
        let verdicts: Vec<_> = json["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["verdict"])
            .collect();
        assert_eq!(verdicts, ["pinned", "open", "unknown"]);
        assert_eq!(json["names"][0]["records"][0]["tag"], "issue");
    }
}
