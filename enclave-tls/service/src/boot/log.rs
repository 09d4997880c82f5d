//! The service's own log, on standard error: one line an event, printable ASCII, as text or JSON.
//!
//! Small enough to be read as a whole, in place of a crate: nothing here uses spans or filters. The level is `info`, or what
//! `ENCLAVE_TLS_LOG` names.
//!
//! Nobody waits for whoever reads it. Where standard error is a pipe, as it is in an enclave, a line is written whole or, while the pipe is
//! full, dropped and counted: the pipe is the queue, and signing never stands behind it.

use std::fmt::{Debug, Write as _};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use enclave_wire::log::Text;
use rustix::fs::{FileType, OFlags, fcntl_getfl, fcntl_setfl, fstat};
use rustix::io::write;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::arguments::LogFormat;
use crate::statistics::Counter;

/// Begins to log. A panic is logged by its place alone: its message may hold what it was given.
pub(super) fn start(format: LogFormat) {
    let level = std::env::var("ENCLAVE_TLS_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    let log = Log {
        format,
        level: level.unwrap_or(Level::INFO),
        out: Out::new(std::io::stderr()),
    };
    // It fails only where there is a log already.
    let _ = tracing::subscriber::set_global_default(log);
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => tracing::error!(%place, "a panic was caught"),
        None => tracing::error!("a panic was caught"),
    }));
}

struct Log {
    format: LogFormat,
    level: Level,
    out: Out<std::io::Stderr>,
}

/// Where lines go.
struct Out<W> {
    to: W,
    is_pipe: bool,
    dropped: AtomicU32,
}

impl<W: AsFd> Out<W> {
    /// A pipe's reader may be slow, and is never waited for. A file or a terminal is a lab's, and takes lines of any length.
    fn new(to: W) -> Self {
        let is_pipe = fstat(&to).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Fifo)
            && fcntl_getfl(&to).is_ok_and(|flags| fcntl_setfl(&to, flags | OFlags::NONBLOCK).is_ok());
        Self {
            to,
            is_pipe,
            dropped: AtomicU32::new(0),
        }
    }

    /// One write a line, so that lines of several threads do not mix. Where it cannot be written, nobody can be told.
    fn line(&self, mut line: String) {
        if !self.is_pipe {
            let _ = write(&self.to, line.as_bytes());
            return;
        }
        let missing = self.dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            line.insert_str(0, &format!("{DROPPED}{missing}\n"));
        }
        if line.len() > ATOMIC {
            // Printable ASCII, all of it: it can be cut anywhere.
            line.truncate(ATOMIC - 1);
            line.push('\n');
        }
        if write(&self.to, line.as_bytes()).is_err() {
            self.dropped.fetch_add(missing.saturating_add(1), Ordering::Relaxed);
            ALL_DROPPED.count();
        }
    }
}

/// How many lines of this process were dropped so far.
pub(crate) fn all_dropped() -> u64 {
    ALL_DROPPED.get()
}

/// A process has one log.
static ALL_DROPPED: Counter = Counter::new();

/// How many lines are missing, if that is what this line says.
#[must_use]
pub fn dropped_lines(line: &str) -> Option<u32> {
    line.strip_prefix(DROPPED)?.parse().ok()
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = match self.format {
            LogFormat::Text => fields.text(metadata.level(), metadata.target()),
            LogFormat::Json => fields.json(metadata.level(), metadata.target()),
        };
        self.out.line(line);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// An event's message and fields, each already harmless to a terminal and to a line.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn text(&self, level: &Level, target: &str) -> String {
        let mut line = format!("{level:>5} {target}: {}", self.message);
        for (name, value) in &self.others {
            let _ = write!(line, " {name}={value}");
        }
        line.push('\n');
        line
    }

    fn json(&self, level: &Level, target: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = format!(
            "{{\"unix_ms\":{},\"level\":\"{level}\",\"target\":\"{target}\"",
            now.as_millis()
        );
        let message = std::iter::once(("message", &self.message));
        for (name, value) in message.chain(self.others.iter().map(|(name, value)| (*name, value))) {
            let _ = write!(
                line,
                ",\"{name}\":\"{}\"",
                value.replace('\\', "\\\\").replace('"', "\\\"")
            );
        }
        line.push_str("}\n");
        line
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = Text::<MAX_VALUE>::lossy(&format!("{value:?}")).as_str().to_owned();
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), text));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

/// A line stays readable whatever a value holds.
const MAX_VALUE: usize = 1_024;
/// Up to so many bytes a pipe takes whole or not at all.
const ATOMIC: usize = 4_096;
/// How a line begins that says how many are missing before the next.
const DROPPED: &str = "DROPPED ";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn fields() -> Fields {
        let others = vec![("name", Text::<16>::lossy("a\"b\\c\n\u{1b}[1m").as_str().to_owned())];
        Fields {
            message: "said".to_owned(),
            others,
        }
    }

    #[test]
    fn an_event_is_one_line_of_text() {
        assert_eq!(
            fields().text(&Level::WARN, "here"),
            " WARN here: said name=a\"b\\c??[1m\n"
        );
    }

    /// threat_12: a reader that stopped costs lines, never time, and what is missing is said.
    #[test]
    fn threat_12_a_full_pipe_drops_lines_and_counts_them() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let out = Out::new(writer);
        assert!(out.is_pipe);
        for number in 0..10_000 {
            out.line(format!(" INFO a: line {number} {}\n", "x".repeat(5_000)));
        }
        let mut bytes = vec![0; 1_000_000];
        let count = reader.read(&mut bytes).unwrap();
        let written = bytes[..count].iter().filter(|byte| **byte == b'\n').count();
        assert!(
            written > 0 && count == written * ATOMIC,
            "whole lines of {ATOMIC} bytes"
        );
        out.line(" INFO a: again\n".to_owned());
        let count = reader.read(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..count].to_vec()).unwrap();
        let (first, rest) = text.split_once('\n').unwrap();
        assert_eq!(dropped_lines(first), Some(u32::try_from(10_000 - written).unwrap()));
        assert_eq!(rest, " INFO a: again\n");
        assert_eq!(dropped_lines(rest), None);
    }

    #[test]
    fn an_event_is_one_json_object() {
        let line = fields().json(&Level::INFO, "here");
        let rest = line.split_once(',').map(|(_, rest)| rest);
        let expected = r#""level":"INFO","target":"here","message":"said","name":"a\"b\\c??[1m"}"#;
        assert_eq!(rest, Some(format!("{expected}\n").as_str()));
        assert_eq!(line.matches('\n').count(), 1);
    }
}
