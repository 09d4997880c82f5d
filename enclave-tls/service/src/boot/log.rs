//! The service's own log, on standard error: one line an event, printable ASCII, as text or JSON.
//!
//! Small enough to be read as a whole, in place of a crate: nothing here uses spans or filters. The level is `info`, or what
//! `ENCLAVE_TLS_LOG` names.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use enclave_wire::log::Text;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

use super::arguments::LogFormat;

/// Begins to log. A panic is logged by its place alone: its message may hold what it was given.
pub(super) fn start(format: LogFormat) {
    let level = std::env::var("ENCLAVE_TLS_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    let log = Log {
        format,
        level: level.unwrap_or(Level::INFO),
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
        // One write a line, so that lines of several threads do not mix. Where it cannot be written, nobody can be told.
        let _ = std::io::stderr().write_all(line.as_bytes());
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

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn an_event_is_one_json_object() {
        let line = fields().json(&Level::INFO, "here");
        let rest = line.split_once(',').map(|(_, rest)| rest);
        let expected = r#""level":"INFO","target":"here","message":"said","name":"a\"b\\c??[1m"}"#;
        assert_eq!(rest, Some(format!("{expected}\n").as_str()));
        assert_eq!(line.matches('\n').count(), 1);
    }
}
