//! Plain tables with a verdict in each row.

use crate::progress::Paint;

/// Rows of checks; knows in the end whether all held.
pub(crate) struct Table {
    heads: Vec<String>,
    rows: Vec<(Vec<String>, Verdict)>,
}

/// Whether what a row says is what should be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    Fails,
}

impl Verdict {
    pub(crate) fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

impl Table {
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self {
            heads: heads.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N], verdict: Verdict) {
        self.rows.push((cells.to_vec(), verdict));
    }

    /// A row that says whether a figure is below its limit.
    pub(crate) fn below(&mut self, what: &str, found: f64, limit: f64, unit: &str) {
        self.row(
            [format!("{what} < {limit} {unit}"), format!("{found:.2} {unit}")],
            Verdict::of(found < limit),
        );
    }

    pub(crate) fn all_hold(&self) -> bool {
        self.rows.iter().all(|(_, verdict)| *verdict == Verdict::Holds)
    }

    pub(crate) fn print(&self) {
        let widths = self.widths();
        println!("  {}", Paint::Bold.on(&line(&self.heads, &widths)));
        for (cells, verdict) in &self.rows {
            let mark = match verdict {
                Verdict::Holds => Paint::Good.on("ok"),
                Verdict::Fails => Paint::Bad.on("WRONG"),
            };
            println!("  {}  {mark}", line(cells, &widths));
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.heads.iter().map(|head| head.chars().count()).collect();
        for (cells, _) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, &width)| format!("{cell:<width$}"))
        .collect();
    padded.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["a", "bb"]);
        table.row(["xyz".into(), "é".into()], Verdict::Holds);
        assert_eq!(table.widths(), [3, 2]);
        assert_eq!(line(&["xyz".into(), "é".into()], &table.widths()), "xyz  é ");
        assert!(table.all_hold());
        table.row(["".into(), "".into()], Verdict::Fails);
        assert!(!table.all_hold());
    }
}
