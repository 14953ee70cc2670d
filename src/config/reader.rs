use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::problem::{Fault, Problem, Problems, Spot};
use super::substitute::substitute;

/// One reading of one file: collects what is wrong with it.
///
/// serde would do the typing, but it stops at the first problem, and an operator who corrects a file one
/// restart at a time has every right to be cross.
pub(super) struct Reader<'a> {
    /// The file, as it was named.
    pub path: &'a Path,
    /// Variables and other files.
    pub environment: &'a dyn Environment,
    text: &'a str,
    /// Where each line ends: a file of problems asks for the lines of all of them.
    ends: Vec<usize>,
    problems: RefCell<Vec<Problem>>,
    /// The keys of the problems: a file of problems asks for each of them.
    reported: RefCell<BTreeSet<String>>,
    asked: RefCell<BTreeSet<String>>,
}

/// A value that was there and could be read, and where.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub value: T,
    pub spot: Spot,
    /// Whether it may not be shown.
    pub hidden: bool,
}

/// A string with its variables filled in.
pub(super) type Text = Found<String>;

impl<'a> Reader<'a> {
    pub fn new(path: &'a Path, text: &'a str, environment: &'a dyn Environment) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        let (problems, reported, asked) = Default::default();
        Self { path, environment, text, ends, problems, reported, asked }
    }

    /// The text as TOML; `None` where its syntax is wrong. Faults of syntax are reported alone: what a parser guesses behind an
    /// unclosed bracket only adds problems that are not there.
    pub fn parse(&self) -> Option<Spanned<DeTable<'a>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            let fault = Fault::new(error.message(), "correct the TOML; its rules are at https://toml.io");
            self.report(&Spot { key: String::new(), at: Some(at) }, fault);
        }
        errors.is_empty().then_some(table)
    }

    /// What was read, unless something was wrong.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let problems = self.problems.into_inner();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Problems::new(self.path, problems)),
        }
    }

    /// Notes that something is wrong at `spot`.
    pub fn report(&self, spot: &Spot, fault: Fault) {
        let Fault { what, remedy } = fault;
        let line = spot.at.map(|at| self.line(at));
        let problem = Problem { line, key: spot.key.clone(), problem: what, remedy, at: spot.at };
        self.reported.borrow_mut().insert(spot.key.clone());
        self.problems.borrow_mut().push(problem);
    }

    /// Whether nothing was wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Whether something was wrong at `spot`.
    pub fn is_reported(&self, spot: &Spot) -> bool {
        self.reported.borrow().contains(&spot.key)
    }

    /// The line of byte `at`; the first is 1.
    pub fn line(&self, at: usize) -> usize {
        1 + self.ends.partition_point(|end| *end < at)
    }

    /// A path in the file, which is relative to the file's own folder: a service has no other that means
    /// anything.
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A string with its variables filled in; a problem if it is none or a variable is missing.
    pub fn text(&self, spot: Spot, value: &DeValue<'_>) -> Option<Text> {
        let DeValue::String(raw) = value else {
            self.report(&spot, wrong_type(value, Wanted::Text));
            return None;
        };
        match substitute(raw, self.environment) {
            Ok(done) => {
                let hidden = done.hidden || is_secret(&spot.key);
                Some(Found { value: done.value, spot, hidden })
            }
            Err(faults) => {
                faults.into_iter().for_each(|fault| self.report(&spot, fault));
                None
            }
        }
    }

    /// Notes that `key` (with the numbers of array items left out) is one this program reads.
    pub fn note_asked(&self, section: &str, key: &str) {
        let name = |part: &str| part.split('[').next().unwrap_or_default().to_owned();
        let mut path: Vec<_> = section.split('.').filter(|part| !part.is_empty()).map(name).collect();
        path.push(key.to_owned());
        self.asked.borrow_mut().insert(path.join("."));
    }

    /// Every key asked for so far, `source.address` for instance.
    #[cfg(test)]
    pub fn asked(&self) -> BTreeSet<String> {
        self.asked.borrow().clone()
    }
}

impl<T> Found<T> {
    /// The same place with another value.
    pub fn with<U>(self, value: U) -> Found<U> {
        Found { value, spot: self.spot, hidden: self.hidden }
    }
}

impl Text {
    /// The value for a message: cut short, with control characters escaped, or not at all.
    pub fn shown(&self) -> String {
        if self.hidden {
            return "the value".to_owned();
        }
        let short: String = self.value.chars().take(60).collect();
        let more = if short.len() < self.value.len() { "…" } else { "" };
        format!("`{}{more}`", short.escape_debug())
    }

    /// Reads the value as something else.
    pub fn parse<T>(
        self,
        reader: &Reader<'_>,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Found<T>> {
        match parse(&self.value) {
            Ok(value) => Some(self.with(value)),
            Err(Fault { what, remedy }) => {
                let what = format!("{} {what}", self.shown());
                reader.report(&self.spot, Fault { what, remedy });
                None
            }
        }
    }
}

/// What a key takes.
#[derive(Clone, Copy)]
pub(super) enum Wanted {
    Text,
    Number,
    Flag,
    List,
    Table,
    Tables,
}

/// "is an integer, a string is wanted"; the value itself is not shown: it may be a secret in the wrong place.
pub(super) fn wrong_type(value: &DeValue<'_>, wanted: Wanted) -> Fault {
    let found = match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    };
    let (wanted, remedy) = match wanted {
        Wanted::Text => ("a string", "write one string in quotes"),
        Wanted::Number => ("an integer", "write a whole number without quotes"),
        Wanted::Flag => ("a boolean", "write true or false without quotes"),
        Wanted::List => ("an array", "write strings in brackets: [\"…\", \"…\"]"),
        Wanted::Table => ("a table", "write its name in single brackets, [like_this], and its keys below"),
        Wanted::Tables => {
            ("an array of tables", "write its name in double brackets, [[like_this]], and its keys below")
        }
    };
    Fault::new(format!("is {found}, {wanted} is wanted"), remedy)
}

/// Whether values under this key are kept out of messages whatever they are.
fn is_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    let last = last.split('[').next().unwrap_or_default();
    matches!(last, "url" | "http" | "ws" | "sentinels" | "master" | "cluster" | "webhook")
        || ["password", "secret", "token"].iter().any(|word| last.contains(word))
}
