use super::problem::Fault;
use super::suggest::nearest;

/// Reads one of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&'static str, T)]) -> Result<T, Fault> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    Err(unknown_word(text, words.iter().map(|(word, _)| *word)))
}

/// Names the words there are, and the nearest of them.
pub(super) fn unknown_word<'a>(text: &str, known: impl Iterator<Item = &'a str> + Clone) -> Fault {
    let all = known.clone().collect::<Vec<_>>().join(", ");
    let remedy = match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`? known: {all}"),
        None => format!("write one of {all}"),
    };
    Fault::new("is not known here", remedy)
}

/// The name of a chain or source: 1 to 40 of a-z, 0-9 and `_` (and `-` where `dash` allows it), a letter
/// first.
pub(super) fn name(text: &str, dash: bool) -> Result<String, Fault> {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || (dash && b == b'-');
    let fits = text.len() <= 40
        && text.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && text.bytes().all(inside);
    if fits {
        return Ok(text.to_owned());
    }
    let dash = if dash { ", `-`" } else { "" };
    let remedy = format!("write at most 40 of a-z, 0-9, `_`{dash}, with a letter first");
    Err(Fault::new("is not a name", remedy))
}
