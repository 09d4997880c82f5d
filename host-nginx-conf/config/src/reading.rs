//! What is wrong with a file, gathered while it is read.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use enclave_wire::address::Address;
use toml::Spanned;

use crate::egress::Egress;
use crate::error::{Lines, Problem};
use crate::form::Word;

/// What was found so far.
#[derive(Default)]
pub(crate) struct Reading {
    wrong: Vec<Wrong>,
    /// What was said once and need not be said for each certificate.
    said: BTreeSet<String>,
    sockets: Vec<(Address, Option<Range<usize>>, &'static str)>,
    hosts: Vec<(Range<usize>, &'static str, String, u16)>,
}

/// A value is not there, and the reason was given to [`Reading::wrong`]: nothing else makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused(());

struct Wrong {
    at: usize,
    message: String,
    /// An offset whose line stands in the message in place of [`LINE`].
    other: Option<usize>,
}

impl Reading {
    /// Something is wrong there. The message says what to do about it.
    pub(crate) fn wrong(&mut self, at: Range<usize>, message: impl Into<String>) -> Refused {
        self.wrong.push(Wrong {
            at: at.start,
            message: message.into(),
            other: None,
        });
        Refused(())
    }

    /// As [`Reading::wrong`], once for the whole file.
    pub(crate) fn wrong_once(&mut self, about: &str, at: Range<usize>, message: &str) -> Refused {
        if self.said.insert(about.to_owned()) {
            return self.wrong(at, message);
        }
        Refused(())
    }

    /// As [`Reading::wrong`], with the line of another place in the message.
    pub(crate) fn wrong_as(
        &mut self,
        at: Range<usize>,
        other: Range<usize>,
        message: impl FnOnce(&str) -> String,
    ) -> Refused {
        self.wrong.push(Wrong {
            at: at.start,
            message: message(LINE),
            other: Some(other.start),
        });
        Refused(())
    }

    /// The value of a key. `read` says what should be written.
    pub(crate) fn word<T>(
        &mut self,
        word: Word,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Refused> {
        let at = word.span();
        let text = word.into_inner();
        read(&text).map_err(|advice| self.wrong(at, format!("{key} = {}: {advice}", shown(&text))))
    }

    /// The value of a key that may be left out.
    pub(crate) fn word_or<T>(
        &mut self,
        word: Option<Word>,
        key: &str,
        default: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, Refused> {
        self.word(
            word.unwrap_or_else(|| Spanned::new(0..0, default.to_owned())),
            key,
            read,
        )
    }

    /// A number within a range, or its default.
    pub(crate) fn number_or(
        &mut self,
        number: Option<Spanned<i64>>,
        key: &str,
        default: u32,
        range: RangeInclusive<u32>,
        advice: &str,
    ) -> Result<u32, Refused> {
        let Some(number) = number else {
            return Ok(default);
        };
        let (at, number) = (number.span(), number.into_inner());
        let fits = u32::try_from(number).ok().filter(|number| range.contains(number));
        fits.ok_or_else(|| self.wrong(at, format!("{key} = {number}: {advice}")))
    }

    /// Someone will listen there. `at` is none for a default.
    pub(crate) fn socket(&mut self, address: Address, at: Option<Range<usize>>, key: &'static str) -> Address {
        self.sockets.push((address.clone(), at, key));
        address
    }

    /// One socket cannot be two.
    pub(crate) fn finish_sockets(&mut self) {
        let sockets = std::mem::take(&mut self.sockets);
        for (index, (address, at, key)) in sockets.iter().enumerate() {
            let earlier = sockets
                .iter()
                .take(index)
                .find(|(other, ..)| same_place(address, other));
            let Some((_, other_at, other_key)) = earlier else {
                continue;
            };
            let at = at.clone().or(other_at.clone()).unwrap_or_default();
            self.wrong(
                at,
                format!("{other_key} and {key} are both {address}: give each an address of its own"),
            );
        }
    }

    /// The enclave will connect to HTTPS there.
    pub(crate) fn must_be_allowed(&mut self, at: Range<usize>, key: &'static str, host: &str) {
        self.must_be_allowed_at(at, key, host, HTTPS);
    }

    /// The enclave will connect to this port there.
    pub(crate) fn must_be_allowed_at(&mut self, at: Range<usize>, key: &'static str, host: &str, port: u16) {
        self.hosts.push((at, key, host.to_owned(), port));
    }

    /// What the enclave needs and may not reach would only show as a failure at run time.
    pub(crate) fn finish_hosts(&mut self, egress: &Egress) {
        for (at, key, host, port) in std::mem::take(&mut self.hosts) {
            let is_allowed = egress
                .allow
                .iter()
                .any(|to| to.host.as_str() == host && to.port == port);
            if !is_allowed {
                let advice =
                    format!("{key} needs {host}, which is not allowed: add \"{host}:{port}\" to [egress] allow");
                self.wrong_once(&format!("{host}:{port}"), at, &advice);
            }
        }
    }

    /// All of it, in the order of the file.
    pub(crate) fn into_problems(mut self, text: &str) -> Vec<Problem> {
        if self.wrong.is_empty() {
            return Vec::new();
        }
        let lines = Lines::of(text);
        self.wrong.sort_by_key(|wrong| wrong.at);
        let problem = |wrong: Wrong| Problem {
            line: lines.line(wrong.at),
            message: match wrong.other {
                Some(other) => wrong.message.replace(LINE, &lines.line(other).to_string()),
                None => wrong.message,
            },
        };
        self.wrong.into_iter().map(problem).collect()
    }
}

/// Whether one of them could not be listened on while the other is.
fn same_place(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (
            Address::Vsock { cid, port },
            Address::Vsock {
                cid: other_cid,
                port: other_port,
            },
        ) => port == other_port && (cid == other_cid || cid.is_none() || other_cid.is_none()),
        (Address::UnixPath(_) | Address::UnixAbstract(_) | Address::Vsock { .. }, _) => one == other,
    }
}

/// A value as an error shows it: on one line, and not longer than one.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", cut.escape_debug())
}

/// No name has such a character.
const LINE: &str = "\u{0}";
/// Characters of a value that an error repeats.
const SHOWN: usize = 80;
/// All that the enclave connects to is HTTPS, and AWS's is on its own port.
const HTTPS: u16 = 443;
