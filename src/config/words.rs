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

/// The name of a source: 1 to 40 of a-z, 0-9 and `_`, a letter first. It begins the names of views.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    name_of(text, "_", "`_`")
}

/// The name of something without views, such as a chain: as [`name`], with `-` too.
pub(super) fn dashed_name(text: &str) -> Result<String, Fault> {
    name_of(text, "_-", "`_`, `-`")
}

fn name_of(text: &str, signs: &str, written: &str) -> Result<String, Fault> {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || signs.contains(c);
    let is_letter = |first: char| first.is_ascii_lowercase();
    if text.len() <= 40 && text.starts_with(is_letter) && text.chars().all(inside) {
        return Ok(text.to_owned());
    }
    let remedy = format!("write at most 40 of a-z, 0-9, {written}, with a letter first");
    Err(Fault::new("is not a name", remedy))
}
