//! The words of a refusal, without URLs, ids and tags of HTML.

use serde_json::Value;

use super::rules::{FALLBACK_RULES, PhraseRule, RULES, RefusalFamily};

/// Characters that are read: some answers are whole web pages.
const MAX_CHARS: usize = 2000;

/// Separators of clauses. Subject and verdict of one clause belong together.
const SEPARATORS: [&str; 12] =
    [". ", "; ", ", ", ": ", "! ", "? ", " - ", " | ", " please ", " try ", " consider ", " retry with "];

/// The text of a refusal: lower case, one line, without URLs and ids.
pub(super) struct RefusalText(String);

impl RefusalText {
    pub(super) fn new(message: &str, data: Option<&str>) -> Self {
        let mut text = String::new();
        for part in [Some(message), data].into_iter().flatten() {
            // Message and data are separate sentences.
            if !text.is_empty() {
                text.push_str(". ");
            }
            match serde_json::from_str::<Value>(part.trim()) {
                Ok(json) => flatten(&json, &mut text),
                Err(_) => text.extend(visible(part).chars().take(MAX_CHARS)),
            }
        }
        let words = text.split_whitespace().filter(|word| !word.contains("://") && !is_id(word));
        let mut line = String::with_capacity(text.len());
        for word in words {
            line.push(' ');
            line.extend(word.chars().flat_map(char::to_lowercase));
        }
        line.push(' ');
        Self(line)
    }

    /// The text, with a blank at each end.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The family of the first clause with known words, else of all clauses together.
    pub(super) fn family(&self) -> Option<RefusalFamily> {
        let mut clauses = vec![self.0.as_str()];
        for at in SEPARATORS {
            clauses = clauses.into_iter().flat_map(|clause| clause.split(at)).collect();
        }
        let whole = self.0.as_str();
        let found = clauses.into_iter().chain([whole]).find_map(|clause| family(clause, RULES));
        found.or_else(|| family(whole, FALLBACK_RULES))
    }
}

fn family(clause: &str, rules: &[PhraseRule]) -> Option<RefusalFamily> {
    let mut names_method = false;
    let mut words = String::from(" ");
    for word in clause.split_whitespace() {
        // The name `eth_getLogs` means neither logs nor their number.
        if word.contains("eth_") || word.contains("getlogs") {
            names_method = true;
        } else {
            words.push_str(word);
            words.push(' ');
        }
    }
    let has = |list: &[&str]| list.iter().any(|word| words.contains(word));
    let fits = |rule: &&PhraseRule| {
        (has(rule.subject) || (rule.or_method && names_method))
            && (rule.verdict.is_empty() || has(rule.verdict))
            && !has(rule.unless)
    };
    rules.iter().find(fits).map(|rule| rule.family)
}

/// Appends the strings and figures of a JSON value with their keys, each as a clause. The two ends of a range become
/// one clause.
fn flatten(json: &Value, text: &mut String) {
    match json {
        _ if text.len() > MAX_CHARS => {}
        Value::Object(fields) => {
            let field = |names: &[&str]| {
                names.iter().find_map(|name| fields.get(*name)).filter(|v| v.is_string() || v.is_number())
            };
            let ends = field(&["from", "fromBlock", "from_block", "start"])
                .zip(field(&["to", "toBlock", "to_block", "end"]));
            if let Some((from, to)) = ends {
                *text += &format!("range {} to {}. ", plain(from), plain(to));
            }
            for (key, value) in fields {
                // A key names its figure. The key of a sentence (`message`) means nothing.
                if !value.as_str().is_some_and(|text| text.contains(' ')) {
                    text.push_str(key);
                    text.push(' ');
                }
                flatten(value, text);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| flatten(item, text)),
        value => {
            text.extend(plain(value).chars().take(MAX_CHARS));
            text.push_str(". ");
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a word is a UUID or a time: its digits are no limit.
fn is_id(word: &str) -> bool {
    word.matches('-').count() >= 2 && word.contains(|c: char| c.is_ascii_digit())
}

/// The text of a web page without tags, styles and scripts. Any other text is returned as it is.
fn visible(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    let (mut shown, mut rest) = (String::new(), text);
    while let Some((before, tag)) = rest.split_once('<') {
        shown.push_str(before);
        shown.push_str(". ");
        let lower = tag.get(..7).unwrap_or(tag).to_ascii_lowercase();
        let closing = ["style", "script"].into_iter().find(|name| lower.starts_with(name));
        let end = closing.map_or(Some(0), |name| tag.find(&format!("</{name}")));
        rest = end.and_then(|end| tag[end..].split_once('>')).map_or("", |(_, after)| after);
    }
    shown + rest
}
