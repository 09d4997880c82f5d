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

/// What and its value, two spaces in; a value of several lines stands below itself.
pub(crate) fn indented(rows: &[[String; 2]]) -> String {
    let width = rows.iter().map(|[what, _]| what.chars().count()).max().unwrap_or(0);
    let line = |[what, value]: &[String; 2]| {
        let below = format!("\n  {:width$}  ", "");
        format!("  {what:width$}  {}\n", value.replace('\n', &below))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), String::new()], ["longer".to_owned(), "b".to_owned()]];
        assert_eq!(render(["X", "HEAD"], &rows), "X       HEAD\na\nlonger  b\n");
    }

    #[test]
    fn a_value_of_several_lines_stands_below_itself() {
        let rows = [["a".to_owned(), "1\n2".to_owned()], ["bc".to_owned(), "3".to_owned()]];
        assert_eq!(indented(&rows), "  a   1\n      2\n  bc  3\n");
    }
}
