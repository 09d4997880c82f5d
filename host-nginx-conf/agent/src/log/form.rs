//! How lines leave the process: `[agent] log`.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use enclave_tls_config::Log;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use super::{Event, TARGET};

/// Has lines leave by this form from now on.
pub(crate) fn set_form(log: Log) {
    let (layer, failure) = layer(log);
    match HANDLE.get() {
        Some(handle) => drop(handle.reload(layer)), // It fails where the subscriber is gone, and with it whoever reads.
        None => install(layer),
    }
    if let Some(error) = failure {
        Event::JournalAway.say(format_args!(
            "journald does not take lines: {error}; they go to standard error as text until the agent is started again"
        ));
    }
}

type Output = Box<dyn Layer<Registry> + Send + Sync>;

fn install(layer: Output) {
    let (output, handle) = reload::Layer::new(layer);
    let subscriber = tracing_subscriber::registry().with(output).with(ours());
    // Another one in the process is a test's.
    if subscriber.try_init().is_ok() {
        drop(HANDLE.set(handle));
    }
}

/// For all layers: what a library says goes nowhere, and costs nothing.
fn ours() -> Targets {
    Targets::new().with_target(TARGET, LevelFilter::INFO)
}

/// The form, and why it is not the one that was wanted.
fn layer(log: Log) -> (Output, Option<io::Error>) {
    match log {
        Log::Json => (json(), None),
        Log::Text => (text(), None),
        Log::Auto if !is_journal_stderr() => (text(), None),
        Log::Auto | Log::Journald => match journald() {
            Ok(journald) => (journald, None),
            Err(error) => (text(), Some(error)),
        },
    }
}

fn json() -> Output {
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true);
    let json = json.with_current_span(false).with_span_list(false).with_target(false);
    json.with_writer(io::stderr).boxed()
}

fn text() -> Output {
    let layer = tracing_subscriber::fmt::layer().event_format(Text);
    layer.with_writer(io::stderr).boxed()
}

fn journald() -> io::Result<Output> {
    let layer = tracing_journald::layer()?
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_syslog_identifier(PROGRAM.to_owned())
        .with_priority_mappings(PriorityMappings {
            info: Priority::Informational,
            ..PriorityMappings::new()
        });
    Ok(layer.boxed())
}

/// Whether standard error is the journal: systemd says which file that is.
fn is_journal_stderr() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let named = named.as_deref().and_then(|named| named.split_once(':'));
    match (named, rustix::fs::fstat(io::stderr())) {
        (Some((device, inode)), Ok(file)) => device.parse() == Ok(file.st_dev) && inode.parse() == Ok(file.st_ino),
        _ => false,
    }
}

/// `enclave-tls-agent: warning: …`, and `enclave: …` where the enclave speaks.
struct Text;

impl<S, N> FormatEvent<S, N> for Text
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        if line.source == "enclave" {
            return writeln!(writer, "enclave: {}", line.message);
        }
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error: ",
            tracing::Level::WARN => "warning: ",
            _ => "",
        };
        writeln!(writer, "{PROGRAM}: {level}{}", line.message)
    }
}

#[derive(Default)]
struct Line {
    source: String,
    message: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "source" => value.clone_into(&mut self.source),
            "message" => value.clone_into(&mut self.message),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

static HANDLE: OnceLock<reload::Handle<Output, Registry>> = OnceLock::new();
const PROGRAM: &str = "enclave-tls-agent";
/// `ENCLAVE_TLS_EVENT`, `ENCLAVE_TLS_CERTIFICATE`, …: the journal holds fields of everybody.
const PREFIX: &str = "ENCLAVE_TLS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_sdk_says_is_not_let_through() {
        for target in ["aws_config", "aws_smithy_runtime::client", "hyper", "rustls", ""] {
            assert!(!ours().would_enable(target, &tracing::Level::ERROR), "{target}");
        }
        assert!(ours().would_enable(TARGET, &tracing::Level::INFO));
    }
}
