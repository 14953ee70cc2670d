//! Words that the log and the errors avoid: CONTRIBUTING, "Words", has the rules and what to write in their place.

use super::source::{Source, Token};

/// Words that are never right in a log line or an error of this program.
const FORBIDDEN: [&str; 21] = [
    "patience",
    "told",
    "tell",
    "tells",
    "telling",
    "carry",
    "carries",
    "carried",
    "carrying",
    "say",
    "says",
    "said",
    "saying",
    "stand",
    "stands",
    "stood",
    "whoever",
    "nobody",
    "somebody",
    "everybody",
    "anybody",
];

/// Pairs that are right although their first word is not: an instance stands by.
const ALLOWED: [(&str, &str); 2] = [("stands", "by"), ("stand", "by")];

/// Words of several parts.
const PHRASES: [&str; 1] = ["so long as"];

/// The macros of log lines.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// The forbidden words in the log lines and error texts of a file: literals in `tracing::…!(…)` and in `#[error(…)]`.
pub fn forbidden(file: &Source) -> Vec<String> {
    let tokens = file.tokens();
    let mut problems = Vec::new();
    for at in 0..tokens.len() {
        let Some(open) = opens(&tokens[at..]).map(|length| at + length) else { continue };
        for literal in literals(&tokens[open..]) {
            for word in words_of(literal.text) {
                problems.push(format!("{}: a log line or an error has `{word}`", file.at_offset(literal.at)));
            }
        }
    }
    problems
}

/// How many tokens are before the parenthesis of a log line or an error's text that begins here.
fn opens(tokens: &[Token<'_>]) -> Option<usize> {
    let text = |at: usize| tokens.get(at).filter(|token| !token.is_literal).map_or("", |token| token.text);
    let is_log = text(0) == "tracing" && text(1) == ":" && text(2) == ":" && LEVELS.contains(&text(3));
    if is_log && text(4) == "!" && text(5) == "(" {
        return Some(5);
    }
    let is_error = text(0) == "#" && text(1) == "[" && text(2) == "error" && text(3) == "(";
    is_error.then_some(3)
}

/// The literals up to the parenthesis that closes the first one.
fn literals<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b Token<'a>> {
    let mut depth = 0;
    let mut found = Vec::new();
    for token in tokens {
        match token.text {
            _ if token.is_literal => found.push(token),
            "(" => depth += 1,
            ")" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The forbidden words of a text; code in backticks and names in braces are not text.
fn words_of(literal: &str) -> Vec<String> {
    let text: String = literal.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let text = text.to_lowercase();
    let mut found: Vec<String> =
        PHRASES.iter().filter(|phrase| text.contains(*phrase)).map(|phrase| (*phrase).to_owned()).collect();
    let words: Vec<&str> = text.split(|c: char| !(c.is_alphanumeric() || "_{}'".contains(c))).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or_default();
        if FORBIDDEN.contains(word) && !ALLOWED.contains(&(*word, next)) {
            found.push((*word).to_owned());
        }
    }
    found
}
