//! Figures as bars, in SVG: one group after another, a bar for each subject from zero to its median, and its quartiles as a line.

use std::fmt::Write;

use super::runner::{Measured, Subject};

/// A plot of one figure.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// As the report names it.
    pub(super) figure: &'a str,
    /// Where bars end that would leave the others too short; their number is written all the same.
    pub(super) at_most: Option<f64>,
    pub(super) groups: &'a [Measured],
}

impl Plot<'_> {
    /// The whole file.
    pub(super) fn svg(&self) -> String {
        let values = self.groups.iter().flat_map(|group| &group.report.subjects);
        let most = values
            .filter_map(|subject| subject.figure(self.figure))
            .fold(0.0, f64::max);
        let end = self
            .at_most
            .map_or(most, |at_most| most.min(at_most))
            .max(f64::MIN_POSITIVE);
        let mut body = String::new();
        let mut y = TOP;
        for group in self.groups {
            text(&mut body, LEFT, y, "h", &group.title.join(", "));
            y += LINE;
            let has_bar = |subject: &&Subject| subject.spread(self.figure).is_some() || subject.error.is_some();
            for subject in group.report.subjects.iter().filter(has_bar) {
                self.bar(&mut body, subject, y, end);
                y += LINE;
            }
            y += GAP;
        }
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <style>.h{{font-weight:bold}}.b{{fill:#9db4c0}}.o{{fill:#2a6f97}}.q{{stroke:#333;stroke-width:1.5}}</style>\n\
             <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"#fff\"/>\n"
        );
        text(&mut svg, LEFT, LINE, "h", self.title);
        svg + &body + "</svg>\n"
    }

    fn bar(&self, svg: &mut String, subject: &Subject, y: f64, end: f64) {
        text(svg, LEFT + INDENT, y, "", &subject.name);
        let Some(spread) = subject.spread(self.figure) else {
            return text(svg, BARS, y, "", "n/a");
        };
        let at = |value: f64| BARS + (value.min(end) / end) * LENGTH;
        // Ours stands out.
        let class = if subject.is_ours() { "o" } else { "b" };
        let (width, top) = (at(spread.median) - BARS, y - HEIGHT + 3.0);
        let (middle, q1, q3) = (top + HEIGHT / 2.0, at(spread.q1), at(spread.q3));
        // Writing to a string does not fail.
        let _: Result<(), _> = writeln!(
            svg,
            "<rect class=\"{class}\" x=\"{BARS}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{HEIGHT}\"/>\
             <line class=\"q\" x1=\"{q1:.1}\" x2=\"{q3:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>"
        );
        let digits = if spread.median < 100.0 { 1 } else { 0 };
        text(
            svg,
            at(spread.median.max(spread.q3)) + 6.0,
            y,
            "",
            &format!("{:.digits$}", spread.median),
        );
    }
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _: Result<(), _> = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{text}</text>");
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 10.0;
const INDENT: f64 = 12.0;
/// Where bars begin, and how long the longest is.
const BARS: f64 = 260.0;
const LENGTH: f64 = 520.0;
const TOP: f64 = 50.0;
const LINE: f64 = 20.0;
const HEIGHT: f64 = 13.0;
const GAP: f64 = 12.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_in_proportion_and_what_was_not_measured_has_none() {
        let subject = |name: &str, figures: serde_json::Value, error: Option<&str>| {
            serde_json::json!({
                "name": name, "kept": 1, "disturbed": false, "figures": figures, "ratios": {}, "error": error,
            })
        };
        let p50 = |q1, median, q3| serde_json::json!({ "p50": { "q1": q1, "median": median, "q3": q3 } });
        let group: Measured = serde_json::from_value(serde_json::json!({
            "title": ["P-256"], "rounds": 1, "load": [0.0, 0.0],
            "subjects": [
                subject("ours", p50(20.0, 25.0, 30.0), None),
                subject("a & b", p50(50.0, 50.0, 50.0), None),
                subject("c", serde_json::json!({}), Some("no")),
                subject("of another figure", serde_json::json!({}), None),
            ],
        }))
        .unwrap();
        let svg = Plot {
            title: "µs",
            figure: "p50",
            at_most: None,
            groups: &[group],
        }
        .svg();
        for part in [
            "class=\"o\" x=\"260\" y=\"60.0\" width=\"260.0\"",
            "class=\"b\" x=\"260\" y=\"80.0\" width=\"520.0\"",
            "x1=\"468.0\" x2=\"572.0\"",
            "a &amp; b",
            ">25.0<",
            ">n/a<",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert!(!svg.contains("of another figure"), "{svg}");
    }
}
