/// The one of `known` that `wrong` was most likely meant to be: at most two letters away, and no further
/// than a third of its length.
pub(super) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    known
        .into_iter()
        // Keys may be as long as the file, and no edit is needed to see that they are something else.
        .filter(|word| word.len().abs_diff(wrong.len()) <= 2)
        .map(|word| (distance(&wrong, word), word))
        .filter(|(distance, word)| *distance <= 2.min(word.len().div_ceil(3)))
        .min()
        .map(|(_, word)| word)
}

/// Levenshtein distance over bytes: the words compared are keys of ours.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_stranger_is_not() {
        let keys = ["start_block", "chain", "name", "abi"];
        assert_eq!(nearest("startblock", keys), Some("start_block"));
        assert_eq!(nearest("Start-Block", keys), Some("start_block"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("confirmations", keys), None);
        assert_eq!(nearest("xyz", keys), None);
    }

    #[test]
    fn distances_are_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
