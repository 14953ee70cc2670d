//! Rust source as far as the floor plan needs it: without comments, texts and tests, but with its lines.

use std::collections::BTreeSet;
use std::path::Path;

/// A file of a package's `src/`.
pub struct Source {
    /// Folder of its package in `crates/`; empty for the program.
    pub package: String,
    /// Below `src/`, with forward slashes.
    pub path: String,
    /// Code alone; comments, literals and tests are spaces, and the lines are where they were.
    code: String,
    /// Literals outside of tests, each with where it begins.
    literals: Vec<(usize, String)>,
    /// Lines, those of tests apart.
    lines: usize,
    /// Modules that are only there for tests.
    test_modules: BTreeSet<String>,
}

/// A word, a sign or a literal of the code.
pub struct Token<'a> {
    /// Offset in the file.
    pub at: usize,
    /// As written.
    pub text: &'a str,
    /// Whether it is a literal.
    pub is_literal: bool,
}

/// A function.
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it starts.
    pub line: usize,
    /// How many lines with code it has.
    pub lines: usize,
    /// How many parameters it has, each part of a tuple pattern counted.
    pub parameters: usize,
    /// How many of them are tuple patterns.
    pub tuples: usize,
}

/// Every file below the `src` of a package that is not only for tests.
pub fn sources(package: &str, src: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    collect((package, src), src, &mut found);
    let of_tests: BTreeSet<String> =
        found.iter().flat_map(|file: &Source| file.test_modules.clone()).collect();
    found.retain(|file| {
        let module = file.path.trim_end_matches(".rs");
        !of_tests.iter().any(|tests| module == tests || module.starts_with(&format!("{tests}/")))
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect((package, src): (&str, &Path), dir: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            collect((package, src), &path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            found.push(Source::new(package, &name, &std::fs::read_to_string(&path).unwrap()));
        }
    }
}

impl Source {
    /// The file `path` of a package with this text.
    pub fn new(package: &str, path: &str, text: &str) -> Self {
        let (mut code, mut literals) = blanked(text);
        let mut source = Self {
            package: package.to_owned(),
            path: path.into(),
            code: String::new(),
            literals: Vec::new(),
            lines: 0,
            test_modules: BTreeSet::new(),
        };
        let mut lines = text.lines().count();
        while let Some(start) = code.find("#[cfg(test)]") {
            let rest = &code[start..];
            let end = match rest.find(['{', ';']) {
                Some(open) if rest[open..].starts_with('{') => start + closing(rest, open) + 1,
                Some(semicolon) => start + semicolon + 1,
                None => code.len(),
            };
            let item = &code[start..end];
            if let Some(name) = item.split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';')) {
                let parent = match path.trim_end_matches(".rs") {
                    "lib" | "main" => String::new(),
                    module => format!("{module}/"),
                };
                source.test_modules.insert(format!("{parent}{}", name.trim()));
            }
            lines -= item.lines().count();
            let blank: String = item.chars().map(|c| if c == '\n' { c } else { ' ' }).collect();
            code.replace_range(start..end, &blank);
            literals.retain(|(at, _)| !(start..end).contains(at));
        }
        (source.code, source.lines, source.literals) = (code, lines, literals);
        source
    }

    /// The room it is in.
    pub fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    /// Lines, tests apart.
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// Lines with code, tests apart.
    pub fn lines_of_code(&self) -> usize {
        filled(&self.code)
    }

    /// `crates/package/src/room/file.rs:12`
    pub fn at(&self, line: usize) -> String {
        match self.package.as_str() {
            "" => format!("src/{}:{line}", self.path),
            package => format!("crates/{package}/src/{}:{line}", self.path),
        }
    }

    /// The lines that have `word` as a word.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let lines: BTreeSet<usize> =
            self.words().filter(|(_, found)| *found == word).map(|(at, _)| self.line(at)).collect();
        lines.into_iter().collect()
    }

    /// The lines that use the outside crate `name`: a path that begins with it, and not a module of the same name.
    pub fn crate_used(&self, name: &str) -> Vec<usize> {
        let is_crate = |(at, word): &(usize, &str)| {
            let (before, after) = (self.code[..*at].trim_end(), self.code[at + word.len()..].trim_start());
            let within = before.strip_suffix("::").is_some_and(|path| path.ends_with(in_word));
            let is_imported = before.ends_with("use") && after.starts_with([';', ' ']);
            *word == name && !within && (after.starts_with("::") || is_imported)
        };
        let lines: BTreeSet<usize> = self.words().filter(is_crate).map(|(at, _)| self.line(at)).collect();
        lines.into_iter().collect()
    }

    /// The literals with their lines, tests apart, as they are written: with quotes and escapes.
    pub fn literals(&self) -> impl Iterator<Item = (usize, &str)> {
        self.literals.iter().map(|(at, literal)| (self.line(*at), literal.as_str()))
    }

    /// Code and literals in their order, without comments and tests.
    pub fn tokens(&self) -> Vec<Token<'_>> {
        let mut tokens: Vec<Token<'_>> = self
            .literals
            .iter()
            .map(|(at, literal)| Token { at: *at, text: literal, is_literal: true })
            .collect();
        let mut at = 0;
        while let Some(c) = self.code[at..].chars().next() {
            let word = self.code[at..].chars().take_while(|c| in_word(*c)).map(char::len_utf8).sum::<usize>();
            let length = word.max(c.len_utf8());
            if !c.is_whitespace() {
                tokens.push(Token { at, text: &self.code[at..at + length], is_literal: false });
            }
            at += length;
        }
        tokens.sort_by_key(|token| token.at);
        tokens
    }

    /// As [`Self::at`], of an offset in the file.
    pub fn at_offset(&self, at: usize) -> String {
        self.at(self.line(at))
    }

    /// First steps below the crate's root, with their lines: `crate::a`, `crate::{a, b}`, `super::super::a`.
    /// Not all of them need be rooms.
    pub fn rooms_used(&self) -> Vec<(usize, String)> {
        let mut used = Vec::new();
        for (at, word) in self.words().filter(|(_, word)| matches!(*word, "crate" | "super")) {
            let mut rest = self.code[at + word.len()..].trim_start();
            let mut depth = if word == "crate" { 0 } else { self.depth().saturating_sub(1) };
            // `pub(crate)` is no path, and a chain of supers is read from its first.
            let follows_super = self.code[..at].trim_end().strip_suffix("::");
            if !rest.starts_with("::") || follows_super.is_some_and(|before| before.ends_with("super")) {
                continue;
            }
            while let Some(further) = rest.strip_prefix("::super") {
                depth = depth.saturating_sub(1);
                rest = further;
            }
            if depth == 0 {
                used.extend(first_steps(&rest[2..]).into_iter().map(|step| (self.line(at), step)));
            }
        }
        used
    }

    /// The types that are defined outside of functions, with their lines.
    pub fn types(&self) -> Vec<(usize, &str)> {
        let lines = self.code.lines().enumerate();
        lines.filter_map(|(at, line)| Some((at + 1, defined_type(line)?))).collect()
    }

    /// The functions, methods among them, that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (at, _) in self.words().filter(|(_, word)| *word == "fn") {
            let rest = &self.code[at..];
            let name: String = rest[2..].trim_start().chars().take_while(|c| in_word(*c)).collect();
            let Some(open) = body(rest).filter(|_| !name.is_empty()) else { continue };
            let lines = filled(&rest[..=closing(rest, open)]);
            let (parameters, tuples) = parameters(&rest[2..open]);
            found.push(Function { name, line: self.line(at), lines, parameters, tuples });
        }
        found
    }

    /// Modules above and including this file.
    fn depth(&self) -> usize {
        self.path.split('/').count()
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut at = 0;
        self.code.split(|c| !in_word(c)).filter_map(move |word| {
            let start = self.code[at..].find(word)? + at;
            at = start + word.len();
            (!word.is_empty()).then_some((start, word))
        })
    }
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The type that a line without indentation defines.
fn defined_type(line: &str) -> Option<&str> {
    let mut rest = line;
    if let Some(public) = rest.strip_prefix("pub") {
        rest = match public.strip_prefix('(') {
            Some(scope) => scope.split_once(") ")?.1,
            None => public.strip_prefix(' ')?,
        };
    }
    let (kind, rest) = rest.split_once(' ')?;
    let end = rest.find(|c| !in_word(c)).unwrap_or(rest.len());
    matches!(kind, "struct" | "enum" | "trait" | "type" | "union").then_some(&rest[..end])
}

fn filled(code: &str) -> usize {
    code.lines().filter(|line| !line.trim().is_empty()).count()
}

/// The names a path goes on with: `a::b` gives a, `{a::b, c}` gives a and c.
fn first_steps(path: &str) -> Vec<String> {
    let name = |text: &str| text.trim_start().chars().take_while(|c| in_word(*c)).collect::<String>();
    let Some(group) = path.trim_start().strip_prefix('{') else { return vec![name(path)] };
    let (mut steps, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            ',' if depth == 0 => {
                steps.push(name(&group[start..at]));
                start = at + 1;
            }
            '{' => depth += 1,
            '}' if depth == 0 => {
                steps.push(name(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    steps
}

/// Where the body of the function at the start of `code` opens; `None` for one that is only declared.
fn body(code: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(at),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Parameters of the function whose name `head` starts with, where `(a, b): (A, B)` are two, and the tuple patterns among them.
fn parameters(head: &str) -> (usize, usize) {
    let Some(open) = outside_generics(head) else { return (0, 0) };
    let (tuples, others): (Vec<&str>, Vec<&str>) =
        items(group(&head[open..])).into_iter().partition(|parameter| parameter.starts_with('('));
    let parts: usize = tuples.iter().map(|tuple| items(group(tuple)).len()).sum();
    (others.len() + parts, tuples.len())
}

/// Where the first parenthesis outside of angle brackets opens.
fn outside_generics(head: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in head.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !head[..at].ends_with(['-', '=']) => depth -= 1,
            '(' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// What is between the parenthesis at the start and its end.
fn group(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 {
            return &text[1..at];
        }
    }
    ""
}

/// The items of a list, parted by commas that are in no bracket.
fn items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' | '[' | '{' | '<' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            '>' if !list[..at].ends_with(['-', '=']) => depth -= 1,
            ',' if depth == 0 => {
                items.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(list[start..].trim());
    items.retain(|item| !item.is_empty());
    items
}

/// Where the brace that opens at `open` closes.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return open + at;
        }
    }
    code.len() - 1
}

/// The text with comments and literals turned to spaces, byte for byte, and the literals.
fn blanked(text: &str) -> (String, Vec<(usize, String)>) {
    let (mut code, mut literals) = (String::with_capacity(text.len()), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        let literal = literal(rest, code.chars().next_back());
        let (taken, keep) = match literal {
            Some(length) => (length, false),
            None => (rest.chars().next().map_or(1, char::len_utf8), true),
        };
        if !keep && !rest.starts_with('/') {
            literals.push((code.len(), rest[..taken].to_owned()));
        }
        for c in rest[..taken].chars() {
            match c {
                '\n' => code.push(c),
                _ if keep && c.is_ascii() => code.push(c),
                _ => code.extend(std::iter::repeat_n(' ', c.len_utf8())),
            }
        }
        rest = &rest[taken..];
    }
    (code, literals)
}

/// Length of the comment or literal `text` starts with.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    let until =
        |start: usize, end: &str| text[start..].find(end).map_or(text.len(), |at| start + at + end.len());
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(until(2, "*/"));
    }
    if text.starts_with('"') {
        return Some(quoted(text));
    }
    let raw = text.strip_prefix('r').filter(|_| !before.is_some_and(|c| in_word(c) && c != 'b'));
    if let Some(rest) = raw {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        if rest[hashes..].starts_with('"') {
            return Some(until(hashes + 2, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    // A character, unless it is a lifetime.
    let inner = text.strip_prefix('\'')?;
    match inner.strip_prefix('\\') {
        Some(escape) => Some(2 + escape.chars().next()?.len_utf8() + escape.get(1..)?.find('\'')? + 1),
        None => {
            let length = inner.chars().next()?.len_utf8();
            inner[length..].starts_with('\'').then_some(length + 2)
        }
    }
}

/// Length of the text literal at the start.
fn quoted(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
