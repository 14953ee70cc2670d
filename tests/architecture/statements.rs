//! SQL as the source has it: literals, `concat!` of them, and macros that give one.
//!
//! Every literal that begins like a statement is found, wherever it is written. Statements that are put together at run time
//! (`format!`) are found as well and marked: their text is not known here.

use std::collections::BTreeMap;

use super::source::{Source, Token};

/// A statement.
pub struct Statement {
    /// File and line.
    pub at: String,
    /// Its text, without the escapes of the literal.
    pub sql: String,
    /// Whether it has placeholders of `format!`.
    pub is_built: bool,
}

/// A macro that gives a text.
struct Macro {
    parameters: Vec<String>,
    body: Vec<Part>,
}

#[derive(Clone)]
enum Part {
    Text(String),
    Parameter(String),
    Call(String, Vec<Vec<Part>>),
}

/// Macros and constants by name.
#[derive(Default)]
struct Names {
    macros: BTreeMap<String, Macro>,
    constants: BTreeMap<String, String>,
}

/// Every statement in these files.
pub fn statements(files: &[Source]) -> Vec<Statement> {
    let mut names = Names::default();
    for file in files {
        names.collect(&file.tokens());
    }
    files.iter().flat_map(|file| of_file(file, &names)).collect()
}

fn of_file(file: &Source, names: &Names) -> Vec<Statement> {
    let tokens = file.tokens();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < tokens.len() {
        if let Some(end) = macro_end(&tokens[at..]) {
            at += end;
            continue;
        }
        let start = tokens[at].at;
        let (parts, taken) = match part(&tokens[at..], names) {
            Some((part, taken)) => (vec![part], taken),
            None => {
                at += 1;
                continue;
            }
        };
        let is_format = at >= 3 && tokens[at - 3].text == "format";
        let text = names.text(&parts, &BTreeMap::new());
        let text = if is_format { names.fill(&text) } else { text };
        if is_statement(&text) {
            let is_built = is_format && text.contains('{');
            found.push(Statement { at: file.at_offset(start), sql: text, is_built });
        }
        at += taken;
    }
    found
}

/// Whether a text begins like a statement that reads or writes rows.
fn is_statement(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().take(6).map(str::to_lowercase).collect();
    let word = |n: usize| words.get(n).map_or("", String::as_str);
    match word(0) {
        "select" | "(select" => words.len() > 1,
        "insert" => word(1) == "into",
        "delete" => word(1) == "from",
        "update" => words[1..].iter().any(|word| word == "set"),
        "with" => word(2) == "as" || word(3) == "as",
        "copy" => text.contains("from stdin"),
        _ => false,
    }
}

impl Names {
    fn collect(&mut self, tokens: &[Token<'_>]) {
        for at in 0..tokens.len() {
            let rest = &tokens[at..];
            if let Some(end) = macro_end(rest) {
                self.collect_macro(&rest[..end]);
            }
            let is_constant = rest.len() > 7 && rest[0].text == "const" && rest[4].text == "str";
            if let (true, Some((part, _))) = (is_constant, rest.get(6..).and_then(|rest| part(rest, self))) {
                let text = self.text(&[part], &BTreeMap::new());
                self.constants.insert(rest[1].text.to_owned(), text);
            }
        }
    }

    /// `macro_rules! name { (parameters) => { text } }`, of one arm.
    fn collect_macro(&mut self, tokens: &[Token<'_>]) {
        let opens = 4;
        let closes = opens + closing(&tokens[opens..]);
        let parameters = &tokens[opens..closes];
        let named = parameters.windows(2).filter(|pair| pair[0].text == "$");
        let parameters = named.map(|pair| pair[1].text.to_owned()).collect();
        // Behind `) => {`.
        let body = self.parts(&tokens[(closes + 4).min(tokens.len())..]);
        self.macros.insert(tokens[2].text.to_owned(), Macro { parameters, body });
    }

    /// The parts up to the end, whatever else is between them.
    fn parts(&self, tokens: &[Token<'_>]) -> Vec<Part> {
        let (mut parts, mut at) = (Vec::new(), 0);
        while at < tokens.len() {
            match part(&tokens[at..], self) {
                Some((part, taken)) => {
                    parts.push(part);
                    at += taken;
                }
                None => at += 1,
            }
        }
        parts
    }

    fn text(&self, parts: &[Part], arguments: &BTreeMap<String, String>) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Parameter(name) => arguments.get(name).cloned().unwrap_or_default(),
            Part::Call(name, given) => {
                let given: Vec<String> = given.iter().map(|parts| self.text(parts, arguments)).collect();
                match self.macros.get(name) {
                    Some(called) => {
                        let arguments = called.parameters.iter().cloned().zip(given).collect();
                        self.text(&called.body, &arguments)
                    }
                    None => given.concat(),
                }
            }
        };
        parts.iter().map(text).collect()
    }

    /// The text of `format!` with the constants it names.
    fn fill(&self, text: &str) -> String {
        let put =
            |text: String, (name, value): (&String, &String)| text.replace(&format!("{{{name}}}"), value);
        self.constants.iter().fold(text.to_owned(), put)
    }
}

/// A literal, a parameter, or a call of `concat!` or of a macro of ours, and how many tokens it takes.
fn part(tokens: &[Token<'_>], names: &Names) -> Option<(Part, usize)> {
    let first = tokens.first()?;
    if first.is_literal {
        return Some((Part::Text(plain(first.text)), 1));
    }
    if first.text == "$" {
        return Some((Part::Parameter(tokens.get(1)?.text.to_owned()), 2));
    }
    let is_call = tokens.len() > 3 && tokens[1].text == "!" && tokens[2].text == "(";
    if !is_call || !(first.text == "concat" || names.macros.contains_key(first.text)) {
        return None;
    }
    let end = 2 + closing(&tokens[2..]);
    Some((Part::Call(first.text.to_owned(), vec![names.parts(&tokens[3..end])]), end + 1))
}

/// How many tokens a definition of a macro at the start takes.
fn macro_end(tokens: &[Token<'_>]) -> Option<usize> {
    (tokens.first()?.text == "macro_rules").then(|| 4 + closing(&tokens[3..]))
}

/// Where the bracket that opens first closes.
fn closing(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "{" | "[" if !token.is_literal => depth += 1,
            ")" | "}" | "]" if !token.is_literal => depth -= 1,
            _ => {}
        }
        if depth == 0 && at > 0 {
            return at;
        }
    }
    tokens.len() - 1
}

/// The text of a literal.
pub fn plain(literal: &str) -> String {
    let Some(raw) = literal.strip_prefix('r') else {
        let inner = literal.trim_matches('"');
        let mut lines = inner.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let joined = lines.fold(first, |text, line| text + line.trim_start());
        return joined.replace("\\\"", "\"").replace("\\\\", "\\");
    };
    raw.trim_matches('#').trim_matches('"').to_owned()
}
