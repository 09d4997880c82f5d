//! Aligned columns, for people.

/// A head and its rows, each as wide as its widest cell, two spaces apart.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let all = || std::iter::once(&head).chain(rows);
    let width = |column: usize| {
        all()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let mut text = String::new();
    for row in all() {
        let cells = row.iter().enumerate();
        let line: Vec<_> = cells
            .map(|(at, cell)| format!("{cell:<0$}", width(at).unwrap_or(0)))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), String::new()], ["longer".to_owned(), "b".to_owned()]];
        assert_eq!(render(["X", "HEAD"], &rows), "X       HEAD\na\nlonger  b\n");
    }
}
