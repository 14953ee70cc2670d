/// Columns under their headings; numbers to the right. One space wider than needed, since terminals are.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = headings
        .iter()
        .enumerate()
        .map(|(column, heading)| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain([heading.len()]).max().unwrap_or_default()
        })
        .collect();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    std::iter::once(&headings).chain(rows).map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| {
        let is_number = cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.starts_with("0x");
        if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    });
    let line = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn cells_stand_under_their_headings() {
        let rows = [vec!["vault".to_owned(), "12".to_owned()], vec!["a".to_owned(), "1234".to_owned()]];
        assert_eq!(table(&["source", "tip"], &rows), "source  tip\nvault     12\na       1234\n");
        let hashes = [vec!["0xab".to_owned(), "é".to_owned()], vec!["0xabcdef".to_owned(), "7".to_owned()]];
        assert_eq!(table(&["hash", "n"], &hashes), "hash      n\n0xab      é\n0xabcdef  7\n", "no number");
        let short = [vec!["long".to_owned(), "x".to_owned()], vec!["a".to_owned()]];
        assert_eq!(table(&["a", "b"], &short), "a     b\nlong  x\na\n");
    }
}
