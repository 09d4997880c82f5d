//! The agent's log. Every line is an [`Event`] with a stable id, which has a level and says what to do in
//! `packaging/monitoring/EVENTS.md`; or it is the enclave's, which is not believed and says so by its source.
//!
//! What goes with a line is typed: names, numbers and ids, of which none is a secret. Lines pass through `tracing` to journald, or as JSON
//! or text to standard error; nothing that a library says by `tracing` gets there, for an SDK's own lines may hold what ours may not.
//! Whoever has something to say again and again says it once: that is decided where it is known, not here.

mod event;
mod form;
mod ring;

use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

use enclave_tls_admin::report::Line;
use enclave_wire::{DnsName, KeyId, Name};

use crate::Shared;
pub(crate) use event::{Event, Level};
pub(crate) use form::set_form;
pub(crate) use ring::Counted;
use ring::Ring;

impl Event {
    /// A line of this event.
    pub(crate) fn say(self, text: impl Display) {
        self.about().say(text);
    }

    /// The same, to say what it is about.
    pub(crate) fn about(self) -> About {
        About {
            event: self,
            fields: Fields::default(),
        }
    }
}

/// An event, and what it is about.
#[must_use]
pub(crate) struct About {
    event: Event,
    fields: Fields,
}

impl About {
    pub(crate) fn certificate(mut self, name: &Name) -> Self {
        self.fields.certificate = Some(name.to_string());
        self
    }

    pub(crate) fn generation(mut self, generation: u32) -> Self {
        self.fields.generation = Some(generation);
        self
    }

    pub(crate) fn key(mut self, key: KeyId) -> Self {
        self.fields.key = Some(key.to_string());
        self
    }

    pub(crate) fn server(mut self, name: &Name) -> Self {
        self.fields.server = Some(name.to_string());
        self
    }

    pub(crate) fn client(mut self, name: &Name) -> Self {
        self.fields.client = Some(name.to_string());
        self
    }

    pub(crate) fn host(mut self, host: &DnsName, port: u16) -> Self {
        self.fields.host = Some(format!("{host}:{port}"));
        self
    }

    /// The user's number.
    pub(crate) fn user(mut self, uid: u32) -> Self {
        self.fields.user = Some(uid);
        self
    }

    pub(crate) fn say(self, text: impl Display) {
        let Self { event, fields } = self;
        pass(Source::Agent, event.level(), Some(event), &fields, &text.to_string());
    }
}

/// A line of the enclave's: its own, or with an event one that the agent says of it.
pub(crate) fn say_of_enclave(level: Level, event: Option<Event>, text: &str) {
    pass(Source::Enclave, level, event, &Fields::default(), text);
}

/// The newest lines, the oldest of them first: at most so many, and only those after this number.
pub(crate) fn newest(most: u32, after: u64) -> Vec<Line> {
    RING.lock().newest(most, after)
}

/// How often each event was said, and when last.
pub(crate) fn counted() -> Counted {
    RING.lock().counted()
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Agent,
    Enclave,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Enclave => "enclave",
        }
    }
}

#[derive(Default)]
struct Fields {
    certificate: Option<String>,
    generation: Option<u32>,
    key: Option<String>,
    server: Option<String>,
    client: Option<String>,
    host: Option<String>,
    user: Option<u32>,
}

fn pass(source: Source, level: Level, event: Option<Event>, fields: &Fields, text: &str) {
    let text = one_line(text);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let line = Line {
        number: 0,
        time: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
        source: source.as_str().to_owned(),
        level: level.as_str().to_owned(),
        event: event.map_or("", Event::id).to_owned(),
        text: text.clone(),
    };
    RING.lock().push(line, event);
    // The ring is free again: whoever takes the lines may take his time.
    macro_rules! pass {
        ($level:expr) => {
            tracing::event!(
                target: TARGET,
                $level,
                message = text.as_str(),
                source = source.as_str(),
                event = event.map(Event::id),
                certificate = fields.certificate.as_deref(),
                generation = fields.generation,
                key = fields.key.as_deref(),
                server = fields.server.as_deref(),
                client = fields.client.as_deref(),
                host = fields.host.as_deref(),
                user = fields.user,
            )
        };
    }
    match level {
        Level::Error => pass!(tracing::Level::ERROR),
        Level::Warning => pass!(tracing::Level::WARN),
        Level::Info => pass!(tracing::Level::INFO),
    }
}

/// A text as one line of bounded length. What a web server or another program said may have several lines, and could else pass for
/// lines of somebody else.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_TEXT));
    for part in text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()) {
        if !line.is_empty() {
            line.push_str(" | ");
        }
        line.extend(part.chars().map(|c| if c.is_control() { '?' } else { c }));
    }
    if let Some((end, _)) = line.char_indices().find(|(at, _)| *at >= MAX_TEXT) {
        line.truncate(end);
        line.push_str(" …");
    }
    line
}

static RING: Shared<Ring> = Shared::new(Ring::new());
/// The target of our own lines. Those of other targets are not let through.
const TARGET: &str = "enclave_tls";
/// More than a record of the enclave has, and enough of what a web server says of its configuration.
const MAX_TEXT: usize = 6_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_several_lines_becomes_one() {
        assert_eq!(
            one_line("nginx: [emerg] a\r\nnginx: b\x1b[1m\n"),
            "nginx: [emerg] a | nginx: b?[1m"
        );
        assert_eq!(one_line("one"), "one");
        let long = one_line(&"ä".repeat(MAX_TEXT));
        assert!(long.len() < MAX_TEXT + 10 && long.ends_with(" …"));
    }

    #[test]
    fn what_was_said_is_found_with_its_event() {
        Event::CertificateRetired
            .about()
            .certificate(&"ring-test".parse().unwrap())
            .generation(3)
            .say("ring-test is retired");
        say_of_enclave(Level::Warning, None, "1.5 WARN init: ring-test");
        let lines = newest(u32::MAX, 0);
        let mut its = lines.iter().filter(|line| line.text.contains("ring-test"));
        let (ours, theirs) = (its.next().unwrap(), its.next().unwrap());
        assert_eq!(
            (ours.source.as_str(), ours.event.as_str()),
            ("agent", "certificate.retired")
        );
        assert_eq!((theirs.source.as_str(), theirs.event.as_str()), ("enclave", ""));
        assert_eq!((ours.level.as_str(), theirs.level.as_str()), ("info", "warning"));
        assert!(theirs.number > ours.number);
        assert!(
            counted()
                .into_iter()
                .any(|(event, count, _)| event == Event::CertificateRetired && count > 0)
        );
    }
}
