//! Reads from the figures of a refusal which width the node would accept.

use super::refusal::Hint;

/// Words before a figure that make it a limit. They are between it and the figure before.
const LIMITING: &[&str] = &[
    "limit",
    "max",
    "up to",
    "at most",
    "exceed",
    "than",
    "over",
    "allowed",
    "allow",
    "cap",
    ">",
    "only",
    "within",
    "under",
    "threshold",
    "narrow",
    "wide",
    "large",
    "most",
    "smaller",
    "fewer",
    "<=",
    "≤",
    "reduce to",
    "should be",
    "must be",
    "set to",
];
/// Words directly before a figure that make it something other than a limit.
const NAMING: &[&str] = &[
    "from", "block", "height", "head", "code", "status", "error", "tier", "version", "line", "column",
    "http", "id", "#", "number", "latest",
];
/// Beginnings of the word after a figure that make it a count of something other than blocks.
const OTHER_UNITS: &[&str] = &[
    "result",
    "log",
    "event",
    "request",
    "req",
    "second",
    "sec",
    "s ",
    "s.",
    "s,",
    "ms",
    "minute",
    "min ",
    "hour",
    "day",
    "month",
    "address",
    "topic",
    "filter",
    "byte",
    "kb",
    "mb",
    "gb",
    "kib",
    "mib",
    "gib",
    "%",
    "call",
    "credit",
    "cu",
    "compute",
    "row",
    "entr",
    "item",
    "transaction",
    "record",
    "receipt",
    "param",
    "rps",
    "/",
    "times",
    "usd",
    "k results",
];

/// The width that a refused range may be narrowed to: the smaller of a range that the text spells out and of a
/// number. A width that is not narrower than the refused one is no hint: the request would be repeated for ever.
pub(super) fn range(text: &str, asked: Option<u64>) -> Option<Hint> {
    let (asked, figures) = (asked?, figures(text));
    [spelt(text, &figures, asked), limit(text, &figures, asked, LimitUnit::Any)].into_iter().flatten().min()
}

/// As [`range`], for a refusal of too many or too large results. The limit may count results, so only a figure in
/// blocks is a hint.
pub(super) fn size(text: &str, asked: Option<u64>) -> Option<Hint> {
    let (asked, figures) = (asked?, figures(text));
    spelt(text, &figures, asked).or_else(|| limit(text, &figures, asked, LimitUnit::Blocks))
}

/// The number of calls that a batch may have.
pub(super) fn batch(text: &str, calls: Option<u64>) -> Option<u64> {
    let calls = calls?;
    let smaller =
        figures(text).into_iter().map(|figure| figure.value).filter(|value| (2..calls).contains(value));
    smaller.min()
}

/// The width of a range like `[0x1, 0x9]`, `1-9`, `from 1 to 9` or `between 1 and 9`. The last one counts, since a
/// text repeats the request first.
fn spelt(text: &str, figures: &[Figure], asked: u64) -> Option<Hint> {
    let width = |pair: &[Figure]| {
        let (from, to) = (&pair[0], &pair[1]);
        let (before, between) = (&text[..from.start], text[from.end..to.start].trim_matches(['"', '\'']));
        let listed = before.ends_with(['[', '"', '\'']) || (from.hex && to.hex);
        let joined = match between.trim() {
            "-" | "–" | "to" | ".." | "..." | "->" | "until" => true,
            "," | ":" | "\", \"" | "\",\"" | "', '" => listed,
            "and" => before.trim_end().ends_with("between"),
            _ => false,
        };
        let counts_else = !to.hex && is_unit(&text[to.end..], OTHER_UNITS);
        let width = to.value.checked_sub(from.value)?.checked_add(1)?;
        (joined && !counts_else && width < asked).then_some(width)
    };
    figures.windows(2).rev().find_map(width)
}

/// The unit that a figure must have to be a limit.
#[derive(Clone, Copy)]
enum LimitUnit {
    /// Blocks, or none that is named.
    Any,
    /// Blocks.
    Blocks,
}

/// The smallest figure that the text names as a limit. Larger ones repeat the request ("5000 > 3000", "block range
/// too large (2000), maximum allowed is 1000").
fn limit(text: &str, figures: &[Figure], asked: u64, unit: LimitUnit) -> Option<Hint> {
    let mut last_end = 0;
    let mut limits = Vec::new();
    for figure in figures {
        let (before, after) = (&text[last_end..figure.start], &text[figure.end..]);
        last_end = figure.end;
        let blocks = is_unit(after, &["block", "range", "span", "wide"]);
        let limiting = LIMITING.iter().any(|word| before.contains(word));
        let word = before.trim_end_matches([' ', ':', '=', '(', '[', '"', '\'']);
        let names = before.len() != word.len() && NAMING.iter().any(|name| word.ends_with(name)) && !limiting;
        let is_limit = match unit {
            LimitUnit::Any if !figure.hex => blocks || limiting,
            LimitUnit::Any | LimitUnit::Blocks => blocks && limiting,
        };
        if is_limit && !names && !is_unit(after, OTHER_UNITS) && (1..asked).contains(&figure.value) {
            limits.push(figure.value);
        }
    }
    limits.into_iter().min()
}

/// Whether the text after a figure begins with one of these units.
fn is_unit(after: &str, units: &[&str]) -> bool {
    let after = after.strip_prefix(['-', '+']).unwrap_or(after).trim_start_matches([' ', ')', '"']);
    units.iter().any(|unit| after.starts_with(unit))
}

struct Figure {
    value: u64,
    hex: bool,
    start: usize,
    end: usize,
}

/// Figures of a lower-case text: `10000`, `10,000`, `10.000`, `10_000`, `10k`, `0x112a880`.
fn figures(text: &str) -> Vec<Figure> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let inside_word = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
        if !bytes[at].is_ascii_digit() || inside_word {
            at += 1;
            continue;
        }
        let (value, hex, end) = figure_at(text, at);
        let ends = bytes.get(end).is_none_or(|b| !b.is_ascii_alphanumeric() || !hex);
        if let Some(value) = value.filter(|_| ends) {
            found.push(Figure { value, hex, start: at, end });
        }
        at = end;
    }
    found
}

fn figure_at(text: &str, start: usize) -> (Option<u64>, bool, usize) {
    let rest = &text[start..];
    if let Some(digits) = rest.strip_prefix("0x") {
        let len = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        return (u64::from_str_radix(&digits[..len], 16).ok(), true, start + 2 + len);
    }
    let bytes = rest.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut len = 0;
    while digit(len) || (is_separator(bytes, len) && !digit(len + 4)) {
        len += 1;
    }
    let digits: String = rest[..len].chars().filter(char::is_ascii_digit).collect();
    let value = digits.parse::<u64>().ok();
    let times = |factor| value.and_then(|value| value.checked_mul(factor));
    let ends_word = |at: usize| !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    match bytes.get(len) {
        Some(b'k') if ends_word(len + 1) => (times(1000), false, start + len + 1),
        Some(b'm') if ends_word(len + 1) => (times(1_000_000), false, start + len + 1),
        _ => (value, false, start + len),
    }
}

/// Whether this byte separates thousands.
fn is_separator(bytes: &[u8], at: usize) -> bool {
    matches!(bytes[at..], [b',' | b'.' | b'_' | b'\'', a, b, c, ..]
        if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit())
}
