//! Tables as Docker prints them.

/// Narrowest column, its gap included.
const NARROWEST: usize = 10;
/// Spaces after the widest cell of a column.
const GAP: usize = 3;

/// Renders rows in columns; the first row is the heading.
pub(crate) fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        NARROWEST.max(widest + GAP)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', widths[column] - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

/// A row of texts.
pub(crate) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_three_spaces_apart_and_are_ten_wide_at_least() {
        let text = render(&[row(&["REPOSITORY", "TAG", "SIZE"]), row(&["a", "latest", "1kB"])]);
        assert_eq!(text, "REPOSITORY   TAG       SIZE\na            latest    1kB\n");
    }
}
