//! What `--json` prints, and the writing of standard output.

use std::io::{self, Write};

use enclave_wire::Usage;
use enclave_wire::control::{Freshness, KeyInfo};
use serde::Serialize;

use enclave_tls_admin::hex;
use enclave_tls_admin::protocol::Entry;

use crate::time;

/// A key.
#[derive(Serialize)]
pub(crate) struct KeyJson {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) generation: u32,
    #[serde(rename = "type")]
    pub(crate) key_type: String,
    pub(crate) usage: String,
    /// A `digest` key signs whatever a client sends: weaker than the others, and said so wherever it shows.
    pub(crate) weaker: bool,
    pub(crate) state: String,
    pub(crate) origin: String,
    pub(crate) dns_names: Vec<String>,
    pub(crate) clients: Vec<String>,
    /// RFC 3339, once a chain is installed.
    pub(crate) not_before: Option<String>,
    pub(crate) not_after: Option<String>,
    /// DER, in hexadecimal.
    pub(crate) spki: String,
    /// How its state is sealed, if it is.
    pub(crate) sealed: Option<SealedJson>,
    /// Whether it comes back after a restart of the service. Absent where that was not looked up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<bool>,
}

impl From<&KeyInfo> for KeyJson {
    fn from(key: &KeyInfo) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.to_string(),
            generation: key.generation,
            key_type: key.key_type.to_string(),
            usage: key.usage.to_string(),
            weaker: key.usage == Usage::Digest,
            state: key.state.to_string(),
            origin: key.origin.to_string(),
            dns_names: key.dns_names.items().iter().map(ToString::to_string).collect(),
            clients: key.clients.items().iter().map(ToString::to_string).collect(),
            not_before: key.validity.map(|v| time::utc(v.not_before)),
            not_after: key.validity.map(|v| time::utc(v.not_after)),
            spki: hex::encode(key.spki.as_bytes()),
            sealed: key.sealed.as_ref().map(|sealed| SealedJson {
                group: sealed.group.to_string(),
                number: sealed.number,
                freshness: freshness(sealed.freshness),
            }),
            kept: None,
        }
    }
}

/// How a key's state is sealed.
#[derive(Serialize)]
pub(crate) struct SealedJson {
    group: String,
    number: u64,
    freshness: &'static str,
}

/// Whether a newer state may exist, as people and programs read it.
pub(crate) fn freshness(freshness: Freshness) -> &'static str {
    match freshness {
        Freshness::Known => "known",
        Freshness::Unproven => "unproven",
    }
}

/// A key that the replay directory names and the service does not hold.
#[derive(Serialize)]
pub(crate) struct MissingJson {
    id: String,
    name: String,
    generation: u32,
    usage: String,
    origin: String,
}

impl From<&Entry> for MissingJson {
    fn from(entry: &Entry) -> Self {
        Self {
            id: entry.id.to_string(),
            name: entry.name.to_string(),
            generation: entry.generation,
            usage: entry.usage.to_string(),
            origin: entry.origin.to_string(),
        }
    }
}

/// A usage, as people read it.
pub(crate) fn usage(usage: Usage) -> String {
    match usage {
        Usage::Tls | Usage::TlsClient | Usage::AcmeAccount => usage.to_string(),
        Usage::Digest => "digest (weaker)".to_owned(),
    }
}

/// What others said, for a terminal: its lines stay, and nothing in it moves the cursor or paints.
pub(crate) fn plain(text: &str) -> String {
    let of = |c: char| match c {
        '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(of).collect()
}

/// Writes one JSON document.
pub(crate) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    text_out(&text)
}

/// Writes one JSON document on a line of its own. Whether anybody still reads.
pub(crate) fn json_line(value: &impl Serialize) -> io::Result<bool> {
    let mut text = serde_json::to_string(value)?;
    text.push('\n');
    text_on(&text)
}

/// Writes a part of what does not end by itself. Whether anybody still reads.
pub(crate) fn text_on(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
pub(crate) fn text_out(text: &str) -> io::Result<()> {
    text_on(text).map(|_| ())
}

/// Writes lines to standard error: whoever has closed it wants none, and what was asked for is done all the same.
pub(crate) fn say_beside(lines: &str) {
    drop(writeln!(io::stderr().lock(), "{lines}"));
}

/// A sentence in which no word is longer than a path may be: what was given in place of a name need not be said whole.
pub(crate) fn shortened(text: &str) -> String {
    let of = |word: &str| match word.char_indices().nth(LONGEST_WORD) {
        None => word.to_owned(),
        Some(_) => {
            let begin: String = word.chars().take(SHOWN_OF_IT).collect();
            let end = word.trim_end_matches(char::is_whitespace).len();
            let (said, space) = word.split_at_checked(end).unwrap_or((word, ""));
            format!("{begin}… ({} bytes){space}", said.len())
        }
    };
    text.split_inclusive(char::is_whitespace).map(of).collect()
}

/// The longest path of Linux has 4,096 bytes, and those that people use far fewer.
const LONGEST_WORD: usize = 1_024;
const SHOWN_OF_IT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_that_nobody_reads_are_shortened() {
        let long = "ä".repeat(100_000);
        let said = shortened(&format!("no key\n{long} of\tthese"));
        assert_eq!(said, format!("no key\n{}… (200000 bytes) of\tthese", "ä".repeat(64)));
        let path = "/a".repeat(500);
        assert_eq!(shortened(&path), path);
    }

    #[test]
    fn what_others_said_cannot_paint() {
        assert_eq!(plain("a\nb\u{1b}[2Jc\r"), "a\nb\\u{1b}[2Jc\\r");
    }
}
