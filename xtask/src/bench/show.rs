//! Figures as cells, cells as columns.

use super::runner::{Measured, Spread, Subject};
use crate::progress::Paint;

/// Rows below heads.
pub(super) struct Columns {
    rows: Vec<Vec<String>>,
    /// Below the table: what could not be measured, and why.
    notes: Vec<String>,
}

impl Columns {
    pub(super) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self {
            rows: vec![heads.map(str::to_owned).to_vec()],
            notes: Vec::new(),
        }
    }

    /// Adds a subject's row, and to its end how many of its rounds count.
    pub(super) fn row(&mut self, mut cells: Vec<String>, subject: &Subject, group: &Measured) {
        let report = &group.report;
        let mark = if subject.disturbed { " disturbed" } else { "" };
        cells.push(format!("{}/{}{mark}", subject.kept, report.rounds));
        if let Some(error) = &subject.error {
            self.notes
                .push(format!("{}, {}: {error}", group.title.join(", "), subject.name));
        }
        self.rows.push(cells);
    }

    /// Adds a row that is not of a group.
    pub(super) fn cells(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn print(&self) {
        let widths = self.widths();
        for (number, row) in self.rows.iter().enumerate() {
            let padded: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect();
            let line = padded.join("  ");
            println!(
                "  {}",
                if number == 0 {
                    Paint::Bold.on(line.trim_end())
                } else {
                    line.trim_end().to_owned()
                }
            );
        }
        self.notes.iter().for_each(|note| println!("  n/a: {note}"));
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| Some(row.get(column)?.chars().count()))
                .max()
                .unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// One decimal, or what stands for none.
pub(super) fn number(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.1}"))
}

/// How much more the first is.
pub(super) fn difference(value: Option<f64>, base: Option<f64>) -> String {
    let difference = value.zip(base).map(|(value, base)| value - base);
    difference.map_or_else(|| NONE.to_owned(), |difference| format!("{difference:+.1}"))
}

/// A median, with its quartiles.
pub(super) fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |s| format!("{:.2} ({:.2}–{:.2})", s.median, s.q1, s.q3))
}

const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_shows_as_such() {
        assert_eq!(number(None), "–");
        assert_eq!(difference(Some(25.04), Some(15.5)), "+9.5");
        assert_eq!(difference(None, Some(15.5)), "–");
        assert_eq!(
            ratio(Some(Spread {
                q1: 0.9,
                median: 1.0,
                q3: 1.234
            })),
            "1.00 (0.90–1.23)"
        );
    }
}
