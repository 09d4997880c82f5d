//! Prometheus' text format, version 0.0.4. Written here: what is served are snapshots of counts that others keep, for which a library's
//! registry of live counters would be a second place, and `prometheus-client` writes OpenMetrics, which `promtool check metrics` does not
//! take.

use std::fmt::{Display, Write};

use enclave_wire::control::Histogram;

/// What is served.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

/// A family's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, and begins anew with who counts. Its name ends in `_total`.
    Counter,
    Histogram,
}

/// A sample's labels.
pub(super) type Labels<'a> = [(&'static str, &'a str)];

impl Page {
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Begins a family. A page has each once.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
        };
        Family {
            text: &mut self.text,
            name,
            kind,
            help,
            has_begun: false,
        }
    }

    /// A family of one sample, where there is a value.
    pub(super) fn one(&mut self, name: &'static str, kind: Kind, help: &'static str, value: Option<impl Display>) {
        let mut family = self.family(name, kind, help);
        if let Some(value) = value {
            family.sample(&[], value);
        }
    }
}

/// The samples of one name.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    has_begun: bool,
}

impl Family<'_> {
    pub(super) fn sample(&mut self, labels: &Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Times, in seconds.
    pub(super) fn histogram(&mut self, labels: &Labels<'_>, times: &Histogram) {
        for (bound, count) in times.cumulative() {
            self.line("_bucket", labels, Some(&seconds(bound)), count);
        }
        self.line("_bucket", labels, Some("+Inf"), times.count());
        self.line("_sum", labels, None, seconds(times.sum_us));
        self.line("_count", labels, None, times.count());
    }

    fn line(&mut self, suffix: &str, labels: &Labels<'_>, bound: Option<&str>, value: impl Display) {
        let (name, kind, help) = (self.name, self.kind, self.help);
        if !std::mem::replace(&mut self.has_begun, true) {
            self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        }
        self.put(format_args!("{name}{suffix}"));
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut before = '{';
        for (name, value) in labels {
            self.put(format_args!("{before}{name}=\"{}\"", Escaped(value)));
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        self.put(format_args!("{close} {value}\n"));
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        let _always = self.text.write_fmt(text).is_ok(); // A string takes everything.
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us.div_euclid(1_000_000), us.rem_euclid(1_000_000))
}

/// A label's value.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_below_their_family_and_labels_are_escaped() {
        let mut page = Page::default();
        let mut family = page.family("a_total", Kind::Counter, "What happened.");
        family.sample(&[("host", "a\"b\\c\nd"), ("port", "1")], 7);
        family.sample(&[], 1.5);
        page.family("nothing", Kind::Gauge, "Nothing.");
        page.one("b", Kind::Gauge, "Some.", Some(-3));
        page.one("c", Kind::Gauge, "None.", None::<u64>);
        assert_eq!(
            page.into_text(),
            "# HELP a_total What happened.\n# TYPE a_total counter\na_total{host=\"a\\\"b\\\\c\\nd\",port=\"1\"} 7\na_total 1.5\n\
             # HELP b Some.\n# TYPE b gauge\nb -3\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_in_seconds() {
        let mut times = Histogram::default();
        (times.counts[0], times.counts[14], times.sum_us) = (2, 1, 3_000_020);
        let mut page = Page::default();
        page.family("t_seconds", Kind::Histogram, "Times.")
            .histogram(&[("m", "x")], &times);
        let text = page.into_text();
        for line in [
            "t_seconds_bucket{m=\"x\",le=\"0.000010\"} 2",
            "t_seconds_bucket{m=\"x\",le=\"1.000000\"} 2",
            "t_seconds_bucket{m=\"x\",le=\"+Inf\"} 3",
            "t_seconds_sum{m=\"x\"} 3.000020",
            "t_seconds_count{m=\"x\"} 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
